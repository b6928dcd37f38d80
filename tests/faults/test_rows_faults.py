"""A run knows its rows: no number on rows that were trained on is shown as if they were new."""

from __future__ import annotations

import dataclasses
import io
import json
import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import datasets

from helpers import ring, without_pages
from nelbo import VariationalAutoencoder
from nelbo.cli import main
from nelbo.data.known import KnownRows, Use
from nelbo.diagnose import Estimate, Judge, Memorisation
from nelbo.training import ALL_ROWS, History, ProgressBar, Record
from nelbo.watching import watching

pytestmark = pytest.mark.fault

Array = np.ndarray[Any, Any]


def wine() -> Array:
    return np.asarray(datasets.load_wine().data)


def fitted(train: Any, **options: Any) -> VariationalAutoencoder:
    options = {"hidden": (8,), "max_steps": 3, "random_state": 0, **options}
    return VariationalAutoencoder(2, **options).fit(train)


# -- in Python
# ---------------------------------------------------------------------------------------


def test_rows_are_known_again_in_any_order_and_floating_type() -> None:
    x = wine()
    model, expected = fitted(x[:100]), np.arange(178) < 100
    for rows in (x, x.astype(np.float32), torch.tensor(x), x.tolist()):
        assert (model.trained_on(rows) == expected).all()
    order = np.random.default_rng(1).permutation(178)
    assert (model.trained_on(x[order]) == expected[order]).all()
    assert not model.trained_on(x + 1e-3).any()


def test_rows_fitted_in_single_precision_are_known_in_double_precision() -> None:
    x = wine().astype(np.float32)
    assert (fitted(x[:100]).trained_on(x.astype(np.float64)) == (np.arange(178) < 100)).all()


def test_bytes_are_known_as_whole_numbers_and_in_every_layout() -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 4, 5), dtype=np.uint8)
    model, expected = fitted(images[:40], likelihood="discretized_gaussian"), np.arange(60) < 40
    for rows in (images, images[:, None], images.reshape(60, 20), images.astype(np.float64)):
        assert (model.trained_on(rows) == expected).all()


def test_a_negative_zero_is_a_zero() -> None:
    x = np.where(np.arange(300).reshape(60, 5) % 7 == 0, 0.0, wine()[:60, :5])
    assert fitted(x).trained_on(np.where(x == 0, -0.0, x)).all()


def test_rows_that_differ_beyond_single_precision_are_told_apart() -> None:
    x = 1e9 + np.random.default_rng(0).normal(size=(100, 2))
    assert (fitted(x[:60]).trained_on(x) == (np.arange(100) < 60)).all()


def test_rows_for_validation_count_as_trained_on() -> None:
    x = wine()
    assert fitted(x, validation_fraction=0.5).trained_on(x).all()


def test_a_warm_start_remembers_the_rows_of_both_fits() -> None:
    x = wine()
    model = fitted(x[:80], warm_start=True)
    model.fit(x[80:120])
    assert (model.trained_on(x) == (np.arange(178) < 120)).all()


def test_rows_stay_with_the_model_for_8_bytes_each(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(3000, 4))
    small, model = fitted(x[:100]), fitted(x)
    for one, name in ((small, "small"), (model, "model")):
        one.save(tmp_path / name)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("small", "model")]
    assert sizes[1] - sizes[0] < 10 * 2900
    for kept in (
        VariationalAutoencoder.load(tmp_path / "model"),
        pickle.loads(pickle.dumps(model)),
    ):
        assert kept.trained_on(x).all()
        assert not kept.trained_on(x + 0.1).any()


def test_a_model_saved_before_rows_were_remembered_loads_and_says_that_it_does_not_know(
    tmp_path: Path,
) -> None:
    model = fitted(wine())
    # what such a model lacks
    model.fitted_ = dataclasses.replace(model.fitted_, known=None, linear=None)
    model.save(tmp_path / "old")
    old = VariationalAutoencoder.load(tmp_path / "old")
    assert old.log_likelihood(wine(), "importance", 5).trained is None
    with pytest.raises(ValueError, match=r"unknown\. Fit and save it again"):
        old.trained_on(wine())


