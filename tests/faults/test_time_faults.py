"""Time: threads where they pay and no longer than a fit lasts, short waiting,
and what a machine is told to be.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from helpers import Memory, build, normal
from nelbo import (
    VAE,
    VariationalAutoencoder,
    evaluate,
    fit,
    likelihood,
    networks,
    objective,
    posterior,
    prior,
    spin,
)
from nelbo.cli import main
from nelbo.training import Record

pytestmark = pytest.mark.fault

SOURCE = Path(__file__).parent.parent.parent / "src"
USERS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Two threads are allowed, however many cores there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def table(rows: int = 200, columns: int = 4) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, 2)) @ rng.normal(size=(2, columns)) + 0.3 * rng.normal(
        size=(rows, columns)
    )


def pictures(rows: int = 100, side: int = 8) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, side, side)).astype(np.float32)


# -- threads
# -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(
    ("X", "options", "threads"),
    [
        (table(), {}, 1),
        (pictures(), {"hidden": (64,)}, 1),
        (pictures(300), {"hidden": (512, 512), "batch_size": 256}, 2),
        (pictures(300, 16), {"network": "conv", "channels": (16,), "batch_size": 256}, 2),
    ],
    ids=["table", "small net", "wide net", "convolutions"],
)
def test_a_fit_uses_as_many_threads_as_its_products_keep_busy(
    X: np.ndarray, options: Any, threads: int
) -> None:
    seen: set[int] = set()

    def look(record: Record) -> None:
        seen.add(torch.get_num_threads())

    model = VariationalAutoencoder(2, max_steps=3, random_state=0, callbacks=[look], **options).fit(
        X
    )
    assert seen == {threads}
    assert model.history_.threads == threads
    assert model.recipe_["threads"]["value"] == threads
    assert "products" in model.recipe_["threads"]["reason"]
    assert torch.get_num_threads() == 2


def test_a_fit_never_uses_more_threads_than_torch_was_given(two_threads: None) -> None:
    torch.set_num_threads(1)
    model = VariationalAutoencoder(
        2, hidden=(512, 512), batch_size=64, max_steps=1, random_state=0
    ).fit(pictures())
    assert model.history_.threads == 1
    assert torch.get_num_threads() == 1


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_torch_has_its_threads_back_after_a_fit_that_did_not_end_well(
    error: type[BaseException],
) -> None:
    def stop(record: Record) -> None:
        assert torch.get_num_threads() == 1
        raise error

    x = normal(40, 6)
    with pytest.raises(error):
        fit(objective.ELBO(build()), x, max_steps=3, callbacks=[stop])
    assert torch.get_num_threads() == 2
    with pytest.raises(error):
        VariationalAutoencoder(2, max_steps=3, random_state=0, callbacks=[stop]).fit(table())
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_a_number_of_threads_that_a_callback_chooses_stays() -> None:
    def choose(record: Record) -> None:
        torch.set_num_threads(3)

    fit(objective.ELBO(build()), normal(40, 6), max_steps=2, callbacks=[choose])
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("two_threads")
def test_fits_side_by_side_leave_torch_the_threads_that_it_had() -> None:
    first_in, second_in, first_out = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        def wait(record: Record) -> None:
            first_in.set()
            second_in.wait(30)

        fit(objective.ELBO(build()), normal(40, 6), max_steps=1, callbacks=[wait])
        first_out.set()

    def second() -> None:
        def wait(record: Record) -> None:
            second_in.set()
            first_out.wait(30)

        first_in.wait(30)
        fit(objective.ELBO(build()), normal(40, 6), max_steps=1, callbacks=[wait])

    workers = [threading.Thread(target=work) for work in (first, second)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert torch.get_num_threads() == 2
    fresh: list[int] = []
    late = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
    late.start()
    late.join()
    assert fresh == [2]


class Watching(nn.Module):
    """A network that notes how many threads there are."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.seen = network, set[int]()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.add(torch.get_num_threads())
        found: Tensor = self.network(x)
        return found


