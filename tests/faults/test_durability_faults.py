"""A model that is trained is on disk, or in memory until it is on disk:
no error takes both away.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from helpers import build, flat_weights, normal, ring, small_estimator
from nelbo import VariationalAutoencoder, data, fit, objective
from nelbo.checkpoint import (
    CheckpointError,
    CheckpointWriteError,
    Folder,
    read_folder,
    write_folder,
)
from nelbo.cli import main
from nelbo.fitting import resume

pytestmark = pytest.mark.fault

X = ring(150)


class Disk:
    """A disk that takes no more bytes while it is full."""

    full = False
    refused = 0


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """The disk that checkpoints are written to."""
    found, write = Disk(), Path.write_bytes

    def write_bytes(path: Path, data: Any) -> int:
        if found.full:
            found.refused += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    return found


def quick(folder: Path, **options: Any) -> VariationalAutoencoder:
    """An estimator that is fitted in no time, keeps its state in a folder, and trains twice."""
    plain: dict[str, Any] = {
        "hidden": (8,),
        "max_steps": 100,
        "learning_rate": 0.02,
        "checkpoint_dir": folder,
    }
    return small_estimator(**(plain | options))


@pytest.fixture(scope="module")
def whole() -> np.ndarray[Any, Any]:
    """The weights that `quick` comes to where nothing disturbs it."""
    return flat_weights(small_estimator(hidden=(8,), max_steps=100, learning_rate=0.02).fit(X))


def stop_at(step: int) -> Callable[[Any], None]:
    def callback(record: Any) -> None:
        if record.step >= step:
            raise KeyboardInterrupt

    return callback


def state_in(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return found


# -- until the model is saved
# ------------------------------------------------------------------------


def test_the_state_of_a_finished_fit_stays_until_its_model_is_saved(
    tmp_path: Path, disk: Disk, whole: np.ndarray[Any, Any]
) -> None:
    model = quick(tmp_path / "state").fit(X)
    disk.full = True
    with pytest.raises(CheckpointWriteError, match="choose another path"):
        model.save(tmp_path / "run")
    disk.full = False
    assert state_in(tmp_path / "state")["complete"] is True
    seen: list[Any] = []
    again = quick(tmp_path / "state", callbacks=[seen.append]).fit(X)
    assert seen == []  # it was finished, and nothing is trained again
    np.testing.assert_array_equal(flat_weights(again), whole)
    assert again.history_.to_dict() == model.history_.to_dict()
    model.save(tmp_path / "run")
    assert not (tmp_path / "state").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_a_complete_state_makes_room_for_the_next_fit_and_an_unfinished_one_does_not(
    tmp_path: Path,
) -> None:
    quick(tmp_path / "state", max_steps=3).fit(X)
    quick(tmp_path / "state", max_steps=4).fit(X)  # in a loop over options, say
    assert state_in(tmp_path / "state")["complete"] is True
    with pytest.raises(KeyboardInterrupt):
        quick(tmp_path / "state", callbacks=[stop_at(20)]).fit(X)
    with pytest.raises(CheckpointError, match="other data or options"):
        quick(tmp_path / "state", max_steps=3).fit(X)


def test_a_saved_model_of_an_interrupted_fit_leaves_the_state_that_goes_on(tmp_path: Path) -> None:
    model = quick(tmp_path / "state", callbacks=[stop_at(20)])
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    model.save(tmp_path / "run")
    assert state_in(tmp_path / "state")["complete"] is False


# -- records that are not finite
# ---------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
def test_a_record_that_is_not_finite_spoils_neither_model_nor_state(tmp_path: Path) -> None:
    def spoil(record: Any) -> None:
        object.__setattr__(record, "validation", float("-inf"))
        object.__setattr__(record, "kl", float("nan"))
        if record.step >= 20:
            raise KeyboardInterrupt

    model = quick(tmp_path / "state", callbacks=[spoil])
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    resumed = quick(tmp_path / "state").fit(X)
    resumed.save(tmp_path / "run")
    loaded = VariationalAutoencoder.load(tmp_path / "run").history_.records[0]
    assert loaded.validation == float("-inf")
    assert np.isnan(loaded.kl)
    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)  # NaN is no JSON


@pytest.mark.filterwarnings("ignore")
def test_data_beyond_all_scales_make_a_model_that_can_be_saved(tmp_path: Path) -> None:
    g = np.random.default_rng(0)
    rows = g.normal(size=(200, 3)) @ g.normal(size=(3, 5)) * 1e12
    model = VariationalAutoencoder(2, hidden=(16,), max_steps=40, random_state=0, scale=None).fit(
        rows
    )
    model.save(tmp_path / "run")
    VariationalAutoencoder.load(tmp_path / "run")


# -- disks that are full
# -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_disk_that_is_full_for_a_moment_costs_a_warning_and_no_training(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, whole: np.ndarray[Any, Any]
) -> None:
    monkeypatch.setattr(resume, "STORE_EVERY", 0.0)

    def fill(record: Any) -> None:
        disk.full = 10 <= record.step < 20

    with pytest.warns(UserWarning, match=r"could not be saved: .*No space left.* Training goes on"):
        model = quick(tmp_path / "state", callbacks=[fill]).fit(X)
    assert disk.refused > 0
    np.testing.assert_array_equal(flat_weights(model), whole)
    assert state_in(tmp_path / "state")["complete"] is True


def test_a_disk_that_stays_full_leaves_the_model_in_memory(
    tmp_path: Path, disk: Disk, whole: np.ndarray[Any, Any]
) -> None:
    disk.full = True
    with pytest.warns(UserWarning, match="The model is trained and in memory"):
        model = quick(tmp_path / "state").fit(X)
    np.testing.assert_array_equal(flat_weights(model), whole)
    with pytest.raises(CheckpointWriteError, match="free some space, or choose another path"):
        model.save(tmp_path / "run")
    disk.full = False
    model.save(tmp_path / "run")
    np.testing.assert_array_equal(
        flat_weights(VariationalAutoencoder.load(tmp_path / "run")), whole
    )


def test_a_full_disk_does_not_take_the_place_of_ctrl_c(tmp_path: Path, disk: Disk) -> None:
    disk.full = True
    model = quick(tmp_path / "state", callbacks=[stop_at(20)])
    with pytest.warns(UserWarning, match="could not be saved"), pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert model.history_.stopped == "interrupted"
    assert np.isfinite(model.sample(3)).all()
    model = quick(tmp_path / "state", callbacks=[stop_at(20)])
    with pytest.raises(KeyboardInterrupt):  # where warnings are errors, too
        model.fit(X)


# -- places
# ------------------------------------------------------------------------------------------


def set_aside(folder: Path) -> None:
    """Leave what a writer leaves that is killed between its two renames."""
    import hashlib

    digest = hashlib.sha256(os.fsencode(folder.name)).hexdigest()[:12]
    import socket

    host = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    stem = folder.with_name(f".nelbo-{digest}-{host}-{dead.pid}-00000000")
    shutil.copytree(folder, f"{stem}.new")
    folder.rename(f"{stem}.old")


def test_a_state_that_a_killed_writer_set_aside_is_resumed(
    tmp_path: Path, whole: np.ndarray[Any, Any]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        quick(tmp_path / "state", callbacks=[stop_at(20)]).fit(X)
    set_aside(tmp_path / "state")
    seen: list[Any] = []
    model = quick(tmp_path / "state", callbacks=[seen.append]).fit(X)
    assert seen[0].step > 20
    np.testing.assert_array_equal(flat_weights(model), whole)


@pytest.mark.slow
def test_the_second_of_two_fits_in_one_place_is_refused_before_it_trains(tmp_path: Path) -> None:
    def second(_: Any) -> bool:
        script = (
            "import sys; sys.path.insert(0, sys.argv[2]); from test_durability_faults import *\n"
            "def no(record): raise SystemExit('it trained')\n"
            "quick(Path(sys.argv[1]), callbacks=[no]).fit(X)"
        )
        found = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "state"), str(Path(__file__).parent)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        seen.append(found.stderr.splitlines()[-1])
        return True

    seen: list[str] = []
    quick(tmp_path / "state", callbacks=[second]).fit(X)
    assert f"{tmp_path / 'state'} is in use by another fit (process {os.getpid()})" in seen[0]
    quick(tmp_path / "state").fit(X)  # and when it has ended, nothing is in the way


def test_a_crashed_owner_leaves_no_lock(tmp_path: Path) -> None:
    script = (
        "import os, sys; from nelbo.checkpoint import locked\nwith locked(sys.argv[1]): os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "state")], check=False)
    assert [entry.name.startswith(".nelbo-lock-") for entry in tmp_path.iterdir()] == [True]
    quick(tmp_path / "state", max_steps=1).fit(X)
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


@pytest.mark.parametrize("place", ["a file", "someone's folder", "a model", "below a file"])
def test_a_place_where_no_state_can_be_kept_is_refused_before_training(
    tmp_path: Path, place: str
) -> None:
    folder = tmp_path / "state"
    if place == "a file":
        folder.write_text("mine")
    elif place == "someone's folder":
        folder.mkdir()
        (folder / "thesis.tex").write_text("mine")
    elif place == "a model":
        write_folder(folder, {}, {})
    else:
        folder.write_text("mine")
        folder = folder / "deeper"

    def no(_: Any) -> None:
        pytest.fail("it trained")

    with pytest.raises((CheckpointError, CheckpointWriteError), match="state") as caught:
        quick(folder, callbacks=[no]).fit(X)
    assert "\n" not in str(caught.value)


def test_files_that_users_put_beside_the_state_stay(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        quick(tmp_path / "state", callbacks=[stop_at(20)]).fit(X)
    (tmp_path / "state" / "notes.txt").write_text("mine")
    (tmp_path / "state" / "plots").mkdir()
    model = quick(tmp_path / "state").fit(X)
    model.save(tmp_path / "run")
    assert sorted(entry.name for entry in (tmp_path / "state").iterdir()) == ["notes.txt", "plots"]


# -- the same bits
# -----------------------------------------------------------------------------------


class Killed(BaseException):
    """What ends a process without leave."""


def killed_at(monkeypatch: pytest.MonkeyPatch, count: int) -> Iterator[None]:
    """Let so many states be saved, and then end all."""
    calls = iter(range(count))
    save = Folder._write

    def write(self: Folder, *arguments: Any, **more: Any) -> None:
        if next(calls, None) is None:
            raise Killed
        save(self, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "_write", write)
        yield


@pytest.mark.slow
def test_a_fit_that_is_killed_in_either_training_resumes_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: np.ndarray[Any, Any]
) -> None:
    """States are saved so often that both trainings have some;
    the fit is killed at every tenth, and resumed.
    """
    monkeypatch.setattr(resume, "STORE_EVERY", -1.0)
    phases, model = set(), None
    for _ in range(60):
        for _ in killed_at(monkeypatch, 10):
            try:
                model = quick(tmp_path / "state").fit(X)
            except Killed:
                found = state_in(tmp_path / "state")
                phases.add((found["phase"], found["state"]["finished"]))
        if model is not None:
            break
    assert model is not None
    np.testing.assert_array_equal(flat_weights(model), whole)
    assert len({name for name, _ in phases}) == 2  # the training on all rows has its states, too


def test_a_resumed_fit_has_the_number_of_threads_of_its_beginning(
    tmp_path: Path, whole: np.ndarray[Any, Any]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        quick(tmp_path / "state", callbacks=[stop_at(20)]).fit(X)
    assert state_in(tmp_path / "state")["state"]["threads"] == 1
    seen: list[int] = []
    torch.set_num_threads(2)
    try:
        model = quick(
            tmp_path / "state", callbacks=[lambda _: seen.append(torch.get_num_threads())]
        ).fit(X)
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    np.testing.assert_array_equal(flat_weights(model), whole)


def test_a_cold_runs_state_does_not_replace_the_weights_of_a_warm_start(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "hidden": (8,),
        "max_steps": 100,
        "learning_rate": 0.02,
        "warm_start": True,
    }
    expected = small_estimator(**options).fit(X).fit(X)
    model = small_estimator(**options).fit(X)
    quick(tmp_path / "state").fit(X)  # cold, complete, with the same data and options
    model.checkpoint_dir = tmp_path / "state"
    np.testing.assert_array_equal(flat_weights(model.fit(X)), flat_weights(expected))
    with pytest.raises(KeyboardInterrupt):
        quick(tmp_path / "cold", callbacks=[stop_at(20)]).fit(X)
    model.checkpoint_dir = tmp_path / "cold"
    with pytest.raises(CheckpointError, match="other data or options"):
        model.fit(X)


# -- states that are odd
# -----------------------------------------------------------------------------

ODD: list[Any] = [..., None, True, -1, 0.5, 1e300, 10**40, "x", "nan", [], [1, 2], {}, {"a": 1}]
"""What is put in the place of every field; `...` removes it."""


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every field of some JSON, of lists to the first one only."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value[:1])
        if isinstance(value, list)
        else ()
    )
    for key, item in inner:
        yield (*path, key)
        yield from paths(item, (*path, key))


def changed(config: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(config))
    place: Any = found
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return found


def spoilt(tensors: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Yield the tensors with each of them missing, of another shape or type, and not a number;
    and with one more.
    """
    for name, value in tensors.items():
        yield {other: tensor for other, tensor in tensors.items() if other != name}
        yield tensors | {name: value.reshape(1, *value.shape)}
        yield tensors | {
            name: value.to(torch.float64 if value.dtype == torch.float32 else torch.float32)
        }
        yield tensors | {name: value * math.nan}
    yield tensors | {"more": torch.zeros(1)}
    yield {}


