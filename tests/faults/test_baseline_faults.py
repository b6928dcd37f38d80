"""Exact pPCA, beside which every model is shown:
one number, in data units, whatever scaling the model has.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import datasets
from sklearn.decomposition import PCA

from nelbo import VariationalAutoencoder
from nelbo.cli import main
from nelbo.data.numbers import Numbers
from nelbo.data.steps.dequantise import hash_uniform
from nelbo.fitted.summary import summarise

pytestmark = [
    pytest.mark.fault,
    # flags, rounded and copied columns
    pytest.mark.filterwarnings("ignore::nelbo.data.warned.DataWarning"),
]

Array = np.ndarray[Any, Any]


def table(name: str) -> tuple[Array, Array]:
    """Rows to train on and others."""
    x = np.asarray(getattr(datasets, f"load_{name.removeprefix('odd_')}")().data)
    if name.startswith("odd_"):
        x = x * 10.0 ** np.linspace(-6, 6, x.shape[1])
    order = np.random.default_rng(0).permutation(len(x))
    return x[order[: len(x) * 2 // 3]], x[order[len(x) * 2 // 3 :]]


def scikit_learn(train: Array, test: Array, latent_dim: int, standardise: bool = True) -> Array:
    """log p(x) of each row under scikit-learn's PCA, of the columns that vary,
    with the Jacobian counted.
    """
    train, test = (
        np.asarray(part.reshape(len(part), -1), dtype=np.float64) for part in (train, test)
    )
    if not standardise:
        return np.asarray(PCA(min(latent_dim, train.shape[1])).fit(train).score_samples(test))
    varies = train.std(0) > 0
    train, test = train[:, varies], test[:, varies]
    mean, std = train.mean(0), train.std(0)
    pca = PCA(min(latent_dim, train.shape[1])).fit((train - mean) / std)
    return np.asarray(pca.score_samples((test - mean) / std) - np.log(std).sum())


def fitted(train: Any, latent_dim: int, **options: Any) -> VariationalAutoencoder:
    options = {"hidden": (8,), "max_steps": 2, "random_state": 0, **options}
    return VariationalAutoencoder(latent_dim, **options).fit(train)


def told(model: VariationalAutoencoder, train: Any, test: Any) -> float:
    """What the summary of a fit calls the held-out log p(x) of exact pPCA."""
    found = summarise(model.fitted_, train, test, samples=2).baseline
    assert found is not None
    return found.density.mean


@pytest.mark.parametrize("scale", ["auto", "standard", "whitened"])
@pytest.mark.parametrize("latent_dim", [1, 2, 40])
@pytest.mark.parametrize("name", ["wine", "iris", "diabetes", "odd_wine"])
def test_tables_are_held_against_scikit_learns_pca_of_standardised_columns(
    name: str, latent_dim: int, scale: str
) -> None:
    train, test = table(name)
    expected = scikit_learn(train, test, latent_dim).mean()
    assert told(fitted(train, latent_dim, scale=scale), train, test) == pytest.approx(
        expected, rel=1e-6
    )


@pytest.mark.filterwarnings("ignore:Left out of the model")
def test_constant_columns_are_left_out_of_the_baseline() -> None:
    train, test = (np.insert(part, 3, 7.0, axis=1) for part in table("wine"))
    assert told(fitted(train, 2), train, test) == pytest.approx(
        scikit_learn(train, test, 2).mean(), rel=1e-6
    )


def test_float32_rows_have_a_baseline_in_double_precision() -> None:
    train, test = (part.astype(np.float32) for part in table("breast_cancer"))
    assert told(fitted(train, 4), train, test) == pytest.approx(
        scikit_learn(train, test, 4).mean(), rel=1e-6
    )


def test_one_scale_for_all_columns_is_held_against_pca_of_the_columns_as_they_are() -> None:
    train, test = table("iris")
    expected = scikit_learn(train, test, 2, standardise=False).mean()
    assert told(fitted(train, 2, scale="global"), train, test) == pytest.approx(expected, rel=1e-6)


def test_images_are_held_against_pca_of_their_pixels() -> None:
    images = datasets.load_digits().images
    train, test = images[:1000], images[1000:1300]
    expected = scikit_learn(train, test, 8, standardise=False).mean()
    assert told(fitted(train, 8), train, test) == pytest.approx(expected, rel=1e-6)


def test_8_bit_images_are_held_against_pca_of_their_dequantised_pixels() -> None:
    images = np.random.default_rng(0).integers(0, 256, (300, 5, 4), dtype=np.uint8)
    images[:, :, 1] = images[:, :, 0] // 2
    flat = images.reshape(300, -1)
    x = (flat + hash_uniform(flat)) / 256
    expected = scikit_learn(x[:200], x[200:], 3, standardise=False).mean()
    assert told(fitted(images[:200], 3), images[:200], images[200:]) == pytest.approx(
        expected, rel=1e-6
    )


def test_fewer_rows_than_columns_give_what_scikit_learn_gives() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(90, 5)) @ generator.normal(size=(5, 60)) + generator.normal(
        size=(90, 60)
    )
    train, test = x[:40], x[40:]
    assert told(fitted(train, 4), train, test) == pytest.approx(
        scikit_learn(train, test, 4).mean(), rel=1e-6
    )


def test_diagnose_holds_a_model_against_the_same_baseline_without_its_training_rows() -> None:
    train, test = table("wine")
    test = test[:20]
    expected = scikit_learn(train, test, 2)
    for scale in ("whitened", "standard"):
        found = fitted(train, 2, scale=scale).fitted_.diagnose(test)["against pPCA"]
        (linear,) = (value.number for value in found.values if value.label == "pPCA")
        assert linear.value == pytest.approx(expected.mean(), rel=1e-6)


def test_the_baseline_stays_with_the_model(tmp_path: Path) -> None:
    train, test = table("odd_wine")
    model = fitted(train, 2)
    model.save(tmp_path / "run")
    expected = scikit_learn(train, test, 2).mean()
    for kept in (VariationalAutoencoder.load(tmp_path / "run"), pickle.loads(pickle.dumps(model))):
        assert kept.baseline_ is not None
        found = kept.baseline_.log_prob(Numbers(kept.schema_, test))
        assert float(found.mean()) == pytest.approx(expected, rel=1e-6)


def test_probabilities_have_no_baseline(tmp_path: Path) -> None:
    binary = (np.random.default_rng(0).normal(size=(60, 4)) > 0).astype(np.float64)
    model = fitted(binary, 2, likelihood="bernoulli")
    model.save(tmp_path / "run")
    assert (model.baseline_, VariationalAutoencoder.load(tmp_path / "run").baseline_) == (
        None,
        None,
    )


def test_the_shell_shows_the_same_baseline_after_fit_in_results_and_in_evaluate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    train, test = table("wine")
    expected = scikit_learn(train, test, 2)
    for name, part in (("train", train), ("test", test)):
        np.savetxt(
            f"{name}.csv",
            part,
            delimiter=",",
            header=",".join(f"c{j}" for j in range(13)),
            comments="",
        )
    fit = [
        "fit",
        "train.csv",
        "--test",
        "test.csv",
        "--out",
        "run",
        "--latent-dim",
        "2",
        "--max-steps",
        "5",
        "--no-report",
    ]
    assert main(fit) == 0
    error = expected.std(ddof=1) / len(expected) ** 0.5
    assert (
        f"exact pPCA, latent size 2  {expected.mean():.2f} ± {error:.2f}" in capsys.readouterr().out
    )
    results = json.loads(Path("run/results.json").read_text(encoding="utf-8"))
    assert results["baseline"]["density"]["mean"] == pytest.approx(expected.mean(), rel=1e-6)
    assert (
        main(["evaluate", "run", "test.csv", "--method", "importance", "--samples", "20", "--json"])
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found["baseline"]["density"]["mean"] == pytest.approx(expected.mean(), rel=1e-6)
    assert found["baseline"]["gain"] == pytest.approx(found["mean"] - expected.mean(), rel=1e-4)
