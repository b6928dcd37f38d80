"""The command line from outside: what it prints, writes and refuses, and the code it ends with."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import in_process, without_pages
from nelbo import Fitted, VariationalAutoencoder, data, spec
from nelbo.cli import config
from nelbo.cli.options import FitOptions
from nelbo.cli.reading import ReadOptions

SOURCE = Path(__file__).parent.parent / "src"
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONPATH": str(SOURCE),
}
SMALL = ["--latent-dim", "2", "--hidden", "8", "--batch-size", "32"]

Run = subprocess.CompletedProcess[str]


def start(*arguments: str, cwd: Path, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "nelbo", *arguments],
        cwd=cwd,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        **options,
    )


def nelbo(*arguments: str, cwd: Path) -> Run:
    """A command in a process of its own."""
    process = start(*arguments, cwd=cwd)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, place: Path) -> Callable[..., Run]:
    """A command in this process, in the folder of the data: quick, as nothing is imported again."""
    monkeypatch.chdir(place)

    def run(*arguments: str, pages: bool = False) -> Run:
        asked = arguments if pages else without_pages(arguments)
        return subprocess.CompletedProcess(arguments, *in_process(asked))

    return run


def complaint(result: Run) -> str:
    """The one line that a wrong use ends with."""
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("nelbo: ")
    return line


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data:
    a table with names, one with a hole, images of 8 bits, and what is no data.
    """
    folder = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(0)
    rows = (
        rng.normal(size=(150, 2)) @ rng.normal(size=(2, 4))
        + 0.1 * rng.normal(size=(150, 4))
        + [0, 10, -3, 100]
    )
    header = "age,height,depth,weight"
    np.savetxt(folder / "table.csv", rows, delimiter=",", header=header, comments="")
    turned = ",".join(header.split(",")[::-1])
    np.savetxt(folder / "swapped.csv", rows[:, ::-1], delimiter=",", header=turned, comments="")
    lines = (folder / "swapped.csv").read_text().splitlines()
    (folder / "lacking.csv").write_text("\n".join(line.partition(",")[2] for line in lines))
    rows[3, 2] = np.nan
    np.savetxt(folder / "hole.csv", rows, delimiter=",", header=header, comments="")
    np.save(folder / "wide.npy", rng.normal(size=(10, 7)))
    np.save(folder / "images.npy", rng.integers(0, 256, size=(60, 4, 5), dtype=np.uint8))
    (folder / "empty.csv").write_text("")
    (folder / "text.csv").write_text("a,b\n" + "1,2\n" * 20 + "3,blue\n")
    (folder / "pictures").mkdir()
    (folder / "pictures" / "broken.png").write_bytes(b"\x89PNG not")
    return folder


@pytest.fixture(scope="module")
def fitted(place: Path) -> dict[str, Any]:
    """What `nelbo fit table.csv --json` prints; RUN is place/run."""
    result = nelbo(
        "fit",
        "table.csv",
        "--out",
        "run",
        "--max-steps",
        "40",
        "--network",
        "mlp",
        "--json",
        *SMALL,
        cwd=place,
    )
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found | {"stderr": result.stderr}


@pytest.fixture(scope="module")
def images(place: Path, fitted: dict[str, Any]) -> Path:
    """A RUN fitted to 8-bit images."""
    rows = data.load(place / "images.npy").array
    model = VariationalAutoencoder(2, hidden=(8,), max_steps=10, random_state=0).fit(rows)
    model.save(place / "imagerun")
    return place / "imagerun"


# -- help
# --------------------------------------------------------------------------------------------


def test_help_imports_nothing_heavy_and_is_quick(tmp_path: Path) -> None:
    code = (
        "import sys, time; begun = time.process_time()\n"
        "from nelbo.cli import main\n"
        "assert main(['--help']) == 0\n"
        "seconds = time.process_time() - begun\n"
        "heavy = {'torch', 'sklearn', 'numpy', 'pandas', 'matplotlib', 'scipy'} & "
        "set(sys.modules)\n"
        "print(f'\\n{seconds} {sorted(heavy)}')"
    )

    def once() -> tuple[float, str]:
        result = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "reconstruct" in result.stdout
        seconds, _, heavy = result.stdout.splitlines()[-1].partition(" ")
        return float(seconds), heavy

    for _ in range(3):  # the machine may be busy with something else, once or twice
        seconds, heavy = once()
        assert heavy == "[]"
        if seconds < 0.3:
            return
    pytest.fail(f"nelbo --help took {seconds:.2f} s, three times over")