def resumes(folder: Path) -> bool:
    """Return whether a small run goes on from a state, or refuses it by name;
    anything else is an error.
    """
    vae = build((3,), 1, "mlp", dtype=torch.float32, hidden=(2,))
    x, held = normal(12, 3).float(), normal(5, 3, seed=1).float()
    store = Folder(folder, "this run")
    try:
        fit(
            objective.ELBO(vae),
            x,
            validation=held,
            max_steps=12,
            batch_size=4,
            average=0.1,
            store=store,
        )
    except CheckpointError as error:
        if "\n" in str(error) or str(folder) not in str(error):
            raise
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("finished", [False, True])
def test_a_state_with_any_field_missing_or_odd_goes_on_or_is_refused_by_name(
    tmp_path: Path, finished: bool
) -> None:
    vae, folder = build((3,), 1, "mlp", dtype=torch.float32, hidden=(2,)), tmp_path / "state"
    x, held = normal(12, 3).float(), normal(5, 3, seed=1).float()
    options: dict[str, Any] = {"validation": held, "max_steps": 12, "batch_size": 4, "average": 0.1}
    stop = [] if finished else [stop_at(6)]
    with contextlib.suppress(KeyboardInterrupt):
        fit(objective.ELBO(vae), x, **options, store=Folder(folder, "this run"), callbacks=stop)
    assert resumes(folder)
    config, tensors = read_folder(folder, kind="training state")
    refused, tried = 0, 0
    whole = [(changed(config, path, odd), tensors) for path in paths(config) for odd in ODD]
    for fields, values in [*whole, *((config, other) for other in spoilt(tensors))]:
        write_folder(folder, fields, values, kind="training state", overwrite=True)
        tried += 1
        refused += not resumes(folder)
    assert tried > 200
    assert refused > 0.5 * tried


