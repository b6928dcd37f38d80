"""How results are asked for and shown:
short tables, numpy, frames, files with names, advice that can be followed.
"""

from __future__ import annotations

import dataclasses
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from PIL import Image

from helpers import without_pages
from nelbo import (
    VAE,
    VariationalAutoencoder,
    data,
    diagnose,
    evaluate,
    likelihood,
    networks,
    posterior,
    prior,
)
from nelbo.cli import COMMANDS, main
from nelbo.cli.options import FitOptions
from nelbo.diagnose import cures
from nelbo.diagnose.remedies import remedies

pytestmark = pytest.mark.fault

LINES = 20
"""Lines that a result may print."""


def rows(n: int, d: int = 4, seed: int = 0) -> np.ndarray:
    """A table of d columns with two factors in it."""
    g = np.random.default_rng(seed)
    return g.normal(size=(n, 2)) @ g.normal(size=(2, d)) + 0.3 * g.normal(size=(n, d))


def frame(n: int = 120) -> pd.DataFrame:
    """The same with names and an index of its own."""
    return pd.DataFrame(
        rows(n), columns=["age", "height", "depth", "weight"], index=np.arange(n) * 10
    )


def small(**options: Any) -> VariationalAutoencoder:
    """A model that is fitted in a fraction of a second."""
    return VariationalAutoencoder(
        2, **({"hidden": (8,), "max_steps": 60, "random_state": 0} | options)
    )


@pytest.fixture(scope="module")
def named() -> VariationalAutoencoder:
    """A model of a frame, which the tests do not change."""
    return small().fit(frame())


def short(text: str) -> bool:
    """Whether a text can be taken in at a glance, and names no tensor."""
    lines = text.splitlines()
    return (
        1 <= len(lines) <= LINES
        and max(map(len, lines)) < 1000
        and "tensor(" not in text
        and "array(" not in text
    )


# -- what is printed
# ---------------------------------------------------------------------------------


def test_log_likelihood_of_many_rows_prints_as_a_short_table_of_the_numbers_it_holds(
    named: VariationalAutoencoder,
) -> None:
    found = named.log_likelihood(frame(1000), "importance", 50)
    text = str(found)
    assert short(text)
    assert short(repr(found))
    lines = text.splitlines()
    assert lines[0].split() == ["row", "log", "p(x)", "standard", "error", "ess", "Pareto", "k"]
    assert lines[1].split()[:2] == ["0", f"{found.value[0]:.2f}"]
    assert lines[-2].split()[:2] == ["999", f"{found.value[999]:.2f}"]
    assert f"{found.mean:.2f} ± {found.mean_standard_error:.2f} nats over 1,000 rows" in lines[-1]


def test_a_printed_table_marks_unreliable_rows_and_counts_them(
    named: VariationalAutoencoder,
) -> None:
    found = named.log_likelihood(frame(8), "importance", 30)
    found = dataclasses.replace(found, khat=np.where(np.arange(8) % 3 == 1, 0.9, 0.2))
    assert found.unreliable.sum() == 3
    lines = str(found).splitlines()
    assert [line.endswith("unreliable") for line in lines[1:-1]] == found.unreliable.tolist()
    assert f"{found.unreliable.sum()} of them unreliable" in lines[-1]


@pytest.mark.parametrize("method", ["importance", "quadrature", "ais"])
def test_every_method_of_the_torch_level_prints_shortly_too(
    method: str, named: VariationalAutoencoder
) -> None:
    x = named.schema_.to_model(frame(8), noise="hash")
    found = evaluate.log_likelihood(named.model_, x, method, None if method == "quadrature" else 4)
    assert isinstance(found.value, torch.Tensor)
    assert short(str(found))
    assert short(repr(found))
    assert str(found) == str(found.numpy())


def test_history_prints_as_a_short_table_with_its_best_record() -> None:
    model = small(max_steps=400, network="mlp").fit(rows(300))
    history = model.history_
    assert len(history) > 15
    assert short(str(history))
    assert len(repr(history)) < 200
    best = [line for line in str(history).splitlines() if line.endswith("best")]
    assert [line.split()[0] for line in best] == [f"{history.best_step:,}"]
    assert short(repr(history.records[3]))


