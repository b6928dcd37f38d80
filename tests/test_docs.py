"""The documentation is true: its code runs, its names and tests exist, its links lead somewhere."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import numpy as np
import pytest
from benchmarks import document

from helpers import without_pages

ROOT = Path(__file__).parent.parent
PAGES = (
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
)
THEORY = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")
SLIPS = 6
MAX_PICTURE = 200_000


def blocks(page: Path, language: str) -> Iterator[tuple[int, str]]:
    """(line before the first, text) of every fenced block of a language."""
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield text[: found.start(1)].count("\n"), found[1]


def without_numbers(text: str) -> str:
    """The text with # for each number: numbers differ between machines."""
    return re.sub(r"-?\d+(\.\d+)?", "#", text)


def names(text: str) -> list[str]:
    """Every dotted name of ours in code quotes: `nelbo.vae.Terms`."""
    return re.findall(r"`(nelbo(?:\.\w+)+)`", text)


def exists(name: str) -> bool:
    """Whether a dotted name is a module,
    or an attribute (of a class, of a module) that can be reached.
    """
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            owner: object = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        for part in parts[cut:]:
            if part in getattr(owner, "__dataclass_fields__", {}):
                return True
            if not hasattr(owner, part):
                return False
            owner = getattr(owner, part)
        return True
    return False


def section(title: str) -> str:
    found = re.search(rf"^## {title}.*?(?=^## |\Z)", THEORY, re.DOTALL | re.MULTILINE)
    if found is None:
        pytest.fail(f"docs/theory.md has no section {title!r}")
    return found[0]


def contents(text: str) -> list[str]:
    """The pages that the tables of contents of a page name."""
    trees = re.findall(r"```{toctree}\n(?::[^\n]*\n)*(.*?)```", text, re.DOTALL)
    return [entry for tree in trees for entry in tree.split()]


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


WITH_PYTHON = [page for page in PAGES if any(blocks(page, "python"))]
WITH_SHELL = [page for page in PAGES if any(blocks(page, "console"))]


class Shortened(ast.NodeTransformer):
    """Fits without a limit, or with a high one, take a few steps only: what they print differs in
    its numbers alone, and what is asserted of them holds at any length. On other pages it does not.
    """

    steps = 60
    kept = ("theory.md", "missing.md", "anomalies.md")

    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        names = {keyword.arg for keyword in node.keywords}
        if getattr(node.func, "id", "") == "VariationalAutoencoder" and None not in names:
            limits = {"max_steps", "max_epochs", "max_seconds"}
            short = ast.keyword("max_steps", ast.Constant(self.steps))
            node.keywords = [k for k in node.keywords if k.arg not in limits] + [short]
        return node

    @classmethod
    def compiled(cls, page: Path, line: int, code: str) -> CodeType:
        tree = ast.parse("\n" * line + code, str(page))
        if page.name not in cls.kept:
            tree = ast.fix_missing_locations(cls().visit(tree))
        return compile(tree, str(page), "exec")