# -- models that are odd
# -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "run"
    small_estimator(hidden=(4,), max_steps=2).fit(X[:60]).save(folder)
    return folder


def rewritten(
    saved: Path, folder: Path, config: dict[str, Any], tensors: dict[str, Tensor]
) -> Path:
    """A model with other contents and the right checksums."""
    extra = {name: (saved / name).read_text() for name in ("metrics.jsonl", "README.md")}
    write_folder(folder, config, tensors, overwrite=True, extra_text=extra)
    return folder


def test_weights_that_are_not_the_models_are_refused_by_name(saved: Path, tmp_path: Path) -> None:
    config, tensors = read_folder(saved)
    for name in [name for name in tensors if name.startswith(("encoder", "decoder", "baseline"))]:
        for odd in (tensors[name] * math.nan, tensors[name] + math.inf, tensors[name].half()):
            folder = rewritten(saved, tmp_path / "run", config, tensors | {name: odd})
            with pytest.raises(CheckpointError, match="do not describe one model") as caught:
                VariationalAutoencoder.load(folder)
            assert name.removeprefix("baseline.") in str(caught.value)


def test_numbers_that_are_none_are_refused_in_every_file(saved: Path, tmp_path: Path) -> None:
    config, tensors = read_folder(saved)
    text = json.dumps(config)
    for odd in ("NaN", "Infinity", "1e999"):
        spoilt = text.replace(str(config["schema"]["shift"][0]), odd)
        assert spoilt != text
        with pytest.MonkeyPatch.context() as patch:  # our own writer refuses it
            patch.setattr("nelbo.checkpoint.folder._check_json", lambda *_: None)
            patch.setattr("nelbo.checkpoint.folder._json_bytes", _with(spoilt))
            rewritten(saved, tmp_path / "run", config, tensors)
        with pytest.raises(CheckpointError, match=r"config\.json"):
            VariationalAutoencoder.load(tmp_path / "run")