def test_version(here: Callable[..., Run]) -> None:
    assert here("--version").stdout == "nelbo 0.1.0\n"


def test_help_of_fit_names_every_choice(here: Callable[..., Run]) -> None:
    words = re.findall(r"\w+", here("fit", "--help").stdout)
    names = {
        name
        for kind in ("network", "likelihood", "objective", "prior", "posterior")
        for name in spec.choices(kind)
    }
    assert names <= set(words)


def test_every_option_of_the_command_line_has_the_default_of_python() -> None:
    made, plain = FitOptions().estimator().get_params(), VariationalAutoencoder().get_params()
    differing = {name for name in plain if made[name] != plain[name]}
    assert differing == {"random_state", "score_samples_k"}


# -- fit
# ---------------------------------------------------------------------------------------------


def test_fit_prints_one_json_object_of_finite_numbers_and_files(
    fitted: dict[str, Any], place: Path
) -> None:
    assert {"density", "baseline", "noise", "active_units", "epochs", "seconds", "warnings"} <= set(
        fitted
    )
    assert (fitted["training_rows"], fitted["density"]["rows"], fitted["latent_dim"]) == (
        135,
        15,
        2,
    )
    names = {Path(path).name for path in fitted["files"]}
    wanted = {
        "config.json",
        "model.safetensors",
        "manifest.json",
        "metrics.jsonl",
        "README.md",
        "run.toml",
        "picture.png",
        "report.html",
        "report.json",
    }
    assert wanted <= names
    assert all((place / path).is_file() for path in fitted["files"])
    assert json.loads((place / "run" / "results.json").read_text()) == {
        k: v for k, v in fitted.items() if k != "stderr"
    }
    assert "100%" in fitted["stderr"]
    assert not (place / "run.partial").exists()


def test_the_manifest_lists_the_options_of_the_run(fitted: dict[str, Any], place: Path) -> None:
    assert "run.toml" in json.loads((place / "run" / "manifest.json").read_text())["files"]


def test_the_held_out_number_is_that_of_the_saved_model_on_rows_it_never_saw(
    fitted: dict[str, Any], place: Path
) -> None:
    rows = data.load(place / "table.csv").array
    order = np.random.default_rng([0, 2]).permutation(150)
    held_out = rows[np.sort(order[:15])]
    model = Fitted.load(place / "run")
    assert model.schema.shift == pytest.approx(np.delete(rows, order[:15], axis=0).mean(0))
    score = model.score_samples(held_out, 200).mean()
    assert fitted["density"]["mean"] == pytest.approx(score, rel=1e-12)