def test_a_history_of_nothing_prints() -> None:
    from nelbo import History

    assert short(str(History()))


@pytest.mark.parametrize(
    "data",
    [
        rows(80, 90),
        rows(80, 3),
        np.random.default_rng(0).integers(0, 256, (40, 6, 6), dtype=np.uint8),
    ],
)
def test_schema_prints_shortly_whatever_the_data(data: np.ndarray) -> None:
    schema = small(max_steps=1).fit(data).schema_
    assert short(str(schema))
    assert len(repr(schema)) < 200


def test_schema_prints_names_centres_and_scales(named: VariationalAutoencoder) -> None:
    lines = str(named.schema_).splitlines()[1:]
    assert [line.split()[0] for line in lines] == ["column", "age", "height", "depth", "weight"]
    assert float(lines[1].split()[1]) == pytest.approx(float(named.schema_.shift[0]), rel=1e-4)


def test_no_other_public_result_prints_pages_of_numbers(named: VariationalAutoencoder) -> None:
    model, x = named.model_, named.schema_.to_model(frame(), noise="hash")
    found = [
        model.terms(x, samples=2),
        named.spec_,
        evaluate.bidirectional(model, 8, chains=2, temperatures=4),
        diagnose.active_units(model, x),
        diagnose.calibration(model, x),
        diagnose.collapse(model, x),
        diagnose.inference_gap(model, x[:4]),
        diagnose.memorisation(model, x[:20], x[20:]),
        diagnose.mutual_information(model, x),
        diagnose.rate_distortion(model, x),
    ]
    assert [result for result in found if not short(repr(result))] == []


# -- numpy and frames
# --------------------------------------------------------------------------------


def test_log_likelihood_holds_numpy_arrays(named: VariationalAutoencoder) -> None:
    found = named.log_likelihood(frame(), "importance", 30)
    low, high = found.interval(0.9)
    for values in (
        found.value,
        found.standard_error,
        found.ess,
        found.khat,
        found.samples,
        found.unreliable,
        low,
    ):
        assert isinstance(values, np.ndarray)
        assert values.shape == (120,)
    assert (low <= found.value).all()
    assert (found.value <= high).all()
    assert found.mean == pytest.approx(found.value.mean())
    assert found.mean_standard_error == pytest.approx(found.value.std(ddof=1) / 120**0.5)


def test_log_likelihood_agrees_with_the_torch_level(named: VariationalAutoencoder) -> None:
    x = named.schema_.to_model(frame(), noise="hash", dtype=torch.float64)
    wanted = evaluate.log_likelihood(named.model_, x, "importance", 30)
    found = named.log_likelihood(frame(), "importance", 30)
    np.testing.assert_allclose(found.value, wanted.value.numpy() - named.schema_.log_scale_sum)
    assert (found.unreliable == wanted.unreliable.numpy()).all()


def test_transform_returns_the_posterior_standard_deviation_on_request(
    named: VariationalAutoencoder,
) -> None:
    z, s = named.transform(frame(), return_std=True)
    q = named.model_.double().encode(
        named.schema_.to_model(frame(), noise="centre", dtype=torch.float64)
    )
    named.model_.float()
    np.testing.assert_allclose(z, q.mean.detach().numpy())
    np.testing.assert_allclose(s, q.stddev.detach().numpy())
    np.testing.assert_array_equal(z, named.transform(frame()))


def test_by_default_arrays_come_back(named: VariationalAutoencoder) -> None:
    z, s = named.transform(frame(), return_std=True)
    found = [
        z,
        s,
        named.reconstruct(frame()),
        named.inverse_transform(z),
        named.sample(3, random_state=0),
    ]
    assert [type(values) for values in found] == [np.ndarray] * 5