def test_a_log_likelihood_says_which_rows_were_trained_on_and_both_means() -> None:
    x = wine()
    found = fitted(x[:100]).log_likelihood(x, "importance", 5)
    assert (found.trained == (np.arange(178) < 100)).all()
    seen, new = found.value[:100].mean(), found.value[100:].mean()
    told = f"178 rows, 100 of them trained on (mean {seen:.2f}; the others {new:.2f})"
    assert told in str(found)
    assert told in repr(found)
    assert "trained on" not in str(fitted(x[:100]).log_likelihood(x[100:], "importance", 5))


def test_plain_scores_of_rows_that_were_trained_on_do_not_warn() -> None:
    x = wine()
    model = fitted(x)
    assert np.isfinite([model.score(x), model.score_samples(x).mean(), model.elbo(x).mean()]).all()


# -- equal rows
# --------------------------------------------------------------------------------------


def remembered(trained: Array, held: Array) -> KnownRows:
    return KnownRows.of(trained).with_held_out(held)


def test_of_equal_rows_as_many_are_held_out_as_were_then() -> None:
    trained, held = np.array([[1.0], [1], [1], [2]]), np.array([[1.0], [3]])
    found = remembered(trained, held).uses(np.concatenate([held, trained, [[4.0]]]))
    assert sorted(found.tolist()) == [Use.NEW] + 4 * [Use.TRAINED] + 2 * [Use.HELD_OUT]
    assert found[1] == Use.HELD_OUT
    assert found[-1] == Use.NEW


def test_a_file_of_held_out_rows_is_held_out_though_some_equal_rows_were_trained_on() -> None:
    trained, held = np.array([[1.0], [1], [2]]), np.array([[1.0], [3]])
    known = remembered(trained, held)
    assert (known.uses(held) == Use.HELD_OUT).all()
    assert (known.uses(trained) == Use.TRAINED).all()


def test_different_rows_of_few_values_have_different_keys() -> None:
    grid = np.stack(np.meshgrid(*[np.arange(40.0)] * 3), -1).reshape(-1, 3)
    known = KnownRows.of(grid[::2])
    assert (known.uses(grid) == np.where(np.arange(len(grid)) % 2 == 0, Use.TRAINED, Use.NEW)).all()


# -- the shell
# ---------------------------------------------------------------------------------------