def _with(text: str) -> Callable[[Any], bytes]:
    return lambda value: (
        text
        if "spec" in value
        else json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    ).encode()


@pytest.mark.slow
def test_a_config_with_any_field_odd_is_loaded_or_refused_by_name(
    saved: Path, tmp_path: Path
) -> None:
    config, tensors = read_folder(saved)
    ways = [path for path in paths(config) if path[0] in ("spec", "fitted", "schema", "history")]
    refused = 0
    for path in ways:
        for odd in (..., None, -1, 0.5, 1e300, "x", [1, 2], {"a": 1}):
            rewritten(saved, tmp_path / "run", changed(config, path, odd), tensors)
            try:
                VariationalAutoencoder.load(tmp_path / "run")
            except CheckpointError as error:
                refused += 1
                if "\n" in str(error):
                    raise
    assert refused > 100


def test_a_config_that_claims_giant_layers_is_refused_before_they_are_built(
    saved: Path, tmp_path: Path
) -> None:
    config, tensors = read_folder(saved)
    for field, giant in (("hidden", [10**7, 10**7]), ("latent_dim", 10**12)):
        rewritten(saved, tmp_path / "run", changed(config, ("spec", field), giant), tensors)
        with pytest.raises(CheckpointError, match="do not describe one model"):
            VariationalAutoencoder.load(tmp_path / "run")  # 400 TB, if they were


