"""The tree keeps its promises: imports point inwards only, no pickle, assert or print.

Every check is a function of a module's name and its text, so each is tried on made-up code too.
"""

from __future__ import annotations

import ast
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "src"

# From the inside out. A module imports from the rings before its own, never from its own ring or a
# later one.
RINGS: tuple[frozenset[str], ...] = tuple(
    frozenset(names.split())
    for names in (
        "brief integers markup naming options plain spin threads watching whole",
        "networks distributions linear paired",
        "data prior likelihood posterior baseline",
        "vae",
        "objective",
        "evaluate",
        "training checkpoint",
        "spec diagnose start",
        "recipe synthesis",
        "report",
        "fitted",
        "fitting detect",
        "estimator",
        "picture export",
        "explore",
        "cli",
        "__main__",
    )
)
PRINTERS = frozenset({"cli", "__main__"})  # the only parts that may write to standard output
UNSAFE_MODULES = frozenset(
    {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve"}
)
UNSAFE_CALLS = frozenset(
    {
        "eval",
        "exec",
        "torch.load",
        "torch.save",
        "torch.jit.load",
        "torch.hub.load",
        "joblib.load",
        "joblib.dump",
    }
)


@dataclass(frozen=True)
class Source:
    """One file: its dotted name, whether it is a package's __init__, and its text."""

    name: str
    text: str
    is_package: bool = False

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Every node of the syntax tree: functions, classes and `if TYPE_CHECKING` included."""
        return tuple(ast.walk(ast.parse(self.text)))

    @property
    def part(self) -> str:
        """The name that has a ring: nelbo.data.schema -> data; empty for the package itself."""
        return part_of(self.name)

    def absolute(self, module: str | None, level: int) -> str:
        """The absolute name behind `from ..module import`, `level` being the number of dots."""
        if level == 0:
            return module or ""
        base = self.name.split(".")
        base = base[: len(base) - level + self.is_package]
        return ".".join([*base, module] if module else base)


def part_of(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def ring_of(part: str) -> int | None:
    return next((ring for ring, parts in enumerate(RINGS) if part in parts), None)


def read_package(root: Path = ROOT) -> list[Source]:
    sources = []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        sources.append(Source(name, path.read_text(encoding="utf-8"), is_package))
    return sources


def imports(source: Source) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything imported anywhere in the file;
    `from a import b` gives a.b.
    """
    for node in source.nodes:
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                origin = source.absolute(module, level)
                yield from ((node.lineno, f"{origin}.{alias.name}") for alias in names)
            case ast.Call(func=func, args=[ast.Constant(value=str(name)), *_]):
                if ast.unparse(func) in ("importlib.import_module", "import_module", "__import__"):
                    dots = len(name) - len(name.lstrip("."))
                    yield node.lineno, source.absolute(name.lstrip(".") or None, dots)


def ring_faults(source: Source) -> Iterator[str]:
    """Imports that do not point inwards.
    The package's own __init__ is exempt: it re-exports everything.
    """
    if not source.part:
        return
    ring = ring_of(source.part)
    if ring is None:
        yield (
            f"{source.name}: `{source.part}` has no ring yet; give it one in RINGS of "
            f"{Path(__file__).name}"
        )
        return
    for line, target in imports(source):
        where = f"{source.name}:{line}"
        part = part_of(target)
        if target.split(".")[0] != "nelbo" or part in (source.part, "__version__"):
            continue
        if ring_of(part) is None:
            yield f"{where} imports {target}: name the module it comes from, one that has a ring"
        elif ring_of(part) == ring:
            yield f"{where} imports {target}: the same ring, {ring}"
        elif ring_of(part) > ring:
            yield f"{where} imports {target}: outwards, from ring {ring} to ring {ring_of(part)}"


def cycle(sources: Iterable[Source]) -> list[str] | None:
    """Files that import each other in a circle, or None. The package's own __init__ is left out."""
    files = {source.name: source for source in sources if source.part}
    graph: dict[str, set[str]] = {
        name: {file_of(target, files) for _, target in imports(source)} - {"", name}
        for name, source in files.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return None


def file_of(target: str, files: Container[str]) -> str:
    """The file that defines a dotted name: itself, or the module it is taken from;
    empty if not ours.
    """
    return next((name for name in (target, target.rpartition(".")[0]) if name in files), "")


def code_faults(source: Source) -> Iterator[str]:
    """What no file of the library may hold."""
    alias = aliases(source)
    for node in source.nodes:
        where = f"{source.name}:{getattr(node, 'lineno', 0)}"
        match node:
            case ast.Assert():
                yield f"{where} asserts: raise ValueError or TypeError with a cure"
            case ast.Name(id="print") if source.part not in PRINTERS:
                yield f"{where} prints: only {sorted(PRINTERS)} may"
            case ast.Call(func=func) if (called := full_name(func, alias)) in UNSAFE_CALLS:
                yield f"{where} calls {called}, which runs or hides code"
            case ast.keyword(arg="allow_pickle", value=value) if ast.unparse(value) != "False":
                yield f"{where} allows pickle"
    for line, target in imports(source):
        if target.split(".")[0] in UNSAFE_MODULES:
            yield f"{source.name}:{line} imports {target}: no pickle, anywhere"


def aliases(source: Source) -> dict[str, str]:
    """Local name -> dotted name, of everything imported: `import torch as t` gives t -> torch."""
    found: dict[str, str] = {}
    for node in source.nodes:
        if isinstance(node, ast.Import):
            found |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {
                alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names
            }
    return found


def full_name(func: ast.expr, alias: Mapping[str, str]) -> str:
    first, dot, rest = ast.unparse(func).partition(".")
    return alias.get(first, first) + dot + rest


SOURCES = read_package()


def test_the_whole_package_is_read() -> None:
    assert {"nelbo", "nelbo.vae", "nelbo.objective", "nelbo.networks"} <= {
        source.name for source in SOURCES
    }


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_imports_point_inwards(source: Source) -> None:
    assert list(ring_faults(source)) == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_code_is_safe_quiet_and_short(source: Source) -> None:
    assert list(code_faults(source)) == []


FACES = {"nelbo.diagnose": "nelbo.evaluate"}
"""Rooms that may use another one only by what its ``__init__`` exports."""


@pytest.mark.parametrize(("room", "face"), FACES.items())
def test_a_room_is_used_by_its_face(room: str, face: str) -> None:
    files = {source.name for source in SOURCES}
    inner = [
        f"{source.name}:{line} imports {target}"
        for source in SOURCES
        if source.name.startswith(room)
        for line, target in imports(source)
        if target.startswith(f"{face}.") and file_of(target, files) != face
    ]
    assert inner == []


def test_no_import_cycles() -> None:
    assert cycle(SOURCES) is None


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("nelbo.vae", "from nelbo.objective import ELBO", "outwards, from ring 3 to ring 4"),
        ("nelbo.vae", "from nelbo import cli", "outwards"),
        ("nelbo.vae", "import nelbo.spec as s", "outwards"),
        ("nelbo.vae", "from .objective import ELBO", "outwards"),
        ("nelbo.vae", "from . import objective", "outwards"),
        ("nelbo.networks.mlp", "from ..prior import StandardNormal", "outwards"),
        (
            "nelbo.vae",
            "def f():\n    from nelbo.spec import build",
            "nelbo.vae:2 imports nelbo.spec.build",
        ),
        ("nelbo.vae", "if TYPE_CHECKING:\n    from nelbo.spec import Spec", "outwards"),
        ("nelbo.vae", "import importlib\nimportlib.import_module('nelbo.spec')", "outwards"),
        (
            "nelbo.vae",
            "from importlib import import_module\nimport_module('.spec', 'nelbo')",
            "outwards",
        ),
        ("nelbo.prior", "from nelbo.posterior import DiagonalNormal", "the same ring, 2"),
        ("nelbo.networks.mlp", "import nelbo.distributions", "the same ring, 1"),
        ("nelbo.report", "from nelbo.fitted import Fitted", "outwards"),
        ("nelbo.report.page", "from nelbo.cli import main", "outwards"),
        ("nelbo.spec", "from nelbo import VAE", "name the module it comes from"),
        ("nelbo.spec", "import nelbo", "name the module it comes from"),
        ("nelbo.helpers", "", "has no ring yet"),
    ],
)
def test_an_import_that_does_not_point_inwards_is_seen(name: str, text: str, fault: str) -> None:
    (found,) = ring_faults(Source(name, text))
    assert fault in found


