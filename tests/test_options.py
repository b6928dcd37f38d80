"""An option is written in two places, which agree, and everything else follows from them."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import _counts

from nelbo import VariationalAutoencoder
from nelbo.cli.flags import as_flag
from nelbo.cli.options import FitOptions
from nelbo.options import Options
from nelbo.recipe.check import check

FIELDS = dataclasses.fields(Options)
ALIASES = ("random_state", "score_samples_k", "missing", "unknown")
"""Options that have another name on the shell, or are among those that say how data are read."""


def test_the_estimators_signature_is_that_of_the_options() -> None:
    signature = inspect.signature(VariationalAutoencoder.__init__)
    theirs = [(p.name, p.annotation, p.default) for p in signature.parameters.values()][1:]
    assert theirs == [(field.name, field.type, field.default) for field in FIELDS]


def test_the_estimators_documentation_tells_every_option_once() -> None:
    text = inspect.getdoc(VariationalAutoencoder) or ""
    for field in FIELDS:
        assert text.count(f"\n{field.name} : {field.type}, default={field.default!r}\n") == 1
        assert field.metadata["text"][0].isupper()
        assert field.metadata["text"].endswith(".")
    assert max(map(len, text.splitlines())) <= 100


def test_the_shell_has_every_option_that_belongs_to_a_group() -> None:
    shell = [field.name for field in dataclasses.fields(FitOptions)]
    ours = [field.name for field in FIELDS if field.metadata["group"] is not None]
    assert [name for name in shell if name in ours] == ours
    assert set(shell) - set(ours) == {"seed", "held_out", "test", "samples", "missing_values"}


TYPED = [f for f in FIELDS if re.search("int|float|Sequence|Mapping|Network", f.type)]


@pytest.mark.parametrize(
    "field",
    [field for field in TYPED if field.name != "random_state"],  # which becomes a seed later
    ids=lambda field: field.name,
)
def test_what_is_not_of_an_options_type_is_refused_by_its_name(field: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{field.name} "):
        check(Options(**{field.name: object()}))


def test_what_ties_a_resumed_run_to_its_options_has_a_place_of_its_own() -> None:
    places = [field.metadata["tied"] for field in FIELDS]
    tied = sorted(place for place in places if place is not None)
    assert tied == list(range(len(tied)))


@pytest.fixture(scope="module")
def help_text() -> str:
    """What `nelbo fit --help` prints, in one line."""
    command = [sys.executable, "-m", "nelbo", "fit", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return " ".join(re.sub("[│╭╮╰╯─]", " ", done.stdout).split())


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_option_of_the_shell_is_in_its_help_as_it_is_typed(
    field: Any, help_text: str
) -> None:
    shown = f"{as_flag(field.name)} " in help_text
    assert shown == (field.metadata["group"] is not None or field.name in ALIASES)
    assert "`" not in help_text
    assert '"' not in help_text
    assert "(512" not in help_text


@pytest.mark.parametrize(
    ("flag", "typed", "option", "value"),
    [
        ("hidden", "7,5", "hidden", (7, 5)),
        ("channels", "3", "channels", (3,)),
        ("variance", "0.25", "variance", 0.25),
        ("variance", "learned", "variance", "learned"),
        ("scale", "none", "scale", None),
        ("dequantize", None, "dequantize", "auto"),
        ("dequantize", False, "dequantize", False),
        ("objective_options", "beta=4,share=0.5", "objective_options", {"beta": 4, "share": 0.5}),
        ("network_options", "activation=tanh", "network_options", {"activation": "tanh"}),
        ("prior_options", None, "prior_options", None),
        ("seed", 3, "random_state", 3),
        ("samples", 9, "score_samples_k", 9),
    ],
)
def test_what_is_typed_becomes_the_option(flag: str, typed: Any, option: str, value: Any) -> None:
    made = FitOptions(**{flag: typed}).estimator()
    assert made.get_params()[option] == value


@pytest.mark.parametrize(
    ("flag", "typed", "said"),
    [
        ("hidden", "wide", "--hidden must be integers separated by commas"),
        ("likelihood_options", "df", "--likelihood-options must be name=value"),
        ("likelihood_options", "df=4,df=5", "--likelihood-options has df twice"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_flag(flag: str, typed: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        FitOptions(**{flag: typed}).estimator()


def test_explain_prints_the_recipe_and_writes_nothing(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(60, 3))
    np.save(tmp_path / "x.npy", rows)
    explain = [sys.executable, "-m", "nelbo", "fit", "x.npy", "--explain", "--hidden", "9"]
    shown, told = (
        subprocess.run([*explain, *more], cwd=tmp_path, capture_output=True, text=True, check=True)
        for more in ([], ["--json"])
    )
    recipe = json.loads(told.stdout)["recipe"]
    assert recipe["data"]["value"] == "table"
    assert recipe["hidden"] == {
        "value": {"encoder": [9], "decoder": [9]},
        "reason": "As asked.",
    }
    assert "54 rows of 3 to train on, 6 to hold out" in shown.stdout
    assert all(f"\n{name} " in shown.stdout for name in recipe)
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]


HOUSE = {
    "estimator.py": """
class VariationalAutoencoder:
    def __init__(self, size=8, scale=None, device="auto"):
        self.size, self.scale, self.device = size, scale, device
""",
    "options.py": """
class Options:
    size: int = 8
    scale: str | None = None
    device: str = "auto"
""",
    "recipe/rules.py": """
TIED = ("size", "scale", "device")

def rule(options):
    return Choice(options.size, device="cpu")
""",
    "fitted/fitted.py": """
def load(path, device="auto"):
    return Summary(size=path.size, device=device)
""",
}
"""A house in which each option is written in four lists, and some are used or named elsewhere."""


def test_a_place_where_an_option_is_written_is_a_list_of_options(tmp_path: Path) -> None:
    for name, text in HOUSE.items():
        path = tmp_path / "src" / "nelbo" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    files = _counts.read(tmp_path)
    for option in ("size", "scale", "device"):
        assert _counts.places(files, option) == [
            "estimator.py:3 assignments",
            "estimator.py:3 signature",
            "options.py:2 fields",
            "recipe/rules.py:2 strings",
        ]