@pytest.mark.parametrize("name", ["README.md", "manifest.json", "model.safetensors"])
def test_a_file_that_has_grown_is_refused_without_being_read(
    saved: Path, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(saved, folder)
    os.truncate(folder / name, 2**42)  # with a hole: no disk has so much room, and no memory
    with pytest.raises(CheckpointError, match=name):
        VariationalAutoencoder.load(folder)


def test_a_model_whose_weights_are_no_numbers_is_not_saved_as_if_it_were_one(
    tmp_path: Path,
) -> None:
    model = small_estimator(hidden=(4,), max_steps=2).fit(X[:60])
    with torch.no_grad():
        next(model.model_.parameters()).fill_(math.nan)
    with pytest.raises(ValueError, match=r"cannot be saved: .* not finite"):
        model.save(tmp_path / "run")


# -- the command line
# --------------------------------------------------------------------------------

ARGUMENTS = (
    "--latent-dim",
    "2",
    "--hidden",
    "4",
    "--max-steps",
    "60",
    "--quiet",
    "--samples",
    "20",
    "--no-report",
)


@pytest.fixture
def table(tmp_path: Path) -> str:
    np.save(tmp_path / "table.npy", X)
    return str(tmp_path / "table.npy")


def complaint(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line that a command which is used wrongly ends with."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    err = capsys.readouterr().err.strip()
    assert code == 2, err
    assert "\n" not in err
    return err


def test_a_final_save_that_fails_for_a_second_is_tried_again(
    tmp_path: Path,
    table: str,
    disk: Disk,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save = VariationalAutoencoder.save

    def full_at_first(self: VariationalAutoencoder, *arguments: Any, **options: Any) -> None:
        disk.full = disk.refused < 2
        save(self, *arguments, **options)

    monkeypatch.setattr(VariationalAutoencoder, "save", full_at_first)
    monkeypatch.setattr("nelbo.cli.fit.PAUSES", (0.01, 0.01, 0.01))
    assert main(["fit", table, "--out", str(tmp_path / "run"), *ARGUMENTS]) == 0
    assert disk.refused >= 2
    assert not (tmp_path / "run.partial").exists()
    VariationalAutoencoder.load(tmp_path / "run")
    capsys.readouterr()


def test_a_final_save_that_fails_leaves_the_model_elsewhere_and_the_state_where_it_was(
    tmp_path: Path, table: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save, elsewhere = VariationalAutoencoder.save, tmp_path / "elsewhere"
    elsewhere.mkdir()

    def full(self: VariationalAutoencoder, path: Path, *arguments: Any, **options: Any) -> None:
        if Path(path).parent != elsewhere:
            refused = CheckpointWriteError("could not write")
            refused.errno = errno.ENOSPC
            raise refused
        save(self, path, *arguments, **options)

    monkeypatch.setattr("nelbo.cli.fit.PAUSES", ())
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(elsewhere))
    command = ("fit", table, "--out", tmp_path / "run", *ARGUMENTS)
    with monkeypatch.context() as patch:
        patch.setattr(VariationalAutoencoder, "save", full)
        told = complaint(capsys, *command)
    (kept,) = elsewhere.iterdir()
    for part in ("No space left", f"saved in {kept} instead", "--resume", "run.partial"):
        assert part in told
    assert state_in(tmp_path / "run.partial")["complete"] is True
    assert main([*map(str, command), "--resume"]) == 0  # and finishes at once
    assert flat_weights(VariationalAutoencoder.load(tmp_path / "run")).tolist() == (
        flat_weights(VariationalAutoencoder.load(kept)).tolist()
    )
    assert not (tmp_path / "run.partial").exists()
    capsys.readouterr()


def test_a_full_disk_leaves_no_empty_results(
    tmp_path: Path, table: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fsync = os.fsync

    def full(descriptor: int) -> None:
        if "results.json" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    told = complaint(capsys, "fit", table, "--out", tmp_path / "run", *ARGUMENTS)
    assert "The model is saved in" in told
    assert not (tmp_path / "run" / "results.json").exists()
    VariationalAutoencoder.load(tmp_path / "run")


WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "a fraction of a latent": (
        ("fit", "digits", "--out", "r", "--latent-dim", "2.5"),
        "--latent-dim.*no whole number",
    ),
    "a fraction of a step": (
        ("fit", "digits", "--out", "r", "--max-steps", "1.0e2"),
        "--max-steps.*no whole number",
    ),
    "a fraction of a seed": (("sample", "run", "--seed", "0.5"), "--seed.*no whole number"),
    "a fraction of a row": (("sample", "run", "-n", "1.5"), "-n.*no whole number"),
    "the current folder": (("fit", "digits", "--out", "."), "--out . is no name"),
    "the folder above": (("fit", "digits", "--out", "runs/.."), "is no name"),
    "a device without numbers": (
        ("fit", "digits", "--out", "r", "--device", "meta", "--max-steps", "1", "--quiet"),
        "meta.*cannot be used",
    ),
    "an unknown home": (("fit", "~nosuchuser/x.csv", "--out", "r"), "unknown here"),
    "a name that is too long": (("fit", "x" * 5000 + ".csv", "--out", "r"), "too long"),
    "options nested too deeply": (
        ("fit", "--config", "deep.toml", "--out", "r"),
        "nested too deeply",
    ),
    "options without end": (("fit", "--config", "/dev/zero", "--out", "r"), "larger than"),
    "a pipe": (("fit", "pipe.csv", "--out", "r"), "neither a file nor a folder"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_is_told_in_one_line_with_a_cure(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep.toml").write_text("latent_dim = " + "[" * 5000 + "]" * 5000)
    os.mkfifo(tmp_path / "pipe.csv")
    arguments, words = WRONG[what]
    assert re.search(words, complaint(capsys, *arguments))
    assert not (tmp_path / "r").exists()
    assert not (tmp_path / "r.partial").exists()


@pytest.mark.slow
def test_a_file_name_gives_no_orders_to_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "a\x1b[31m\x9b2J\x07.npy"
    assert "\\u001b[31m" in complaint(capsys, "fit", name, "--out", "run")
    np.save(name, X)
    for options in ((), ("--json",)):
        assert main(["fit", name, "--out", "run\x1b[2J", "--overwrite", *ARGUMENTS, *options]) == 0
        shown = capsys.readouterr()
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown.out + shown.err)
    assert json.loads(shown.out)["data"] == name


# -- files of NumPy and others
# -----------------------------------------------------------------------


def npy(header: str, body: bytes = bytes(120)) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + body


def zipped(data: bytes, flag: int = 0, method: int = 0) -> bytes:
    """An .npz of one array, which says of it that it is encrypted (1) or packed in some way."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("x.npy", data)
    found = bytearray(stream.getvalue())
    entry = found.find(b"PK\x01\x02")
    found[6], found[8], found[entry + 8], found[entry + 10] = flag, method, flag, method
    return bytes(found)


START = "{'descr': '<f8', 'fortran_order': False, 'shape': "
FILES: dict[str, tuple[bytes, str]] = {
    "unterminated.npy": (npy(START + "(5, 3)"), "not a readable"),
    "unclosed.npy": (npy(START + "(5, 3"), "not a readable"),
    "deep.npy": (npy("(" * 5000 + "\n"), "not a readable"),
    "huge.npy": (npy(START + "(500000000000, 3), }\n"), "claims"),
    "negative.npy": (npy(START + "(-5, 3), }\n"), "claims"),
    "huge.npz": (zipped(npy(START + "(500000000000, 3), }\n")), "claims"),
    "unclosed.npz": (zipped(npy(START + "(5, 3")), "not a readable"),
    "encrypted.npz": (zipped(npy(START + "(5, 3), }\n"), flag=1), "encrypted"),
    "method.npz": (zipped(npy(START + "(5, 3), }\n"), method=97), "not a readable"),
}


@pytest.mark.parametrize("name", FILES)
def test_an_odd_file_is_refused_with_what_is_odd(name: str, tmp_path: Path) -> None:
    content, words = FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        data.load(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_what_would_unpack_to_more_than_memory_holds_is_refused_with_how_to_allow_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.npz"
    header = npy(START + "(40000, 1000), }\n", b"")
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w") as file,
    ):
        file.write(header)
        for _ in range(40):
            file.write(bytes(8_000_000))
    with pytest.raises(ValueError, match=r"would unpack .* to 305\.\d MiB.*NELBO_UNPACK_LIMIT=1"):
        data.load(path)
    monkeypatch.setenv("NELBO_UNPACK_LIMIT", "1")
    assert data.load(path).array.shape == (40_000, 1000)
    monkeypatch.setenv("NELBO_UNPACK_LIMIT", "a lot")
    with pytest.raises(ValueError, match="must be a number of GiB"):
        data.load(path)


def test_a_packed_table_that_is_damaged_or_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = gzip.compress(b"a,b\n" + b"1,2\n" * 500_000)
    (tmp_path / "x.csv.gz").write_bytes(whole)
    monkeypatch.setenv("NELBO_UNPACK_LIMIT", "0.001")
    with pytest.raises(ValueError, match=r"would unpack .* more than .*NELBO_UNPACK_LIMIT=1"):
        data.load(tmp_path / "x.csv.gz")
    monkeypatch.delenv("NELBO_UNPACK_LIMIT")
    assert data.load(tmp_path / "x.csv.gz").array.shape == (500_000, 2)
    for damaged in (whole[:-9], whole[:40] + b"\xff" * 40 + whole[80:], b"no archive at all"):
        (tmp_path / "x.csv.gz").write_bytes(damaged)
        with pytest.raises(ValueError, match="cannot be unpacked"):
            data.load(tmp_path / "x.csv.gz")


def test_a_parquet_file_of_few_bytes_and_many_rows_is_refused_unread(tmp_path: Path) -> None:
    table = pa.table({name: pa.array(np.zeros(5_000_000, dtype=np.int8)) for name in "abcdefgh"})
    pq.write_table(table, tmp_path / "bomb.parquet")
    with pytest.raises(ValueError, match="NELBO_UNPACK_LIMIT"):
        data.load(tmp_path / "bomb.parquet")


@pytest.mark.parametrize(
    "note",
    [
        b"\xff",
        b"no json",
        b"[]",
        b"5",
        b'{"index_columns": 5}',
        b'{"index_columns": [[1], null]}',
        b"[" * 10**5,
    ],
)
def test_odd_notes_of_pandas_in_a_parquet_file_are_passed_over(note: bytes, tmp_path: Path) -> None:
    table = pa.table({"a": [1.0, 2.0], "b": [3.0, 4.0]}).replace_schema_metadata({b"pandas": note})
    pq.write_table(table, tmp_path / "x.parquet")
    assert data.load(tmp_path / "x.parquet").columns == ("a", "b")


# -- signals
# -----------------------------------------------------------------------------------------


BEGUN = """
import signal, sys
install = signal.signal
def noted(number, handler):
    before = install(number, handler)
    if number == signal.SIGTERM and signal.signal is noted:
        signal.signal = install
        sys.stderr.write('.')
        sys.stderr.flush()
    return before
signal.signal = noted
from nelbo.__main__ import main
raise SystemExit(main())
"""
"""A fit that says when its own code has begun."""


def signalled(
    number: int, delay: float, *arguments: str, cwd: Path
) -> subprocess.CompletedProcess[str]:
    """Run a fit and send it a signal, some seconds after its own code has begun."""
    process = subprocess.Popen(
        [sys.executable, "-c", BEGUN, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    process.stderr.read(1)
    time.sleep(delay)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_training_ends_in_one_line_of_our_own(
    number: int, tmp_path: Path, table: str
) -> None:
    for delay in (0.0, 0.05, 0.3, 1.0):
        found = signalled(number, delay, "fit", table, "--out", "run", *ARGUMENTS, cwd=tmp_path)
        if found.returncode == 0:  # it was quicker
            break
        assert found.returncode == 128 + number, found.stderr
        (line,) = found.stderr.splitlines()
        assert line.startswith(
            f"nelbo: {'Interrupted' if number == signal.SIGINT else 'Terminated'}"
        )
        shutil.rmtree(tmp_path / "run.partial", ignore_errors=True)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_within_the_final_save_waits_for_it_and_is_told_that_the_model_is_saved(
    number: int, tmp_path: Path, table: str
) -> None:
    script = (
        "import os, signal; from nelbo.estimator import VariationalAutoencoder as V; save = "
        "V.save\n"
        "def held(self, *a, **k):\n"
        f"    os.kill(os.getpid(), {int(number)}); save(self, *a, **k)\n"
        "V.save = held; from nelbo.__main__ import main"
    )
    code = f"import sys\n{script}\nraise SystemExit(main())"
    found = subprocess.run(
        [sys.executable, "-c", code, "fit", table, "--out", "run", *ARGUMENTS],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 128 + number, found.stderr
    assert "after the model was saved in run" in found.stderr
    VariationalAutoencoder.load(tmp_path / "run")
    assert not (tmp_path / "run.partial").exists()


@pytest.mark.slow
def test_a_fit_that_is_killed_anywhere_leaves_its_model_or_a_state_that_resumes_to_the_same_bits(
    tmp_path: Path,
) -> None:
    """By SIGKILL, SIGTERM, SIGINT and SIGINT twice,
    at random times and at random steps of a save.
    """
    from benchmarks._killing import kills

    for one in kills(8, tmp_path, seed=1):
        assert one["outcome"] == "same bits", one
        assert not one["rude"], one