def test_the_options_written_beside_the_model_repeat_it(
    fitted: dict[str, Any], here: Callable[..., Run], place: Path
) -> None:
    result = here("fit", "--config", "run/run.toml", "--out", "again", "--quiet", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    again = json.loads(result.stdout)["density"]
    assert {**again, "seconds": 0} == {**fitted["density"], "seconds": 0}
    assert (place / "again/model.safetensors").read_bytes() == (
        place / "run/model.safetensors"
    ).read_bytes()


def test_the_text_of_fit_says_all_there_is_to_say(here: Callable[..., Run]) -> None:
    result = here(
        *("fit", "images.npy", "--out", "text", "--max-steps", "3", "--variance", "0.25", *SMALL),
        pages=True,
    )
    assert result.returncode == 0
    for part in (
        "held-out log p(x)",
        "±",
        "exact pPCA, latent size 2",
        "bits/dim",
        "0.5 (fixed)",
        "Active units",
    ):
        assert part in result.stdout
    assert str(Path("text", "picture.png")) in result.stdout
    assert result.stdout.endswith(
        "Open text/report.html in a browser; nelbo explore text writes a second page.\n"
    )


def test_a_test_set_of_its_own_is_measured_and_all_rows_are_trained_on(
    here: Callable[..., Run],
) -> None:
    arguments = (
        "fit",
        "table.csv",
        "--test",
        "table.csv",
        "--out",
        "tested",
        "--max-steps",
        "2",
        "--json",
        *SMALL,
    )
    found = json.loads(here(*arguments).stdout)
    assert (found["training_rows"], found["density"]["rows"]) == (150, 150)


def test_without_matplotlib_the_model_is_saved_and_the_cure_is_said(
    here: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    fit = ("fit", "table.csv", "--out", "bare", "--max-steps", "2", "--json", *SMALL)
    result = here(*fit, pages=True)
    assert result.returncode == 0
    assert 'pip install "nelbo[report]"' in result.stderr
    assert 'pip install "nelbo[report]"' in json.loads(result.stdout)["warnings"][-1]
    assert not (place / "bare" / "picture.png").exists()
    assert not (place / "bare" / "report.html").exists()
    VariationalAutoencoder.load(place / "bare")


def test_a_run_that_exists_is_replaced_only_with_overwrite(
    fitted: dict[str, Any], here: Callable[..., Run], place: Path
) -> None:
    first = ("fit", "table.csv", "--out", "twice", "--max-steps", "1", *SMALL)
    assert here(*first).returncode == 0
    (place / "twice" / "notes.txt").write_text("mine")
    assert "exists" in complaint(here(*first))
    assert here(*first, "--seed", "1", "--overwrite").returncode == 0
    assert tomllib.loads((place / "twice" / "run.toml").read_text())["seed"] == 1
    assert (place / "twice" / "notes.txt").read_text() == "mine"


# -- interruption
# ------------------------------------------------------------------------------------


def interrupted(number: int, *arguments: str, cwd: Path) -> Run:
    """Start a fit, wait until it trains, and send it a signal."""
    process = start(*arguments, cwd=cwd)
    assert process.stderr is not None
    seen = ""
    while "%" not in seen:
        seen += process.stderr.read(1)
    time.sleep(0.1)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(arguments, process.returncode, out, seen + err)


def test_a_fit_that_is_interrupted_twice_and_resumed_is_the_fit_that_was_not(
    here: Callable[..., Run], place: Path
) -> None:
    options = (
        "fit",
        "table.csv",
        "--max-steps",
        "1500",
        "--no-early-stopping",
        "--held-out",
        "0",
        *SMALL,
    )
    assert here(*options, "--out", "whole").returncode == 0

    stopped = interrupted(signal.SIGINT, *options, "--out", "halves", cwd=place)
    assert stopped.returncode == 130
    assert stopped.stdout == ""
    assert "halves.partial" in stopped.stderr.splitlines()[-1]
    assert "--resume" in stopped.stderr.splitlines()[-1]
    assert "Traceback" not in stopped.stderr
    assert not (place / "halves").exists()

    terminated = interrupted(signal.SIGTERM, *options, "--out", "halves", "--resume", cwd=place)
    assert terminated.returncode == 143, terminated.stderr
    assert "Terminated" in terminated.stderr.splitlines()[-1]
    at = json.loads((place / "halves.partial" / "config.json").read_text())["state"]["step"]
    assert 0 < at < 1500

    resumed = here(*options, "--out", "halves", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert not (place / "halves.partial").exists()
    for name in ("model.safetensors", "run.toml"):
        assert (place / "halves" / name).read_bytes() == (place / "whole" / name).read_bytes()
    assert _history(place / "halves") == _history(place / "whole")


def _history(run: Path) -> list[dict[str, Any]]:
    """The records of a run without its clock."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k not in ("seconds", "rate")} for record in records]


def test_an_interrupted_fit_is_neither_lost_nor_mixed_with_another(
    here: Callable[..., Run], place: Path
) -> None:
    from nelbo.checkpoint import Folder

    Folder(place / "lost.partial", "another run").save({"step": 1}, {})
    arguments = ("fit", "table.csv", "--out", "lost", "--max-steps", "1", *SMALL)
    assert "--resume" in complaint(here(*arguments))
    result = here(*arguments, "--resume", "--quiet")
    assert "other data or options" in complaint(result)
    assert here(*arguments, "--overwrite").returncode == 0
    assert not (place / "lost.partial").exists()


def test_resume_without_anything_to_resume_starts_at_the_beginning(
    here: Callable[..., Run],
) -> None:
    assert (
        here(
            "fit", "table.csv", "--out", "fresh", "--resume", "--max-steps", "1", *SMALL
        ).returncode
        == 0
    )


# -- options from a file
# -----------------------------------------------------------------------------


def test_the_command_line_wins_over_the_file_which_wins_over_the_default(
    here: Callable[..., Run], place: Path
) -> None:
    text = (
        'data = "table.csv"\nlatent-dim = 3\nmax_steps = 2\nhidden = [8, '
        "4]\nearly-stopping = false\nvariance = 0.5\n"
    )
    (place / "a.toml").write_text(text)
    result = here("fit", "--config", "a.toml", "--out", "toml", "--latent-dim", "1", "--quiet")
    assert result.returncode == 0, result.stderr
    written = tomllib.loads((place / "toml" / "run.toml").read_text())
    assert written["latent_dim"] == 1
    assert (written["max_steps"], written["hidden"], written["variance"]) == (2, "8,4", "0.5")
    assert written["early_stopping"] is False
    assert (written["seed"], written["activation"]) == (0, "silu")
    assert "batch_size" not in written
    model = VariationalAutoencoder.load(place / "toml")
    assert (model.latent_dim, model.hidden, model.variance, model.early_stopping) == (
        1,
        (8, 4),
        0.5,
        False,
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("latent_dims = 3", "Did you mean latent_dim?"),
        ("[fit]\nlatent_dim = 3", "table [fit]"),
        ("[likelihood-options]\ndf = [3]", "likelihood-options.df must be a number"),
        ("[likelihood-options]\ndof = 3", "likelihood 'gaussian' has no option 'dof'"),
        ("[prior-options]\ncomponents = 3", "are for a prior by name"),
        ("latent_dim = ", "not valid TOML"),
        ("latent-dim = 3\nlatent_dim = 4", "twice"),
        ('max_steps = "many"', "[max_steps] from wrong.toml"),
        ("config = 'b.toml'", "unknown key config"),
    ],
)
def test_a_file_of_options_that_is_wrong_is_refused(
    text: str, said: str, here: Callable[..., Run], place: Path
) -> None:
    (place / "wrong.toml").write_text(text)
    assert said in complaint(here("fit", "table.csv", "--out", "never", "--config", "wrong.toml"))


def test_options_of_a_part_have_a_table_of_their_own(here: Callable[..., Run], place: Path) -> None:
    text = (
        "likelihood = 'student_t'\nprior = 'mixture'\nmax-steps = 2\nhidden = [4]\n"
        "objective = 'free_bits'\nobjective_options = {free = 0.5}\nposterior-options = {}\n"
        "[likelihood-options]\ndf = 'per_feature'\n"
        "[prior-options]\ncomponents = 3\nlearned = true\n"
    )
    (place / "parts.toml").write_text(text)
    result = here("fit", "table.csv", "--config", "parts.toml", "--out", "parts", "--quiet")
    assert result.returncode == 0, result.stderr
    model = VariationalAutoencoder.load(place / "parts")
    assert model.spec_.likelihood_options == {"df": "per_feature"}
    assert model.spec_.prior_options == {"components": 3, "learned": True}
    assert (model.objective_options, model.posterior_options) == ({"free": 0.5}, None)
    again = ("fit", "--config", "parts/run.toml", "--out", "parts_again", "--json", "--quiet")
    assert here(*again).returncode == 0
    assert VariationalAutoencoder.load(place / "parts_again").spec_ == model.spec_


def test_options_survive_the_file(tmp_path: Path) -> None:
    options = FitOptions(
        latent_dim=3,
        max_seconds=1.5,
        dequantize=False,
        encoder="mlp",
        hidden="",
        learning_rate=1e-5,
    )
    (tmp_path / "run.toml").write_text(
        config.to_toml('od"d\\näme.csv', options, ReadOptions()), encoding="utf-8"
    )
    found = config.read(str(tmp_path / "run.toml"))
    assert found.pop("data") == 'od"d\\näme.csv'
    assert (
        FitOptions(
            **{name: found[name] for name in found.keys() & dataclasses.asdict(options).keys()}
        )
        == options
    )
    assert {*dataclasses.asdict(FitOptions()), *dataclasses.asdict(ReadOptions())} >= set(found)


def test_columns_of_a_file_are_matched_by_name_and_keep_their_order(
    here: Callable[..., Run], fitted: dict[str, Any], place: Path
) -> None:
    scores = [here("score", "run", name).stdout for name in ("table.csv", "swapped.csv")]
    assert scores[0] == scores[1] != ""
    filled = here("impute", "run", "swapped.csv").stdout.splitlines()
    assert filled[0] == "weight,depth,height,age"
    found = np.loadtxt(filled[1:], delimiter=",")
    rows = np.loadtxt(place / "swapped.csv", delimiter=",", skiprows=1)
    np.testing.assert_allclose(found, rows, rtol=1e-6)


# -- wrong use
# ---------------------------------------------------------------------------------------


def test_wrong_use_ends_a_process_with_2_and_one_line(place: Path) -> None:
    assert "tabel.csv does not exist. Did you mean table.csv" in complaint(
        nelbo("fit", "tabel.csv", "--out", "never", cwd=place)
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("fit hole.csv --out never --missing-values refuse", "line 5, column 'depth'"),
        ("fit empty.csv --out never", "empty"),
        ("fit text.csv --out never", "'blue'"),
        ("fit pictures --out never", "broken.png"),
        ("fit table.csv --out never --latent-dim 0", "--latent-dim must be at least 1"),
        ("fit table.csv --out never --latent-dim two", "--latent-dim"),
        ("fit table.csv --out never --activation cosine", "silu"),
        ("fit table.csv --out never --network mpl", "Did you mean 'mlp'"),
        ("fit table.csv --out never --variance -1", "positive"),
        ("fit table.csv --out never --variance=-1", "positive"),
        ("fit table.csv --out never --hidden a,b", "512,512"),
        ("fit table.csv --out never --held-out 1.5", "[0, 1)"),
        ("fit table.csv --out never --samples 0", "at least 1"),
        ("fit table.csv --out never --device gpu", "cuda"),
        ("fit table.csv --out never --latent-dims 3", "Did you mean --latent-dim?"),
        ("fit table.csv --out never --test wide.npy", "same columns"),
        ("fit table.csv", "--out"),
        ("fit --out never", "DATA"),
        ("fit table.csv --out run", "--overwrite"),
        ("fit table.csv --out table.csv", "table.csv"),
        ("fit table.csv --out table.csv/run", "table.csv"),
        ("fit table.csv --out pictures --overwrite", "not a nelbo folder"),
        ("fit table.csv --out never --config none.toml", "none.toml does not exist"),
        ("score run wide.npy", "7"),
        ("score run lacking.csv", "lacks the column"),
        ("score nothing table.csv", "nothing: no such folder"),
        ("score pictures table.csv", "manifest.json"),
        ("evaluate run table.csv --method exakt", "exact"),
        ("evaluate run table.csv --method exact", "importance"),
        ("evaluate run table.csv --samples 0", "at least 1"),
        ("evaluate run table.csv --tolerance 0", "--tolerance must be a positive number of nats"),
        ("score run table.csv --tolerance nan", "--tolerance must be a positive number of nats"),
        ("evaluate run table.csv --tolerance 1 --method ais", "belongs to --method auto"),
        (f"evaluate nothing table.csv --seed {2**62}", "--seed must be at least 0 and below 2**62"),
        (f"evaluate nothing table.csv --seed {10**30}", f"got {10**30}"),
        (f"diagnose nothing table.csv --seed {2**64}", "--seed must be"),
        (f"reconstruct nothing table.csv --seed {2**64}", "--seed must be"),
        (f"sample nothing --seed {2**64}", "--seed must be"),
        (f"fit table.csv --out never --seed {2**64}", "--seed must be"),
        ("diagnose run table.csv --rows 0", "--rows must be at least 1"),
        ("diagnose run table.csv --rows 10", "at least 20 rows"),
        ("diagnose run table.csv --out d.csv", ".json"),
        ("diagnose run table.csv --out none/d.json", "cannot be written"),
        ("diagnose run table.csv --train wide.npy", "7"),
        ("diagnose run wide.npy", "7"),
        ("encode run table.csv --out z.txt", ".parquet"),
        ("encode run table.csv --out table.csv", "--overwrite"),
        ("encode run table.csv --out table.csv/z.npy", "cannot be written"),
        ("reconstruct run table.csv --out folder", ".csv"),
        ("sample run -n 0", "at least 1"),
        ("sample run --out pictures", "exists"),
        ("sample run --out pictures --overwrite", "other files"),
        ("transmogrify run", "sample, explore, export, doctor. See: nelbo --help"),
        ("score run", "nelbo score needs DATA. See: nelbo score --help"),
        ("detect", "nelbo detect needs DATA, or a RUN and DATA."),
        ("fit table.csv other.csv --out never", "'other.csv' is too much."),
        ("fit table.csv --out", "--out needs a value."),
        ("sample run -n many", '"many" is no whole number.'),
        ("score pictures table.csv", "this is no folder that nelbo wrote"),
    ],
)
def test_wrong_use_is_one_line_with_its_cure(
    arguments: str, said: str, here: Callable[..., Run], fitted: dict[str, Any], place: Path
) -> None:
    before = sorted(place.rglob("*"))
    assert said in complaint(here(*arguments.split()))
    assert sorted(place.rglob("*")) == before


def test_a_defect_says_that_it_is_one(
    here: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    from nelbo.cli import files

    def slip(where: str, *_: object) -> None:
        raise KeyError(where)

    monkeypatch.setattr(files, "read", slip)
    result = here("fit", "table.csv", "--out", "never")
    assert (result.returncode, result.stdout) == (1, "")
    assert "bug; run with NELBO_DEBUG=1" in result.stderr
    monkeypatch.setenv("NELBO_DEBUG", "1")
    with pytest.raises(KeyError):
        here("fit", "table.csv", "--out", "never")


def test_a_call_that_does_not_fit_is_a_defect_and_no_wrong_use(
    here: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    from nelbo.cli import files

    monkeypatch.setattr(files, "read", lambda: None)
    assert here("fit", "table.csv", "--out", "never").returncode == 1


def test_a_full_memory_is_told_with_a_cure(
    here: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    from nelbo.cli import files

    def full(where: str, *_: object) -> None:
        raise RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8e15 "
            "bytes."
        )

    monkeypatch.setattr(files, "read", full)
    assert "--batch-size" in complaint(here("fit", "table.csv", "--out", "never"))


def test_a_reader_that_stops_early_is_no_error(fitted: dict[str, Any], place: Path) -> None:
    command = f'"{sys.executable}" -m nelbo sample run -n 20000 | head -n 2'
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=place,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert len(result.stdout.splitlines()) == 2


# -- a RUN at work
# -----------------------------------------------------------------------------------


@pytest.fixture
def model(fitted: dict[str, Any], place: Path) -> VariationalAutoencoder:
    """The model in place/run, which no longer asks for names of columns."""
    loaded = VariationalAutoencoder.load(place / "run")
    loaded.fitted_ = dataclasses.replace(loaded.fitted_, names=None)
    return loaded


@pytest.fixture
def rows(place: Path) -> np.ndarray:
    return data.load(place / "table.csv").array


def test_score_prints_a_number_for_each_row(
    here: Callable[..., Run], model: VariationalAutoencoder, rows: np.ndarray, place: Path
) -> None:
    model.score_samples_k = 50
    result = here("score", "run", "table.csv", "--samples", "50", "--quiet")
    assert (result.returncode, result.stderr) == (0, "")
    assert np.array_equal(
        [float(line) for line in result.stdout.splitlines()], model.score_samples(rows)
    )
    assert (
        here("score", "run", "table.csv", "--samples", "50", "--out", "deep/down/s.npy").returncode
        == 0
    )
    assert np.array_equal(np.load(place / "deep/down/s.npy"), model.score_samples(rows))


@pytest.mark.parametrize("bound", ["encoder", "refined"])
def test_score_writes_a_bound_where_one_is_asked_for(
    here: Callable[..., Run],
    model: VariationalAutoencoder,
    rows: np.ndarray,
    place: Path,
    bound: str,
) -> None:
    out = f"bounds/{bound}.csv"
    assert here("score", "run", "table.csv", "--bound", bound, "--out", out).returncode == 0
    told = np.genfromtxt(place / out, delimiter=",", names=True)
    np.testing.assert_array_equal(told["elbo"], model.elbo(rows, refined=bound == "refined"))
    result = here("score", "run", "table.csv", "--bound", "best")
    assert "--bound must be encoder or refined, got 'best'" in result.stderr


def test_evaluate_says_how_far_to_trust_it(
    here: Callable[..., Run], model: VariationalAutoencoder, rows: np.ndarray, place: Path
) -> None:
    command = (
        "evaluate",
        "run",
        "table.csv",
        "--method",
        "importance",
        "--samples",
        "50",
        "--rows",
        "all",
    )
    result = here(*command, "--json", "--out", "e.csv")
    found, lines = (
        json.loads(result.stdout),
        (place / "e.csv").read_text(encoding="utf-8").splitlines(),
    )
    assert lines[0] == "row,log_p,standard_error,effective_samples,khat,unreliable,trained_on"
    row, log_p, _, ess, khat, unreliable, trained_on = np.array(
        [line.split(",") for line in lines[1:]], float
    ).T
    assert np.array_equal(row, np.arange(150))
    assert found["mean"] == pytest.approx(log_p.mean(), rel=1e-12)
    assert found["standard_error"] == pytest.approx(log_p.std(ddof=1) / 150**0.5, rel=1e-9)
    assert found["effective_samples"] == pytest.approx(np.median(ess), rel=1e-12)
    assert np.array_equal(unreliable, khat > 0.7)
    assert np.array_equal(trained_on, model.trained_on(rows))
    assert found["unreliable"] == pytest.approx(unreliable.mean())
    text = here(*command).stdout
    assert (
        f"{found['mean']:.2f} ± {found['standard_error']:.2f} nats per row, over 150 rows" in text
    )


def test_a_tolerance_is_kept_by_each_row_and_the_effort_is_told(
    here: Callable[..., Run], fitted: dict[str, Any], place: Path
) -> None:
    asked = ("run", "table.csv", "--samples", "50", "--rows", "all", "--tolerance", "0.2")
    found = json.loads(here("evaluate", *asked, "--json").stdout)
    assert found["rungs"] == {"quadrature": 150}
    assert "rows by effort     150 quadrature" in here("evaluate", *asked).stdout
    result = here("score", *asked, "--out", "s.csv")
    assert (result.returncode, result.stdout) == (0, "")
    assert "two latent dimensions the integral over z can be done on a grid" in result.stderr
    lines = (place / "s.csv").read_text(encoding="utf-8").splitlines()
    table = np.array([line.split(",") for line in lines[1:]], float)
    error = table[:, lines[0].split(",").index("standard_error")]
    assert error.max() <= 0.2


def test_evaluate_of_rows_without_a_density_is_valid_json(
    here: Callable[..., Run], fitted: dict[str, Any], rows: np.ndarray, place: Path
) -> None:
    """A value whose square overflows has log p(x) = -inf, which JSON does not know."""
    far = rows.copy()
    far[3, 1] = 1e200
    np.savetxt(place / "far.csv", far, delimiter=",", header="age,height,depth,weight", comments="")
    command = ("evaluate", "run", "far.csv", "--method", "importance", "--rows", "all")
    result = here(*command, "--samples", "30", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert (found["mean"], found["standard_error"], found["rows"]) == (None, None, 150)
    assert found["unreliable"] >= 1 / 150
    assert "log p(x)           -inf nats per row" in here(*command).stdout


def test_one_simulated_row_has_a_gap_of_unknown_error(
    here: Callable[..., Run], fitted: dict[str, Any]
) -> None:
    command = (
        "evaluate",
        "run",
        "table.csv",
        "--method",
        "importance",
        "--samples",
        "5",
        "--temperatures",
        "3",
    )
    assert " ± unknown nats" in here(*command, "--simulated", "1").stdout
    assert (
        json.loads(here(*command, "--simulated", "1", "--json").stdout)["simulated"]["gap_error"]
        is None
    )
    found = json.loads(here(*command, "--simulated", "2", "--json").stdout)["simulated"]
    assert found["gap_error"] > 0


def test_report_shows_the_rows_of_the_run_and_says_the_verdict(
    here: Callable[..., Run], images: Path, place: Path
) -> None:
    found = json.loads(here("report", "run", "--json", "--quiet").stdout)
    assert found["data"] == "table.csv"  # which RUN knows
    assert [Path(path).name for path in found["files"]] == ["report.html", "report.json"]
    twin = json.loads((place / "run" / "report.json").read_text(encoding="utf-8"))
    assert twin["verdict"] == found["verdict"]
    assert "15 rows held out" in found["verdict"]["sentences"][0]
    pictured = here("report", "imagerun", "images.npy", "--out", "page.html", "--quiet")
    assert pictured.returncode == 0
    assert str(Path("page.html")) in pictured.stdout
    for arguments, told in {
        ("run", "--out", "page.html"): "--out page.html exists",
        ("run", "--out", "page.pdf"): "must end in .html",
        ("imagerun", "--color", "label"): "--color needs rows",
        ("run", "--color", "size"): "size",
        ("run", "absent.csv"): "absent.csv",
    }.items():
        assert told in complaint(here("report", *arguments))


def test_diagnose_prints_a_table_a_cure_and_the_same_as_json(
    here: Callable[..., Run], model: VariationalAutoencoder, rows: np.ndarray, place: Path
) -> None:
    # none of which was trained on
    rows = rows + 0.01 * np.random.default_rng(1).normal(size=rows.shape)
    np.savetxt(
        place / "new.csv", rows, delimiter=",", header="age,height,depth,weight", comments=""
    )
    arguments = (
        "diagnose",
        "run",
        "new.csv",
        "--train",
        "table.csv",
        "--limit",
        "60",
        "--seed",
        "2",
    )
    text = here(*arguments, "--out", "diagnosis.json")
    assert (text.returncode, text.stderr) == (0, "")
    found = json.loads(here(*arguments, "--json").stdout)
    assert json.loads((place / "diagnosis.json").read_text(encoding="utf-8")) == found
    assert (found["rows"], found["of"], found["train_rows"], found["seed"]) == (60, 150, 135, 2)
    assert text.stdout.startswith(
        f"Diagnosis: {found['leading']} (" if found["leading"] else "Healthy"
    )
    (memory,) = [f for f in found["findings"] if f["name"] == "train against unseen"]
    (unseen,) = [v for v in memory["values"] if v["label"] == "log p(x) unseen"]
    model.score_samples_k = 100
    looked_at = model.score_samples(rows)  # in the units of the data, as the table's mean must be
    assert unseen["value"] == pytest.approx(looked_at.mean(), abs=4 * looked_at.std() / 60**0.5)
    assert here(*arguments, "--out", "diagnosis.json", "--overwrite").returncode == 0


@pytest.mark.parametrize("suffix", ["npy", "csv", "parquet"])
def test_encode_writes_what_transform_returns(
    suffix: str,
    here: Callable[..., Run],
    model: VariationalAutoencoder,
    rows: np.ndarray,
    place: Path,
) -> None:
    assert here("encode", "run", "table.csv", "--out", f"z.{suffix}").returncode == 0
    found = data.load(place / f"z.{suffix}")
    assert found.columns == (None if suffix == "npy" else ("z0", "z1"))
    assert np.array_equal(found.array, model.transform(rows))
    assert not list(place.glob(".z.*"))


def test_encode_without_out_prints_csv(
    here: Callable[..., Run], model: VariationalAutoencoder, rows: np.ndarray
) -> None:
    lines = here("encode", "run", "table.csv").stdout.splitlines()
    assert lines[0] == "z0,z1"
    assert np.array_equal(
        [[float(v) for v in line.split(",")] for line in lines[1:]], model.transform(rows)
    )


def test_reconstruct_writes_data_units_under_the_names_of_the_data(
    here: Callable[..., Run], model: VariationalAutoencoder, rows: np.ndarray, place: Path
) -> None:
    assert here("reconstruct", "run", "table.csv", "--out", "r.csv").returncode == 0
    found = data.load(place / "r.csv")
    assert found.columns == ("age", "height", "depth", "weight")
    assert np.array_equal(found.array, model.reconstruct(rows))
    assert (
        here(
            "reconstruct", "run", "table.csv", "--noise", "--seed", "4", "--out", "n.npy"
        ).returncode
        == 0
    )
    assert np.array_equal(
        np.load(place / "n.npy"), model.reconstruct(rows, noise=True, random_state=4)
    )


def test_sample_is_that_of_the_model_and_its_seed(
    here: Callable[..., Run], model: VariationalAutoencoder, place: Path
) -> None:
    for flag, noise in (("--noise", True), ("--no-noise", False)):
        assert (
            here(
                "sample", "run", "-n", "7", "--seed", "3", flag, "--out", "s.npy", "--overwrite"
            ).returncode
            == 0
        )
        assert np.array_equal(
            np.load(place / "s.npy"), model.sample(7, noise=noise, random_state=3)
        )


def test_images_become_pngs_rounded_to_the_nearest_level(
    here: Callable[..., Run], images: Path, place: Path
) -> None:
    pytest.importorskip("PIL")
    rows = data.load(place / "images.npy").array
    assert here("reconstruct", "imagerun", "images.npy", "--out", "pngs").returncode == 0
    expected = data.to_uint8(VariationalAutoencoder.load(images).reconstruct(rows))
    assert np.array_equal(data.load(place / "pngs").array, expected)
    assert "exists" in complaint(here("sample", "imagerun", "--out", "pngs"))
    assert here("sample", "imagerun", "-n", "3", "--out", "pngs", "--overwrite").returncode == 0
    assert sorted(path.name for path in (place / "pngs").iterdir()) == [
        f"{i:06d}.png" for i in range(3)
    ]


def test_numbers_become_pngs_in_a_stated_range(here: Callable[..., Run], place: Path) -> None:
    pytest.importorskip("PIL")
    rows = 16 * np.random.default_rng(0).random((30, 3, 3))
    np.save(place / "numbers.npy", rows)
    model = VariationalAutoencoder(1, hidden=(4,), max_steps=2, random_state=0).fit(rows)
    model.save(place / "numbersrun", overwrite=True)
    assert "LOW,HIGH" in complaint(
        here("sample", "numbersrun", "--out", "ranged", "--range", "16,0")
    )
    assert (
        here("sample", "numbersrun", "-n", "2", "--out", "ranged", "--range", "0,16").returncode
        == 0
    )
    expected = data.to_uint8(model.sample(2, random_state=0) / 16)
    assert np.array_equal(data.load(place / "ranged").array, expected)