@pytest.mark.parametrize("everywhere", [False, True])
def test_frames_come_back_where_scikit_learn_is_told_so(everywhere: bool) -> None:
    model = small().fit(frame())
    arrays = model.reconstruct(frame(), noise=True, random_state=1), model.sample(5, random_state=2)
    with sklearn.config_context(transform_output="pandas" if everywhere else "default"):
        if not everywhere:
            model.set_output(transform="pandas")
        z, s = model.transform(frame(), return_std=True)
        again = model.inverse_transform(z.iloc[3:7])
        rebuilt = model.reconstruct(frame(), noise=True, random_state=1)
        drawn = model.sample(5, random_state=2)
    for values in (z, s):
        assert list(values.columns) == list(model.get_feature_names_out())
        assert list(values.index) == list(frame().index)
    for values in (again, rebuilt, drawn):
        assert list(values.columns) == list(frame().columns)
    assert list(again.index) == [30, 40, 50, 60]
    assert list(rebuilt.index) == list(frame().index)
    assert list(drawn.index) == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(rebuilt.to_numpy(), arrays[0])
    np.testing.assert_array_equal(drawn.to_numpy(), arrays[1])


def test_frames_of_a_model_fitted_without_names_have_scikit_learns_own() -> None:
    model = small().fit(rows(60)).set_output(transform="pandas")
    assert list(model.sample(2).columns) == ["x0", "x1", "x2", "x3"]


def test_images_stay_arrays_where_frames_are_asked_for() -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 4, 4), dtype=np.uint8)
    model = small(max_steps=2).fit(images).set_output(transform="pandas")
    assert isinstance(model.transform(images), pd.DataFrame)
    assert model.reconstruct(images).shape == (40, 4, 4)


# -- advice
# ------------------------------------------------------------------------------------------


def all_cures() -> list[cures.Cure]:
    """Every cure that a verdict can name."""
    return [cure for cures_of_one in remedies().values() for cure in cures_of_one]


def test_every_option_that_a_cure_names_exists_in_python_and_on_the_shell() -> None:
    named = {(name, value) for cure in all_cures() for name, value in cure.options.items()}
    assert len(named) > 15
    known = set(VariationalAutoencoder().get_params()) & {
        field.name for field in dataclasses.fields(FitOptions)
    }
    assert {name for name, value in named if (name, value) != ("noise", False)} <= known


@pytest.mark.parametrize(
    ("name", "value"),
    sorted(
        {
            (name, value)
            for cure in all_cures()
            for name, value in cure.options.items()
            if value is not None and name != "noise"
        },
        key=str,
    ),
)
def test_every_value_that_a_cure_names_can_be_fitted(name: str, value: Any) -> None:
    X = rows(30)
    if value == "discretized_gaussian":  # told to those whose data are whole numbers alone
        X = np.clip(100 + 30 * X, 0, 255).astype(np.uint8)
    small(max_steps=1, **{name: value}).fit(X)


@pytest.mark.slow
def test_every_finding_that_may_be_bad_has_a_cure(named: VariationalAutoencoder) -> None:
    """Models made sick in many ways: whatever is found, the advice is one that can be followed."""
    x, train = (
        named.schema_.to_model(frame(), noise="hash"),
        named.schema_.to_model(rows(60, seed=5), noise="hash"),
    )
    for network in ("mlp", "residual", "linear"):
        for variance in ("learned", "per_feature", "heteroscedastic", 1e-3, 40.0):
            model = small(network=network, variance=variance, max_steps=3).fit(frame())
            found = diagnose.diagnose(model.model_, x[:40], train, rows=40)
            for finding in found.findings:
                assert bool(finding.advice) == (finding.verdict in ("warning", "problem")), finding
                assert f'="{network}"' not in finding.advice
                assert f'variance="{variance}"' not in finding.advice


