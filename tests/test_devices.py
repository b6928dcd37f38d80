"""A model gives the same answers wherever it is.

CI has no GPU: the device is one that computes on the CPU and keeps its tensors apart (`pretend`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from helpers import small_estimator
from nelbo import Fitted
from pretend import PLACE, pretended

N = 160


@pytest.fixture
def device() -> Iterator[str]:
    with pretended() as name:
        yield name


@cache
def numbers(holes: bool = False) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 2)) @ rng.normal(size=(2, 4)) + 0.2 * rng.normal(size=(N, 4))
    if holes:
        x[rng.random(x.shape) < 0.2] = np.nan
    return x


@cache
def frame() -> pd.DataFrame:
    x, rng = numbers(), np.random.default_rng(1)
    found = pd.DataFrame({"length": x[:, 0], "kind": np.where(x[:, 1] > 0, "left", "right")})
    found["width"], found["count"] = x[:, 2], rng.poisson(3, N)
    found.loc[::7, "length"] = np.nan
    found.loc[::5, "kind"] = None
    return found


def pixels(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 255, (N, *shape)).astype(np.uint8)


MODELS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "linear": (numbers, {"network": "linear"}),
    "default": (numbers, {}),
    "student": (numbers, {"likelihood": "student_t"}),
    "vamp": (numbers, {"prior": "vamp"}),
    "mixture": (numbers, {"prior": "mixture", "posterior": "full_normal"}),
    "holes": (lambda: numbers(holes=True), {}),
    "frame": (frame, {}),
    "conv": (lambda: pixels((6, 6)), {"network": "conv"}),
    "binary": (lambda: (pixels((9,)) > 128).astype(float), {"likelihood": "bernoulli"}),
}
ANSWERS: dict[str, Callable[[Fitted, Any], Any]] = {
    "score_samples": lambda model, x: model.score_samples(x, 64),
    "elbo": lambda model, x: model.elbo(x),
    "refined elbo": lambda model, x: model.elbo(x, refined=True),
    "auto": lambda model, x: model.log_likelihood(x, "auto", 32).value,
    "encode": lambda model, x: model.encode(x)[0],
    "reconstruct": lambda model, x: model.reconstruct(x),
    "sample": lambda model, x: model.sample(3, seed=1),
    "impute": lambda model, x: model.impute(x),
    "given others": lambda model, x: model.given_others(x).nats,
    "given": lambda model, x: model.score_samples(x, 64, given=[0]),
}
QUICK = ("frame",)
MARKS = {name: pytest.mark.slow for name in MODELS if name not in QUICK}
TABLES = ("given others", "given", "impute")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the folder of a model that was fitted on the CPU."""

    @cache
    def folder(name: str) -> Path:
        data, options = MODELS[name]
        path = tmp_path_factory.mktemp(name) / "run"
        small_estimator(max_steps=6, **options).fit(data()).save(path)
        return path

    return folder


@pytest.mark.parametrize("name", [pytest.param(name, marks=MARKS.get(name, ())) for name in MODELS])
def test_answers_do_not_depend_on_the_device(
    name: str, fitted: Callable[[str], Path], device: str
) -> None:
    data = MODELS[name][0]()
    rows = data[:3] if isinstance(data, np.ndarray) else data.iloc[:3]
    here, there = Fitted.load(fitted(name)), Fitted.load(fitted(name), device=device)
    assert there.device == PLACE
    for what, answer in ANSWERS.items():
        if what in TABLES and (name == "conv" or rows.shape[1] > 4):
            continue
        expected, found = (
            pd.DataFrame(np.asarray(answer(model, rows)).reshape(3, -1)) for model in (here, there)
        )
        pd.testing.assert_frame_equal(found, expected, rtol=1e-6, obj=what)


@pytest.mark.parametrize(
    "name",
    ["frame", *(pytest.param(n, marks=pytest.mark.slow) for n in ("default", "student", "conv"))],
)
def test_a_model_is_fitted_on_the_device(name: str, device: str) -> None:
    data, options = MODELS[name]
    model = small_estimator(max_steps=3, device=device, **options).fit(data())
    assert model.fitted_.device == PLACE
    assert np.isfinite(model.history_.records[-1].train)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["default", "frame", "conv"])
def test_a_model_is_diagnosed_on_the_device(
    name: str, fitted: Callable[[str], Path], device: str
) -> None:
    data = MODELS[name][0]()
    rows = data[:20] if isinstance(data, np.ndarray) else data.iloc[:20]
    here, there = (
        str(Fitted.load(fitted(name), device=place).diagnose(rows)) for place in ("cpu", device)
    )
    assert here == there


def test_what_is_apart_cannot_be_mixed(device: str) -> None:
    here, there = torch.arange(3.0), torch.arange(3.0, device=device)
    with pytest.raises(RuntimeError, match="two devices"):
        here + there
    with pytest.raises(RuntimeError, match="two devices"):
        here[there.long()]
    with pytest.raises(RuntimeError, match="generator"):
        torch.randn(3, generator=torch.Generator(device))
    assert (here[1] + there[here.long()]).tolist() == [1.0, 2.0, 3.0]