def watched(width: int) -> tuple[VAE, Watching]:
    head, q = likelihood.Gaussian((64,)), posterior.DiagonalNormal(2)
    decoder = Watching(networks.MLP((2,), head.in_shape, hidden=(width, width)))
    return VAE(
        prior.StandardNormal(2), decoder, head, networks.MLP((64,), q.in_shape, hidden=(8,)), q
    ), decoder


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(
    ("width", "rows", "threads"), [(8, 10, 1), (8, 1000, 1), (512, 1, 1), (512, 200, 2)]
)
def test_evaluation_uses_as_many_threads_as_its_products_keep_busy(
    width: int, rows: int, threads: int
) -> None:
    vae, decoder = watched(width)
    evaluate.log_likelihood(vae, torch.zeros(rows, 64), samples=8)
    assert decoder.seen == {threads}
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_torch_has_its_threads_back_after_an_evaluation_that_failed() -> None:
    vae, _ = watched(8)
    with pytest.raises(ValueError, match="memory"):
        evaluate.log_likelihood(vae, torch.zeros(3, 64), samples=8, memory=0)
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_a_resumed_run_goes_on_with_the_threads_that_it_began_with() -> None:
    store, x = Memory(), normal(300, 64, dtype=torch.float32)

    def stop(record: Record) -> None:
        if record.step >= 2:
            raise KeyboardInterrupt

    def wide() -> VAE:
        return build((64,), hidden=(512, 512), dtype=torch.float32)

    settings: dict[str, Any] = {"max_steps": 6, "batch_size": 300, "store": store}
    torch.set_num_threads(1)
    with pytest.raises(KeyboardInterrupt):
        fit(objective.ELBO(wide()), x, **settings, callbacks=[stop])
    assert store.states[-1][0]["threads"] == 1
    torch.set_num_threads(2)
    assert fit(objective.ELBO(wide()), x, **settings).threads == 1
    assert fit(objective.ELBO(wide()), x, max_steps=1, batch_size=300).threads == 2


# -- early stopping
# ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "columns", "width", "rate", "patience"),
    [(30, 6, 64, 5e-3, 0.1), (60, 16, 128, 1e-3, 0.2)],
    ids=["sinking", "wavering"],
)
def test_training_ends_sooner_where_the_bound_has_been_sinking_all_along(
    rows: int, columns: int, width: int, rate: float, patience: float
) -> None:
    """Noise is learned by heart, at a great rate beyond doubt;
    at a small one the bound stays near its best.
    """
    x, held = (
        normal(n, columns, seed=seed, dtype=torch.float32) for seed, n in enumerate((rows, 200))
    )
    vae = build((columns,), hidden=(width,), dtype=torch.float32)
    history = fit(
        objective.ELBO(vae),
        x,
        validation=held,
        max_steps=800,
        batch_size=rows,
        learning_rate=rate,
        decay=None,
    )
    best = next(record for record in history.records if record.step == history.best_step)
    assert history.stopped == "early"
    waited = history.records[-1].progress - best.progress
    assert patience - 1e-9 < waited < patience + 0.05


# -- waiting
# -----------------------------------------------------------------------------------------


def environment(code: str, **settings: str) -> dict[str, str]:
    """What of the settings of waiting a fresh process has after some code."""
    outside = {name: value for name, value in os.environ.items() if name not in USERS}
    code = (
        f"{code}\nimport json, "
        f"os\nprint(json.dumps({{n: os.environ[n] for n in {USERS} if n in os.environ}}))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code],
        env={**outside, "PYTHONPATH": str(SOURCE), **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, str] = json.loads(process.stdout)
    return found


def test_threads_wait_briefly_where_nelbo_is_imported_before_torch() -> None:
    found = environment("import nelbo, sys; assert 'torch' not in sys.modules")
    assert found == spin.SHORT
    assert 1_000 <= int(found["GOMP_SPINCOUNT"]) <= 30_000  # the default is 300,000


@pytest.mark.parametrize(
    ("name", "value"),
    [("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "30000000"), ("KMP_BLOCKTIME", "infinite")],
)
def test_how_the_user_lets_threads_wait_stays(name: str, value: str) -> None:
    assert environment("import nelbo", **{name: value}) == {name: value}


def test_nothing_is_set_that_torch_would_no_longer_read() -> None:
    assert (
        environment(
            "import sys, types; sys.modules['torch'] = types.ModuleType('torch'); import nelbo"
        )
        == {}
    )


# -- the doctor
# --------------------------------------------------------------------------------------


def test_the_doctor_tells_what_nelbo_runs_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["torch"] == torch.__version__
    assert found["numpy"] == np.__version__
    assert found["threads"] == torch.get_num_threads()
    assert found["cores"] >= 1
    assert found["free_disk"] > 0
    assert isinstance(found["bfloat16"], bool)
    assert {"python", "device", "openmp", "waiting", "settings", "notes"} <= found.keys()
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["numpy", np.__version__] for line in lines)


@pytest.mark.parametrize(
    ("code", "settings", "waiting"),
    [
        ("", {}, "brief"),
        ("import sys, types; sys.modules['torch'] = types.ModuleType('torch')", {}, "before nelbo"),
        ("", {"OMP_WAIT_POLICY": "PASSIVE"}, "you have set"),
        ("", spin.SHORT, "brief"),
    ],
    ids=["nelbo first", "torch first", "user", "inherited"],
)
def test_the_doctor_knows_who_decided_how_threads_wait(
    code: str, settings: dict[str, str], waiting: str
) -> None:
    code += "\nimport nelbo\nfrom nelbo import spin\nfrom nelbo.cli import doctor\nimport os\n"
    code += f"assert {waiting!r} in doctor.waiting(), spin.in_force()"
    environment(code, **settings)