Shell = Callable[..., tuple[str, str]]


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    """A command in an empty folder; it returns what is printed on both streams."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, code: int = 0) -> tuple[str, str]:
        capsys.readouterr()
        found = main(without_pages(arguments))
        out, err = capsys.readouterr()
        assert found == code, err
        return out, err

    return run


def write(name: str, rows: Array) -> None:
    header = ",".join(f"c{j}" for j in range(rows.shape[1]))
    np.savetxt(name, rows, delimiter=",", header=header, comments="")


FIT = ("--latent-dim", "2", "--hidden", "8", "--max-steps", "30", "--quiet", "--samples", "20")

LOUD = tuple(word for word in FIT if word != "--quiet")


def results(run: str = "run") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(run, "results.json").read_text(encoding="utf-8"))
    return found


def test_results_say_what_was_done_with_which_rows(shell: Shell) -> None:
    write("wine.csv", wine())
    shell("fit", "wine.csv", "--out", "run", "--held-out", "0.2", *FIT)
    counts = results()["rows"]
    assert counts["trained"] + counts["validated"] == results()["training_rows"] == 142
    assert (counts["held_out"], counts["repeated"]) == (36, 0)
    assert counts["validated"] > 0


def test_rows_of_a_test_file_that_were_trained_on_are_told_and_left_out(shell: Shell) -> None:
    x = wine()
    write("train.csv", x[:120])
    write("test.csv", x[100:])
    _, err = shell("fit", "train.csv", "--test", "test.csv", "--out", "run", *LOUD)
    told = (
        "20 of the 78 rows of --test are rows of DATA, too, and trained on: the model is "
        "judged by the other 58."
    )
    assert told in err
    assert told in results()["warnings"]
    assert results()["density"]["rows"] == 58


def test_a_test_file_of_nothing_but_rows_that_are_trained_on_is_told(shell: Shell) -> None:
    write("wine.csv", wine())
    out, _ = shell("fit", "wine.csv", "--test", "wine.csv", "--out", "run", *LOUD)
    assert "says nothing about new rows" in out
    assert "held-out log p(x)" not in out


def test_held_out_rows_that_repeat_rows_trained_on_are_told(shell: Shell) -> None:
    x = wine()[:100]
    write("twice.csv", np.concatenate([x, x]))
    shell("fit", "twice.csv", "--out", "run", "--held-out", "0.2", *FIT)
    assert results()["rows"]["repeated"] > 20
    assert any(
        "have the same values as a row that was trained on" in text
        for text in results()["warnings"]
    )


def evaluated(shell: Shell, *arguments: str) -> dict[str, Any]:
    quick = ("--method", "importance", "--samples", "20", "--json")
    found: dict[str, Any] = json.loads(shell("evaluate", "run", *arguments, *quick)[0])
    return found


def test_evaluate_on_the_data_of_the_fit_gives_the_held_out_number_of_the_fit(shell: Shell) -> None:
    write("wine.csv", wine())
    shell("fit", "wine.csv", "--out", "run", "--held-out", "0.2", *FIT)
    found = evaluated(shell, "wine.csv")
    assert found["mean"] == results()["density"]["mean"]
    assert found["baseline"]["gain"] == results()["baseline"]["gain"]
    assert found["rows"] == 36
    assert found["known_rows"] == {"which": "held-out", "of": 178, "trained_on": 142}
    assert (
        "142 of the 178 rows of wine.csv were trained on; this is about the other 36"
        in found["warnings"][0]
    )
    out, _ = shell("evaluate", "run", "wine.csv", "--method", "importance", "--samples", "5")
    assert "142 of the 178 rows of wine.csv were trained on; this is about the other 36" in out


def test_evaluate_takes_the_rows_that_it_is_told_to(shell: Shell) -> None:
    x = wine()
    write("wine.csv", x)
    shell("fit", "wine.csv", "--out", "run", "--held-out", "0.2", *FIT)
    trained, whole = (evaluated(shell, "wine.csv", "--rows", which) for which in ("trained", "all"))
    assert (trained["rows"], whole["rows"]) == (142, 178)
    held_out = results()["density"]["mean"]
    assert whole["mean"] == pytest.approx((142 * trained["mean"] + 36 * held_out) / 178, rel=1e-9)
    told = f"mean log p(x) {trained['mean']:.2f} nats over them, {held_out:.2f} over the other 36"
    assert told in whole["warnings"][0]
    assert "says nothing about new rows" in trained["warnings"][0]
    shell("evaluate", "run", "wine.csv", "--rows", "some", code=2)


def test_evaluate_says_where_all_rows_were_trained_on_and_nothing_where_none_was(
    shell: Shell,
) -> None:
    x = wine()
    write("train.csv", x[:120])
    write("test.csv", x[120:])
    shell("fit", "train.csv", "--test", "test.csv", "--out", "run", *FIT)
    seen, new = evaluated(shell, "train.csv"), evaluated(shell, "test.csv")
    assert "All 120 rows of train.csv were trained on" in seen["warnings"][0]
    assert (new["rows"], new["known_rows"]["trained_on"]) == (58, 0)
    assert not any("trained on" in text for text in new["warnings"])
    assert (
        "none for --rows held-out"
        in shell("evaluate", "run", "train.csv", "--rows", "held-out", code=2)[1]
    )


def test_score_writes_every_row_and_says_which_were_trained_on_and_how_many_are_unreliable(
    shell: Shell,
) -> None:
    x = wine()
    write("wine.csv", x)
    shell("fit", "wine.csv", "--out", "run", "--held-out", "0.2", "--network", "mlp", *FIT)
    out, err = shell("score", "run", "wine.csv", "--samples", "30")
    assert len(out.splitlines()) == 178
    assert "142 of the 178 rows of wine.csv were trained on: mean log p(x)" in err
    named = pd.DataFrame(x, columns=[f"c{j}" for j in range(13)])
    unreliable = (
        VariationalAutoencoder.load("run").log_likelihood(named, "importance", 30).unreliable
    )
    assert unreliable.any()
    assert f"log p(x) of {unreliable.sum()} of 178 rows is unreliable" in err
    shell("score", "run", "wine.csv", "--samples", "30", "--out", "scores.csv")
    columns, *rows = (
        line.split(",") for line in Path("scores.csv").read_text(encoding="utf-8").splitlines()
    )
    table = {name: [float(row[j]) for row in rows] for j, name in enumerate(columns)}
    assert sum(table["trained_on"]) == 142
    assert table["unreliable"] == unreliable.astype(float).tolist()
    shell("score", "run", "wine.csv", "--rows", "held-out", "--out", "held_out.csv")
    assert len(Path("held_out.csv").read_text(encoding="utf-8").splitlines()) == 37
    assert shell("score", "run", "wine.csv", "--quiet")[1] == ""


@pytest.mark.slow
def test_diagnose_holds_the_held_out_rows_of_the_data_against_the_others(shell: Shell) -> None:
    write("wine.csv", wine())
    shell("fit", "wine.csv", "--out", "run", "--held-out", "0.3", *FIT)
    found = json.loads(shell("diagnose", "run", "wine.csv", "--json")[0])
    assert (found["rows"], found["train_rows"]) == (54, 124)
    assert found["known_rows"] == {"which": "held-out", "of": 178, "trained_on": 124}
    again = json.loads(shell("diagnose", "run", "wine.csv", "--train", "wine.csv", "--json")[0])
    assert again["findings"] == found["findings"]
    (ahead,) = [
        finding for finding in found["findings"] if finding["name"] == "train against unseen"
    ]
    assert ahead["verdict"] != "skipped"
    out, _ = shell("diagnose", "run", "wine.csv")
    assert "124 of the 178 rows of wine.csv were trained on; this is about the other 54" in out


@pytest.mark.slow
@pytest.mark.parametrize("rows", [("--rows", "all"), ("--rows", "trained"), ()])
def test_diagnose_never_calls_a_model_healthy_by_rows_that_it_was_trained_on(
    shell: Shell, rows: tuple[str, ...]
) -> None:
    x = wine()
    write("train.csv", x[:120])
    write("all.csv", x)
    shell("fit", "train.csv", "--test", "all.csv", "--out", "run", *FIT)
    found = json.loads(
        shell("diagnose", "run", "all.csv" if rows else "train.csv", "--json", *rows)[0]
    )
    assert not found["healthy"]
    (new,) = [finding for finding in found["findings"] if finding["name"] == "new rows"]
    assert new["verdict"] == "problem"
    (ahead,) = [
        finding for finding in found["findings"] if finding["name"] == "train against unseen"
    ]
    assert ahead["verdict"] == "skipped"


def test_overfitting_of_a_fifth_of_a_nat_for_each_feature_is_a_problem() -> None:
    ahead = Estimate(13.4, 2.1, 180)
    one = Estimate(-150.0, 1.0, 180)
    found, _ = Judge().memory(Memorisation(one, one, ahead, Estimate(0.5, 0.03, 180), 1617), 64)
    assert found.verdict == "problem"
    assert found.cause.startswith("overfitting")


# -- both trainings of a table
# -----------------------------------------------------------------------


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(scope="module")
def twice() -> tuple[VariationalAutoencoder, list[Record], str]:
    """A table that is trained twice, the records that a callback saw,
    and the plain lines of its progress.
    """
    seen: list[Record] = []
    stream = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        told = {"callbacks": [seen.append], "progress": True}
        model = VariationalAutoencoder(2, max_steps=100, random_state=0, **told).fit(ring(300))
    return model, seen, stream.getvalue()


def test_the_history_holds_both_trainings_of_a_table(
    twice: tuple[VariationalAutoencoder, list[Record], str],
) -> None:
    history = twice[0].history_
    phases = history.column("phase")
    first = phases.index(ALL_ROWS)
    assert set(phases[:first]) == {"training"}
    assert set(phases[first:]) == {ALL_ROWS}
    seconds = history.column("seconds")
    assert seconds == sorted(seconds)
    assert history.records[-1].progress == 1
    assert history.steps == history.records[first - 1].step + history.records[-1].step
    assert "on all rows" in str(history)


def test_callbacks_see_both_trainings_of_a_table(
    twice: tuple[VariationalAutoencoder, list[Record], str],
) -> None:
    model, seen, _ = twice
    assert seen == model.history_.records


def test_plain_lines_tell_both_trainings_and_end_at_the_whole(
    twice: tuple[VariationalAutoencoder, list[Record], str],
) -> None:
    lines = twice[2].splitlines()
    assert any("training on all rows" in line for line in lines)
    assert lines[-1].startswith("100%")


def test_a_bar_ends_at_the_whole_though_training_stopped_early() -> None:
    stream = Terminal()
    record = Record(5, 1.0, 0.1, -3.0, -3.1, 1.0, 0.5, 1e-3, 10.0, 0.4, 0)
    with ProgressBar(stream) as bar:
        bar(record)
        bar(dataclasses.replace(record, phase=ALL_ROWS, progress=0.2))
    assert re.findall(r"(\d+)%", stream.getvalue())[-2:] == ["100", "100"]


def test_histories_saved_before_there_were_phases_load() -> None:
    state = History(
        [Record(5, 1.0, 0.1, -3.0, -3.1, 1.0, 0.5, 1e-3, 10.0, 0.4, 0)], 5, "steps"
    ).to_dict()
    del state["records"][0]["phase"]
    assert History.from_dict(state).records[0].phase == "training"


def test_results_count_the_steps_and_seconds_of_both_trainings(shell: Shell) -> None:
    write("ring.csv", ring(300))
    shell(
        "fit",
        "ring.csv",
        "--out",
        "run",
        "--latent-dim",
        "2",
        "--max-steps",
        "100",
        "--quiet",
        "--samples",
        "5",
    )
    history = VariationalAutoencoder.load("run").history_
    assert ALL_ROWS in history.column("phase")
    assert (results()["steps"], results()["seconds"]) == (
        history.steps,
        history.records[-1].seconds,
    )


# -- progress of what is no training
# -----------------------------------------------------------------


def told_by(work: Callable[[], object]) -> list[tuple[str, float]]:
    """What a piece of work tells of its progress."""
    told: list[tuple[str, float]] = []
    with watching(lambda what, share: told.append((what, share))):
        work()
    return told


def test_work_of_every_kind_tells_how_far_it_has_come() -> None:
    x = wine()[:40]
    model = fitted(x)
    for work in (
        lambda: model.score_samples(x),
        lambda: model.log_likelihood(x, "ais", 4, temperatures=10),
        lambda: model.elbo(x),
        lambda: model.transform(x),
        lambda: model.reconstruct(x),
        lambda: model.sample(5),
    ):
        told = told_by(work)
        assert told[-1][1] == pytest.approx(1.0)
        assert all(what and 0 < share <= 1 for what, share in told)
    assert told_by(lambda: None) == []


@pytest.mark.parametrize("command", ["score", "evaluate", "encode", "reconstruct", "sample"])
def test_long_work_shows_a_bar_on_a_terminal_alone(
    command: str, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("wine.csv", wine())
    fitted(pd.read_csv("wine.csv")).save("run")
    monkeypatch.setattr("nelbo.cli.progress.Bar.after", 0.0)
    arguments = (
        command,
        "run",
        *(() if command == "sample" else ("wine.csv",)),
        "--out",
        "out.npy",
    )
    assert "100%" not in shell(*arguments)[1]
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert main([*arguments, "--overwrite"]) == 0
    assert "100%" in terminal.getvalue()
    terminal.truncate(0)
    assert main([*arguments, "--overwrite", "--quiet"]) == 0
    assert "%" not in terminal.getvalue()


def test_short_work_shows_nothing(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    write("wine.csv", wine())
    fitted(pd.read_csv("wine.csv")).save("run")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr("nelbo.cli.progress.Bar.after", 1000.0)
    assert main(["encode", "run", "wine.csv", "--out", "z.npy"]) == 0
    assert terminal.getvalue() == ""