def test_nothing_in_use_is_advised_by_the_model_alone() -> None:
    def vae(head: likelihood.Likelihood, network: Any) -> VAE:
        q = posterior.DiagonalNormal(2)
        return VAE(
            prior.StandardNormal(2),
            network((2,), head.in_shape),
            head,
            network((4,), q.in_shape),
            q,
        )

    residual = vae(likelihood.Gaussian((4,), variance="learned"), networks.Residual)
    dense = vae(likelihood.Gaussian((4,), variance=0.1), networks.MLP)
    told = [
        cures.advise(remedies()["weak encoder"], cures.used_by(model))
        for model in (residual, dense)
    ]
    assert ["residual" in text for text in told] == [False, True]
    told = [
        cures.advise(remedies()["prior mismatch"], cures.used_by(model))
        for model in (residual, dense)
    ]
    assert ['variance="learned"' in text for text in told] == [False, True]
    assert "learned prior" not in "".join(told)


@pytest.mark.parametrize(("noise", "objective"), [(0.0, "elbo"), (0.4, "elbo"), (0.0, "iwae")])
def test_a_weak_encoder_is_to_see_noise_where_a_fit_has_none(noise: float, objective: str) -> None:
    used = {"input_noise": noise, "objective": objective, "encoder": "residual"}
    told = cures.advise(remedies()["weak encoder"], used)
    assert told.startswith("noise on what the encoder sees") == (noise == 0 and objective == "elbo")


@pytest.mark.parametrize("objective", ["elbo", "iwae", "dreg"])
def test_what_only_the_estimator_knows_to_be_in_use_is_not_advised(objective: str) -> None:
    model = small(network="mlp", objective=objective, max_steps=20, scale="global").fit(rows(200))
    found = model.fitted_.diagnose(rows(60, seed=3) * 4, rows(200))
    told = " ".join(finding.advice for finding in found.findings)
    assert found.advice
    assert ('objective="iwae"' in told) <= (objective == "elbo")
    assert "early_stopping=True" not in told
    assert "richer posterior" not in told


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a table and a RUN whose noise is fixed too small; the process works there."""
    monkeypatch.chdir(tmp_path)
    frame().to_csv("table.csv", index=False)
    small(network="mlp", variance=1e-4, max_steps=3).fit(frame()).save("run")
    return tmp_path


def test_the_shell_is_advised_in_flags(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", "run", "table.csv", "--train", "table.csv"]) == 0
    text = capsys.readouterr().out
    assert main(["diagnose", "run", "table.csv", "--train", "table.csv", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    advice = " ".join(finding["advice"] for finding in found["findings"])
    assert "--variance learned" in found["advice"]
    assert "--variance learned" in " ".join(text.split())
    for option in set(VariationalAutoencoder().get_params()):
        assert not re.search(rf"{option}=", text + advice)
    flags = {flag.strip(",)") for flag in re.findall(r"--[a-z-]+", advice)}
    known = {f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(FitOptions)}
    assert flags <= known | {"--no-noise", "--no-early-stopping"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--latent-dim 0", "--latent-dim must be at least 1"),
        ("--validation-fraction 2", "--validation-fraction must be in [0, 1)"),
        ("--variance -1", "--variance is beta^2"),
        (
            "--hidden 0,4",
            "--hidden must be a sequence of positive integers such as 512,512, got 0,4",
        ),
        ("--likelihood bernoulli", "or use --likelihood gaussian"),
        ("--learning-rate -1", "--learning-rate must be a positive number"),
        ("--init ppca --network mlp", "--init ppca needs networks with a linear path"),
        ("--variance 1e-40", "or --variance learned"),
        ("--scale nothing", "--scale must be"),
    ],
)
def test_a_refusal_names_flags_on_the_shell(
    arguments: str, said: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(
            [
                "fit",
                "table.csv",
                "--out",
                "never",
                "--quiet",
                "--max-steps",
                "1",
                *arguments.split(),
            ]
        )
        == 2
    )
    assert said in capsys.readouterr().err


def test_words_that_are_no_options_are_left_alone() -> None:
    from nelbo.cli.flags import in_flags

    for text in (
        "--config a.toml has the unknown key latent_dims. Did you mean latent_dim?",
        "runs/max_steps.csv is",
    ):
        assert in_flags(text, FitOptions) == text
    assert in_flags("the scale of a hidden network is variance", FitOptions) == (
        "the scale of a hidden network is variance"
    )
    told = in_flags("Use scale=None, early_stopping=False and variance='learned'.", FitOptions)
    assert told == "Use --scale none, --no-early-stopping and --variance learned."


# -- files
# -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table, named pictures, and a RUN of each; the numbers of digits in a RUN called numbers."""
    place = tmp_path_factory.mktemp("face")
    frame().to_csv(place / "table.csv", index=False)
    small().fit(frame()).save(place / "run")
    pictures = np.random.default_rng(0).integers(0, 256, (30, 6, 5), dtype=np.uint8)
    (place / "pictures").mkdir()
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(place / "pictures" / f"cat {i}.png")
    order = sorted(range(30), key=lambda i: f"cat {i}.png")
    small(max_steps=2).fit(pictures[order]).save(place / "imagerun")
    digits = data.load("digits").array
    small(max_steps=2).fit(digits[:200]).save(place / "numbers")
    return place