@pytest.mark.parametrize("page", WITH_PYTHON, ids=page_id)
def test_python_blocks_run_in_order_and_print_what_is_shown(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    session: dict[str, object] = {"__name__": "documentation"}
    for line, code in blocks(page, "python"):
        exec(Shortened.compiled(page, line, code), session)
    printed = without_numbers(capsys.readouterr().out)
    for _, shown in blocks(page, "text"):
        assert shown.startswith("src/") or without_numbers(shown) in printed


@pytest.mark.parametrize("page", WITH_SHELL, ids=page_id)
def test_shell_blocks_run_in_order(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nelbo.cli import main

    every = np.loadtxt  # which reads the digits: a fifth of them answers to the same commands
    monkeypatch.setattr(np, "loadtxt", lambda *some, **how: every(*some, **how)[::5])
    monkeypatch.chdir(tmp_path)
    for _, text in blocks(page, "console"):
        for command in re.findall(r"^\$ nelbo (.*)$", text, re.MULTILINE):
            words = command.split()
            if words[0] == "fit" and "--max-steps" not in words:
                words += ["--max-steps", "20"]
            assert main(without_pages(words)) == 0, f"nelbo {command}\n{capsys.readouterr().err}"
            if "--out" in words:
                assert (tmp_path / words[words.index("--out") + 1]).exists()


@pytest.mark.fault
@pytest.mark.slow
def test_pages_show_what_commands_and_code_print_whole() -> None:
    """Notes that stand at the end of an output are part of it."""
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "transcripts.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr + "run `make transcripts`"


@pytest.mark.fault
@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_no_transcript_is_cut_short(page: Path) -> None:
    for language in ("console", "text"):
        for line, text in blocks(page, language):
            assert not re.search(r"^\s*(\.\.\.|…)\s*$", text, re.MULTILINE), f"{page.name}:{line}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_names_of_ours_exist(page: Path) -> None:
    assert [name for name in names(page.read_text(encoding="utf-8")) if not exists(name)] == []


def test_a_name_that_does_not_exist_is_seen() -> None:
    assert exists("nelbo.vae.Terms.log_lik")
    assert exists("nelbo.VAE.terms")
    assert not exists("nelbo.vae.Terms.log_evidence")
    assert not exists("nelbo.trainer")


@pytest.mark.parametrize("number", range(1, 11))
def test_each_formula_names_its_code_its_tests_and_a_check(number: int) -> None:
    text = section(f"Formula {number}:")
    assert "$$" in text
    assert names(text)
    assert re.search(r"`tests/test_\w+\.py::test_\w+`", text)
    assert re.search(r"^```python\n.*\bassert", text, re.DOTALL | re.MULTILINE)


def test_each_slip_names_its_code() -> None:
    rows = section("Slips to avoid").split("| --- | --- | --- |\n")[1].strip().splitlines()
    assert len(rows) == SLIPS
    assert all(names(row.rsplit("|", 2)[1]) for row in rows)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_tests_that_are_named_exist(page: Path) -> None:
    for file, test in re.findall(
        r"(tests/test_\w+\.py)(?:::(test_\w+))?", page.read_text(encoding="utf-8")
    ):
        path = ROOT / file
        if test:
            assert path.is_file(), file
            tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            assert test in {node.name for node in tree if isinstance(node, ast.FunctionDef)}, (
                f"{file}::{test}"
            )


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = re.findall(
        r"\]\(([^)\s#]+)[^)]*\)", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    )
    targets += [f"{entry}.md" for entry in contents(text)]
    targets += re.findall(r"^```{(?:include|literalinclude)} (\S+)", text, re.MULTILINE)
    dead = [
        t
        for t in targets
        if "://" not in t and not t.startswith("mailto:") and not (page.parent / t).exists()
    ]
    assert dead == []


def test_every_page_is_in_the_table_of_contents() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    entries = contents(index)
    assert sorted(entries) == sorted({p.stem for p in (ROOT / "docs").glob("*.md")} - {"index"})


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_needs_no_network(tmp_path: Path) -> None:
    pytest.importorskip("pydata_sphinx_theme")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    done = subprocess.run(
        [*command, ROOT / "docs", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    reference = (tmp_path / "api.html").read_text(encoding="utf-8")
    listed = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for name in re.findall(r"automodule:: (\S+)", listed):
        module = importlib.import_module(name)
        shown = {one for one in module.__all__ if f'id="{name}.{one}"' in reference}
        assert (
            set(module.__all__) - shown - {one.rsplit(".", 1)[1] for one in names(listed)} == set()
        )
    for page in tmp_path.glob("*.html"):
        loaded = re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"([^\"]+)\"", page.read_text())
        assert [name for name in loaded if "://" in name] == []


@pytest.mark.parametrize("part", ["prior", "likelihood", "posterior", "objective", "networks",
                                  "distributions", "linear"])  # fmt: skip
def test_theory_names_every_public_class_and_each_has_a_formula(part: str) -> None:
    """From formula to class and back: both ways of each page are whole."""
    module = importlib.import_module(f"nelbo.{part}")
    classes = {name: getattr(module, name) for name in module.__all__}
    classes = {name: found for name, found in classes.items() if isinstance(found, type)}
    chunks = {"Chunks"}  # how rows are handed over, no part of the theory
    named = {name.rsplit(".", 1)[1] for name in names(THEORY) if f"nelbo.{part}." in name}
    assert set(classes) - named <= chunks
    if part in {"prior", "likelihood", "posterior", "objective", "distributions"}:
        docs = {
            name: f"{c.__doc__}{sys.modules[c.__module__].__doc__}" for name, c in classes.items()
        }
        abstract = {name for name, found in classes.items() if inspect.isabstract(found)}
        assert {name for name, text in docs.items() if "math:" not in text} <= abstract


def test_every_public_name_is_in_the_reference() -> None:
    """Classes and functions by their docstrings, all else by name."""
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for name in re.findall(r"automodule:: (\S+)", text):
        module = importlib.import_module(name)
        for public in module.__all__:
            found = getattr(module, public)
            documented = inspect.isclass(found) or inspect.isfunction(found)
            assert (documented and found.__doc__) or f"`{name}.{public}`" in text, (name, public)


def test_every_benchmark_has_its_question_on_a_page() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    there = {path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py")}
    assert {name for name in there if f"`{name}`" not in page} == set()


def test_the_page_of_commands_has_every_command_and_option(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from nelbo.cli import COMMANDS, main

    def flags(text: str) -> set[str]:
        return set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", text))

    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert set(COMMANDS) == set(re.findall(r"^\$ nelbo (\w+) --help", page, re.MULTILINE))
    for command in COMMANDS:
        assert main([command, "--help"]) == 0
        shown = page.split(f"$ nelbo {command} --help")[1].split("```")[0]
        assert flags(capsys.readouterr().out) <= flags(shown), f"{command}: run `make transcripts`"


def test_the_reference_has_every_module() -> None:
    import nelbo

    documented = set(
        re.findall(r"automodule:: (\S+)", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"))
    )
    modules = {
        f"nelbo.{name}"
        for name in nelbo.__all__
        if (ROOT / "src" / "nelbo" / name).with_suffix(".py").exists()
    }
    modules |= {
        f"nelbo.{path.parent.name}" for path in (ROOT / "src" / "nelbo").glob("*/__init__.py")
    }
    assert modules - documented == {"nelbo.cli", "nelbo.markup", "nelbo.picture", "nelbo.report"}


def test_commands_of_make_exist() -> None:
    targets = set(
        re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    for page in PAGES:
        assert (
            set(
                re.findall(
                    r"(?:`|^)make ([a-z][\w-]*)", page.read_text(encoding="utf-8"), re.MULTILINE
                )
            )
            <= targets
        )


def test_the_tree_of_the_readme_is_the_tree() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^[├└]── ([\w.]+)", text, re.MULTILINE))
    source = ROOT / "src" / "nelbo"
    there = {
        path.name
        for path in source.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert listed == there - {"__init__.py", "__main__.py"}


def test_pictures_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in (ROOT / "docs" / "images").iterdir()}
    assert max(sizes.values()) < MAX_PICTURE, sizes


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_of_results_are_those_of_the_benchmarks(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert (
        text.count("<!-- results: ")
        == text.count("<!-- end -->")
        == len(document.BLOCK.findall(text))
    )
    assert document.filled(text) == text, "run `python -m benchmarks.document`"


def test_a_table_is_filled_in(tmp_path: Path) -> None:
    (tmp_path / "speed.md").write_text("| a |\n| - |\n| 2 |\n")
    page = "before\n<!-- results: speed -->\nold\n<!-- end -->\nafter"
    once = document.filled(page, tmp_path)
    assert once == "before\n<!-- results: speed -->\n\n| a |\n| - |\n| 2 |\n\n<!-- end -->\nafter"
    assert document.filled(once, tmp_path) == once