def test_a_relative_import_in_a_package_is_resolved_from_the_package() -> None:
    assert (
        list(ring_faults(Source("nelbo.data", "from .schema import Schema", is_package=True))) == []
    )
    (found,) = ring_faults(Source("nelbo.data", "from ..spec import build", is_package=True))
    assert "nelbo.spec.build" in found


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "nelbo.vae",
            "import torch\nfrom nelbo.prior import StandardNormal\nfrom . import likelihood",
        ),
        ("nelbo.data.table", "from .schema import Schema\nfrom nelbo.data import images"),
        ("nelbo.checkpoint", "from nelbo import __version__"),
        (
            "nelbo.cli",
            "from nelbo.estimator import VariationalAutoencoder\nfrom nelbo.report import write",
        ),
        ("nelbo", "from nelbo.cli import main"),
    ],
)
def test_an_import_that_points_inwards_passes(name: str, text: str) -> None:
    assert list(ring_faults(Source(name, text))) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("assert x > 0", "asserts"),
        ("def f():\n    print('hello')", "nelbo.vae:2 prints"),
        ("log = print", "prints"),
        ("def f():\n    import pickle", "no pickle"),
        ("from cloudpickle import dumps", "no pickle"),
        ("import torch\ntorch.load('x')", "calls torch.load"),
        ("import torch as t\nt.load('x')", "calls torch.load"),
        ("from torch import load as read\nread('x')", "calls torch.load"),
        ("import joblib\njoblib.dump(x, 'x')", "calls joblib.dump"),
        ("eval('1')", "calls eval"),
        ("exec('x = 1')", "calls exec"),
        ("np.load('x', allow_pickle=True)", "allows pickle"),
    ],
)
def test_code_that_is_forbidden_is_seen(text: str, fault: str) -> None:
    (found,) = code_faults(Source("nelbo.vae", text))
    assert fault in found


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nelbo.cli", "print('hello')"),
        (
            "nelbo.vae",
            "model.eval()\nconsole.print('x')\nnp.load('x', allow_pickle=False)\nself.load('x')",
        ),
    ],
)
def test_code_that_is_allowed_passes(name: str, text: str) -> None:
    assert list(code_faults(Source(name, text))) == []


def test_a_cycle_is_seen() -> None:
    a = Source("nelbo.data.a", "def f():\n    from . import b")
    b = Source("nelbo.data.b", "from nelbo.data.c import thing")
    c = Source("nelbo.data.c", "import nelbo.data.a")
    assert cycle([a, b]) is None
    assert set(cycle([a, b, c]) or ()) == {"nelbo.data.a", "nelbo.data.b", "nelbo.data.c"}


def test_a_package_that_its_own_file_imports_is_a_cycle() -> None:
    package = Source("nelbo.networks", "from .mlp import MLP", is_package=True)
    assert cycle([package, Source("nelbo.networks.mlp", "import torch")]) is None
    assert (
        cycle([package, Source("nelbo.networks.mlp", "from nelbo.networks import MLP")]) is not None
    )