@pytest.fixture
def there(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    """A command in that folder: its exit code, output and errors."""
    monkeypatch.chdir(folder)

    def command(*arguments: str, stdin: bytes | None = None) -> tuple[int, str, str]:
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = main(without_pages(arguments))
        out, err = capsys.readouterr()
        return code, out, err

    return command


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_scores_in_a_file_stand_beside_their_rows_and_errors(
    suffix: str, there: Callable[..., Any], folder: Path
) -> None:
    assert there("score", "run", "table.csv", "--out", f"s.{suffix}")[0] == 0
    found = pd.read_csv("s.csv") if suffix == "csv" else pd.read_parquet("s.parquet")
    assert list(found.columns) == ["row", "log_p", "standard_error", "unreliable", "trained_on"]
    wanted = VariationalAutoencoder.load("run").log_likelihood(
        pd.read_csv("table.csv"), "importance", 200
    )
    np.testing.assert_allclose(found["log_p"], wanted.value)
    np.testing.assert_allclose(found["standard_error"], wanted.standard_error)
    assert list(found["row"]) == list(range(120))
    assert list(found["unreliable"]) == wanted.unreliable.astype(int).tolist()


@pytest.mark.parametrize("command", ["score", "evaluate", "encode", "reconstruct"])
def test_results_of_pictures_name_their_files(
    command: str, there: Callable[..., Any], folder: Path
) -> None:
    code, _, err = there(command, "imagerun", "pictures", "--out", f"{command}.csv")
    assert code == 0, err
    found = pd.read_csv(f"{command}.csv")
    names = sorted(path.name for path in (folder / "pictures").iterdir())
    assert list(found["file"]) == names
    if command in ("score", "evaluate"):
        assert list(found.columns[:3]) == ["row", "file", "log_p"]


def test_reconstructions_of_pictures_keep_their_names(
    there: Callable[..., Any], folder: Path
) -> None:
    assert there("reconstruct", "imagerun", "pictures", "--out", "rebuilt")[0] == 0
    visible = sorted(path.name for path in (folder / "rebuilt").glob("*.png"))
    assert visible == sorted(path.name for path in (folder / "pictures").iterdir())
    source = data.load("pictures")
    expected = data.to_uint8(VariationalAutoencoder.load("imagerun").reconstruct(source.array))
    assert np.array_equal(data.load("rebuilt").array, expected)
    assert data.load("rebuilt").files == source.files
    assert there("reconstruct", "imagerun", "pictures", "--out", "rebuilt", "--overwrite")[0] == 0


def test_a_folder_with_pictures_of_other_people_is_never_replaced(
    there: Callable[..., Any], folder: Path
) -> None:
    code, _, err = there("reconstruct", "imagerun", "pictures", "--out", "pictures", "--overwrite")
    assert (code, len(list((folder / "pictures").iterdir()))) == (2, 30)
    assert "other files" in err
    assert there("reconstruct", "imagerun", "pictures", "--out", "mixed")[0] == 0
    (folder / "mixed" / "mine.png").write_bytes(b"")
    assert there("reconstruct", "imagerun", "pictures", "--out", "mixed", "--overwrite")[0] == 2


def test_pictures_whose_names_differ_in_the_suffix_alone_do_not_overwrite_each_other(
    there: Callable[..., Any], folder: Path
) -> None:
    (folder / "twice").mkdir()
    for name in ("a.png", "a.bmp", "b.bmp"):
        Image.fromarray(np.zeros((6, 5), dtype=np.uint8)).save(folder / "twice" / name)
    assert there("reconstruct", "imagerun", "twice", "--out", "once")[0] == 0
    assert sorted(path.name for path in (folder / "once").glob("*.png")) == [
        "a.bmp.png",
        "a.png.png",
        "b.png",
    ]


@pytest.mark.parametrize(
    "command", [("reconstruct", "numbers", "digits"), ("sample", "numbers", "-n", "3")]
)
def test_pictures_of_numbers_are_written_and_their_range_is_said(
    command: tuple[str, ...], there: Callable[..., Any], folder: Path
) -> None:
    code, _, err = there(*command, "--out", f"{command[0]}-pngs")
    assert code == 0
    assert "--range LOW,HIGH sets others" in err
    if command[0] == "reconstruct":
        assert "0 as black and 16 as white" in err
    written = data.load(f"{command[0]}-pngs").array
    assert written.shape[1:] == (8, 8)
    assert np.ptp(written) > 50


@pytest.mark.parametrize("kind", ["csv", "npy", "parquet"])
def test_data_may_come_from_standard_input(
    kind: str, there: Callable[..., Any], folder: Path
) -> None:
    table = pd.read_csv("table.csv")
    packed = io.BytesIO()
    if kind == "csv":
        packed.write((folder / "table.csv").read_bytes())
    elif kind == "npy":
        np.save(packed, table.to_numpy())
    else:
        table.to_parquet(packed)
    code, out, _ = there("score", "run", "-", "--samples", "20", stdin=packed.getvalue())
    assert code == 0
    assert out == there("score", "run", "table.csv", "--samples", "20")[1]


def test_a_model_is_fitted_to_standard_input(there: Callable[..., Any], folder: Path) -> None:
    options = ("--max-steps", "2", "--hidden", "8", "--json", "--quiet")
    code, out, _ = there(
        "fit", "-", "--out", "piped", *options, stdin=(folder / "table.csv").read_bytes()
    )
    assert code == 0
    assert json.loads(out)["training_rows"] == 108


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "standard input is empty"),
        (b"a,b\n1,x\n", "standard input: column 'b'"),
        (b"\x93NUMPY", "standard input"),
    ],
)
def test_what_is_wrong_with_standard_input_is_said_of_standard_input(
    text: bytes, said: str, there: Callable[..., Any]
) -> None:
    code, out, err = there("score", "run", "-", stdin=text)
    assert (code, out) == (2, "")
    assert said in err
    assert "/tmp" not in err


