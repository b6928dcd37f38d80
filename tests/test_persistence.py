"""save -> load is the identity, and what is damaged is refused by name.
(The folder itself: test_checkpoint.py.)
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from nelbo import VariationalAutoencoder
from nelbo.checkpoint import CheckpointError, read_folder, write_folder

pytestmark = pytest.mark.usefixtures("untouched_random_state")

Array = np.ndarray[Any, Any]


def table(n: int = 60, d: int = 4) -> Array:
    rng = np.random.default_rng(0)
    return np.asarray(
        rng.normal(size=(n, 2)) @ rng.normal(size=(2, d)) + 0.3 * rng.normal(size=(n, d))
    )


PICTURES = np.clip(60 * table(30, 30).reshape(30, 6, 5) + 90, 0, 255).astype(np.uint8)
BITS = (table() > 0).astype(np.float32)
CASES: dict[str, tuple[dict[str, Any], Any]] = {
    "default": ({}, table()),
    "float32": ({}, table().astype(np.float32)),
    "fixed variance": ({"variance": 0.3}, table() * [1.0, 10.0, 100.0, 1000.0]),
    "fixed variance, one scale": ({"variance": 2.5, "scale": "global"}, table()),
    "per feature": ({"variance": "per_feature"}, table()),
    "heteroscedastic": ({"variance": "heteroscedastic"}, table()),
    "linear": ({"network": "linear"}, table()),
    "mlp": ({"network": "mlp", "activation": "tanh", "hidden": [5, 4]}, table()),
    "apart": ({"encoder": "mlp", "decoder": "linear"}, table()),
    "conv": ({"network": "conv"}, PICTURES),
    "conv, colour, per feature": (
        {"network": "conv", "variance": "per_feature"},
        PICTURES.reshape(10, 6, 5, 3),
    ),
    "float images": ({"network": "residual"}, PICTURES / 256.0),
    "bernoulli": ({"likelihood": "bernoulli"}, BITS),
    "unscaled": ({"scale": None}, table()),
    "frame": ({}, pd.DataFrame(table(), columns=["a", "b", "c", "d"])),
    "iwae": ({"objective": "iwae", "objective_samples": 3, "score_samples_k": 7}, table()),
    "random state": ({"random_state": np.random.RandomState(0)}, table()),
    "numpy numbers": (
        {"latent_dim": np.int64(2), "hidden": np.array([6, 6]), "learning_rate": np.float32(0.01)},
        table(),
    ),
}


def fit(options: dict[str, Any], X: Any) -> VariationalAutoencoder:
    defaults: dict[str, Any] = {
        "latent_dim": 2,
        "hidden": (8,),
        "channels": (4,),
        "max_steps": 40,
        "random_state": 0,
    }
    # without a share held out, nothing goes back to the closed form
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return VariationalAutoencoder(**(defaults | {"validation_fraction": 0.0} | options)).fit(X)


@pytest.mark.parametrize("name", CASES)
def test_saving_and_loading_is_the_identity(name: str, tmp_path: Path) -> None:
    options, X = CASES[name]
    model = fit(options, X)
    model.save(tmp_path / "run")
    loaded = VariationalAutoencoder.load(tmp_path / "run")
    np.testing.assert_array_equal(loaded.score_samples(X), model.score_samples(X))
    np.testing.assert_array_equal(loaded.elbo(X), model.elbo(X))
    np.testing.assert_array_equal(np.asarray(loaded.transform(X)), np.asarray(model.transform(X)))
    np.testing.assert_array_equal(loaded.reconstruct(X), model.reconstruct(X))
    np.testing.assert_array_equal(loaded.sample(5, random_state=3), model.sample(5, random_state=3))
    assert loaded.sample(2).dtype == model.sample(2, random_state=0).dtype
    assert hasattr(loaded, "noise_variance_") == hasattr(model, "noise_variance_")
    if hasattr(model, "noise_variance_"):
        np.testing.assert_array_equal(loaded.noise_variance_, model.noise_variance_)
    for attribute in (
        "history_",
        "n_iter_",
        "kept_start_",
        "n_features_in_",
        "schema_",
        "dtype_",
        "seed_",
    ):
        assert getattr(loaded, attribute) == getattr(model, attribute)
    assert list(getattr(loaded, "feature_names_in_", [])) == list(
        getattr(model, "feature_names_in_", [])
    )
    assert vars(loaded).keys() == vars(model).keys()
    for option, value in model.get_params().items():
        if not isinstance(value, np.random.RandomState):
            np.testing.assert_array_equal(getattr(loaded, option), value)


def test_a_loaded_model_can_be_saved_and_fitted_again(tmp_path: Path) -> None:
    model = fit({}, table())
    model.save(tmp_path / "a")
    loaded = VariationalAutoencoder.load(tmp_path / "a")
    loaded.save(tmp_path / "b")
    assert read_folder(tmp_path / "a")[0] == read_folder(tmp_path / "b")[0]
    again = loaded.fit(table())
    np.testing.assert_array_equal(again.score_samples(table()), model.score_samples(table()))
    warm = VariationalAutoencoder.load(tmp_path / "a").set_params(warm_start=True, max_steps=5)
    before = warm.score(table())
    assert warm.fit(table()).score(table()) == pytest.approx(before, abs=1.0)


def test_a_folder_holds_what_it_should_and_no_code(tmp_path: Path) -> None:
    model = fit({"variance": 0.3, "validation_fraction": 0.1}, table())
    model.save(tmp_path / "run")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        "config.json",
        "model.safetensors",
        "manifest.json",
        "metrics.jsonl",
        "README.md",
    }
    records = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert [record["step"] for record in records] == [
        record.step for record in model.history_.records
    ]
    card = (tmp_path / "run" / "README.md").read_text()
    assert "table, 4 values per example" in card
    assert (
        f"fixed beta = {0.3**0.5:.6g}" in card or "fixed beta per feature, 0.5477 to 0.5477" in card
    )


def test_a_model_is_not_overwritten_unless_asked(tmp_path: Path) -> None:
    first, second = fit({}, table()), fit({"latent_dim": 1}, table())
    first.save(tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"overwrite=True") as caught:
        second.save(tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert VariationalAutoencoder.load(tmp_path / "run").latent_dim == 2
    second.save(tmp_path / "run", overwrite=True)
    assert VariationalAutoencoder.load(tmp_path / "run").latent_dim == 1


def test_a_network_of_ones_own_cannot_be_saved_and_says_what_can(tmp_path: Path) -> None:
    from nelbo import networks

    model = fit(
        {
            "network": lambda i, o: networks.MLP(
                i, o, (3,), generator=torch.Generator().manual_seed(0)
            )
        },
        table(),
    )
    with pytest.raises(
        TypeError, match=r"is a factory, and a model file holds no code.*safetensors"
    ) as caught:
        model.save(tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def _truncate(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])


def _flip(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(bytes(data))


def _remove(folder: Path, name: str) -> None:
    (folder / name).unlink()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "run"
    fit({}, table()).save(folder)
    return folder


@pytest.mark.parametrize("damage", [_truncate, _flip, _remove])
@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "manifest.json", "metrics.jsonl", "README.md"]
)
def test_a_damaged_file_is_refused_by_name(
    saved: Path, tmp_path: Path, name: str, damage: Any
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for path in saved.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    VariationalAutoencoder.load(folder)
    damage(folder, name)
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")) as caught:
        VariationalAutoencoder.load(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path, Path(__file__)):
        with pytest.raises(CheckpointError, match=path.name) as caught:
            VariationalAutoencoder.load(path)
        assert "\n" not in str(caught.value)


FORGERIES: dict[str, Any] = {
    "no spec": lambda config: config.pop("spec"),
    "another width": lambda config: config["spec"].update(hidden=[9]),
    "another shape": lambda config: config["spec"].update(shape=[5]),
    "unknown network": lambda config: config["spec"].update(decoder="os.system"),
    "unknown field": lambda config: config["spec"].update(color="red"),
    "unknown option": lambda config: config["params"].update(colour="red"),
    "no schema": lambda config: config.pop("schema"),
    "a bad scale": lambda config: config["schema"].update(scale=[1.0, 2.0]),
    "fields of another type": lambda config: config.update(spec="pickle"),
    "nothing fitted": lambda config: config.pop("fitted"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_config_that_fits_no_model_is_refused_in_one_line(
    saved: Path, tmp_path: Path, name: str
) -> None:
    """The checksums are right: only the contents are not."""
    config, tensors = read_folder(saved)
    FORGERIES[name](config)
    extra = {"metrics.jsonl": (saved / "metrics.jsonl").read_text()}
    write_folder(tmp_path / "run", config, tensors, extra_text=extra)
    with pytest.raises(
        CheckpointError, match=r"config\.json and model\.safetensors do not describe one model"
    ) as caught:
        VariationalAutoencoder.load(tmp_path / "run")
    assert "\n" not in str(caught.value)