def test_a_quiet_fit_prints_nothing(there: Callable[..., Any], folder: Path) -> None:
    fit = ("fit", "table.csv", "--max-steps", "1", "--hidden", "8", "--quiet")
    assert there(*fit, "--out", "quiet") == (0, "", "")
    assert (folder / "quiet" / "results.json").exists()
    code, out, err = there(*fit, "--out", "quiet2", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["latent_dim"] == 8


@pytest.mark.parametrize("share", ["0.2", "0.1", "0"])
def test_two_ways_to_say_which_rows_are_held_out_are_refused(
    share: str, there: Callable[..., Any]
) -> None:
    code, _, err = there(
        "fit", "table.csv", "--test", "table.csv", "--held-out", share, "--out", "never"
    )
    assert code == 2
    assert "--held-out" in err
    assert "--test" in err


def test_the_share_held_out_is_written_to_the_run_and_repeats_it(
    there: Callable[..., Any], folder: Path
) -> None:
    fit = ("--max-steps", "1", "--hidden", "8", "--quiet", "--json")
    first = json.loads(there("fit", "table.csv", "--out", "once0", *fit)[1])
    assert "\nheld_out = 0.1\n" in (folder / "once0" / "run.toml").read_text()
    again = json.loads(
        there("fit", "--config", "once0/run.toml", "--out", "twice0", "--quiet", "--json")[1]
    )
    assert again["density"]["mean"] == first["density"]["mean"]
    assert there("fit", "table.csv", "--test", "table.csv", "--out", "tested0", *fit)[0] == 0
    assert there("fit", "--config", "tested0/run.toml", "--out", "tested1", "--quiet")[0] == 0


# -- help
# --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_describes_every_option_in_whole_paragraphs(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A description that was broken
    where its source is broken left half-empty lines inside paragraphs.
    """
    monkeypatch.setenv("COLUMNS", "400")
    assert main([command, "--help"]) == 0
    entries = [
        line
        for line in capsys.readouterr().out.splitlines()
        if re.match(r"│\s+(\*\s+)?([A-Z]+ )?-", line)
    ]
    assert entries
    for line in entries:
        described = re.sub(r"^│[ *]*", "", line).rstrip("│ ")
        assert re.search(r"  \S.*[.\])]$", described), line


# -- JSON
# --------------------------------------------------------------------------------------------


def keys(found: Any) -> set[str]:
    """Every key of a JSON value but those that name what the user named."""
    if isinstance(found, list):
        return {key for part in found for key in keys(part)}
    if not isinstance(found, dict):
        return set()
    return set(found) | {
        key for name, part in found.items() if name != "recipe" for key in keys(part)
    }


def test_every_key_of_every_json_is_documented(there: Callable[..., Any], folder: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "shell.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`(\w+)`", page.split("## JSON")[1]))
    commands = [
        ("fit", "table.csv", "--out", "documented", "--max-steps", "2", "--hidden", "8", "--quiet"),
        (
            "evaluate",
            "run",
            "table.csv",
            "--simulated",
            "1",
            "--method",
            "importance",
            "--temperatures",
            "2",
        ),
        ("diagnose", "run", "table.csv"),
    ]
    for command in commands:
        code, out, _ = there(*command, "--json")
        assert code == 0
        assert keys(json.loads(out)) - documented == set()


# -- counting
# ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a,b\n1,2\n3,\n5,6\n", "line 3, column 'b', 1 NaN or inf in all. "),
        (b"# made by hand\na,b\n\n1,2\n\n,4\n5,6\n", "line 6, column 'a'"),
        (b"1.5,2\n3,\n5,6\n", "line 2, column 1, 1 NaN or inf in all (columns counting from 0)"),
        (b"a,b\n1,2\n3,x\n5,6\n", "line 3 has 'x'"),
        (b"a,b\n1,2\n3,inf\n5,6\n", "line 3, column 'b'"),
    ],
)
@pytest.mark.parametrize("piped", [False, True])
def test_a_bad_cell_of_a_text_file_is_named_by_its_line(
    text: bytes, said: str, piped: bool, there: Callable[..., Any], folder: Path
) -> None:
    (folder / "bad.csv").write_bytes(text)
    data = "-" if piped else "bad.csv"
    code, _, err = there("fit", data, "--out", "never", "--missing-values", "refuse", stdin=text)
    assert code == 2
    assert said in err
    assert "row " not in err
    assert ("standard input" in err) == piped


def test_a_bad_cell_of_an_array_is_named_by_its_row_from_0(
    there: Callable[..., Any], folder: Path
) -> None:
    array = rows(20)
    array[3, 2] = np.nan
    np.save(folder / "bad.npy", array)
    code, _, err = there("fit", "bad.npy", "--out", "never", "--missing-values", "refuse")
    assert code == 2
    assert "row 3, column 2, 1 NaN or inf in all (counting from 0)" in err
