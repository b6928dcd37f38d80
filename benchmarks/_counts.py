"""Counts of the syntax of a checkout, for `benchmarks.house`, which does not import it."""

from __future__ import annotations

import ast
import io
import json
import re
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

PARTS = ("prior", "likelihood", "posterior", "networks")
"""Files or folders whose classes nobody else shall ask for."""
FACES = ("options", "estimator", "cli", "recipe", "fitting", "fitted", "report")
"""Files or folders that may write an option of the estimator once more.

The torch side (`vae`, `spec`, `training` and the parts) has signatures of its own, which do not
follow the estimator's.
"""


class File:
    """A file of Python: its text, its syntax, and the part of the package that it belongs to."""

    def __init__(self, path: Path, root: Path) -> None:
        self.place = str(path.relative_to(root))
        self.part = self.place.split("/")[0].removesuffix(".py")
        self.text = path.read_text(encoding="utf-8")
        self.tree = ast.parse(self.text)
        self.nodes = list(ast.walk(self.tree))


def read(folder: Path) -> list[File]:
    """Read the files of a checkout's package."""
    root = folder / "src" / "nelbo"
    return [File(path, root) for path in sorted(root.rglob("*.py"))]


def nodes(files: Iterable[File], *kinds: type) -> Iterator:
    """Yield the nodes of some kinds."""
    return (node for file in files for node in file.nodes if isinstance(node, kinds))


# -- lines -----------------------------------------------------------------------------------------


def lines(file: File) -> dict[str, set[int]]:
    """Return the lines that are "docstring", "string" (below a name), "comment" and "code"."""
    filled = {i for i, line in enumerate(file.text.splitlines(), 1) if line.strip()}
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    first = {id(node.body[0]) for node in nodes([file], *documented) if node.body}
    found = {"docstring": set(), "string": set(), "comment": set()}
    for node in nodes([file], ast.Expr):
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            kind = ("string", "docstring")[id(node) in first]
            found[kind] |= filled & set(range(node.lineno, node.end_lineno + 1))
    for token in tokenize.generate_tokens(io.StringIO(file.text).readline):
        if token.type == tokenize.COMMENT and not token.line[: token.start[1]].strip():
            found["comment"].add(token.start[0])
    return found | {"code": filled.difference(*found.values())}


def count_lines(files: list[File]) -> Counter[str]:
    """Return how many lines are of each kind."""
    return sum((Counter({k: len(v) for k, v in lines(file).items()}) for file in files), Counter())


def long_lines(folder: Path, longest: int = 100) -> int:
    """Return how many lines are longer, in src, tests, benchmarks and examples."""
    places = ("src", "tests", "benchmarks", "examples")
    texts = (path.read_text() for place in places for path in (folder / place).rglob("*.py"))
    return sum(len(line) > longest for text in texts for line in text.splitlines())


# -- syntax ----------------------------------------------------------------------------------------


def ternaries(files: list[File]) -> float:
    """Return conditional expressions for each 1,000 lines of code."""
    return 1000 * sum(1 for _ in nodes(files, ast.IfExp)) / count_lines(files)["code"]


def complexities(folder: Path) -> list[int]:
    """Return ruff's cyclomatic complexity (C901) of every function."""
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--exit-zero"]
    rule = ["--ignore-noqa", "--select", "C901", "--config", "lint.mccabe.max-complexity=0"]
    command = [*ruff, *rule, "--output-format", "json", str(folder / "src")]
    told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return [int(re.search(r"\((\d+) > 0\)", one["message"])[1]) for one in told]


def branches(files: list[File]) -> list[int]:
    """Return the complexity of every function if expressions that branch count as statements do.

    Beyond C901 these are conditional expressions, each further operand of "and" and "or", and the
    loops and conditions of comprehensions.
    """
    functions = nodes(files, ast.FunctionDef, ast.AsyncFunctionDef)
    return [1 + sum(map(branching, ast.walk(function))) for function in functions]


def branching(node: ast.AST) -> int:
    """Return how many further ways a node opens."""
    statements = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.Assert)
    match node:
        case ast.BoolOp(values=values):
            return len(values) - 1
        case ast.comprehension(ifs=conditions):
            return 1 + len(conditions)
    return isinstance(node, (*statements, ast.IfExp, ast.match_case))


def constants(files: list[File]) -> Counter[str]:
    """Return the upper-case names that modules assign, and how often."""
    found: Counter[str] = Counter()
    for statement in (node for file in files for node in file.tree.body):
        targets = []
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        names = (x.id for one in targets for x in ast.walk(one) if isinstance(x, ast.Name))
        found.update(name for name in names if name.strip("_").isupper())
    return found


def untyped_estimators(files: list[File]) -> int:
    """Return how many parameters are ``estimator: Any``."""
    notes = [node.annotation for node in nodes(files, ast.arg) if node.arg == "estimator"]
    return sum(note is not None and ast.unparse(note) == "Any" for note in notes)


def deep_imports(files: list[File], outer: str = "diagnose", inner: str = "evaluate") -> int:
    """Return how many imports in one part name a module inside another."""
    inside = {file.place.split("/")[1][:-3] for file in files if file.place.startswith(f"{inner}/")}
    statements = nodes((file for file in files if file.part == outer), ast.ImportFrom)
    modules = (((node.module or "").removeprefix("nelbo."), node) for node in statements)
    return sum(
        module.startswith(f"{inner}.") or (module == inner and bool(inside & named(node)))
        for module, node in modules
    )


def imports_in_functions(files: list[File]) -> int:
    """Return how many imports stand inside functions."""
    inside = (
        x for one in nodes(files, ast.FunctionDef, ast.AsyncFunctionDef) for x in ast.walk(one)
    )
    return len({id(node) for node in inside if isinstance(node, (ast.Import, ast.ImportFrom))})


# -- parts -----------------------------------------------------------------------------------------


def tests_of_parts(files: list[File]) -> list[str]:
    """Return the isinstance tests and type() comparisons that ask for the class of a part.

    The classes are all modules that the parts define, abstract and private ones too; outside the
    parts, and in files that import any of them, every comparison or look-up of a type() counts.
    """
    classes, found = part_classes(files), []
    for file in (file for file in files if file.part not in PARTS):
        calls = nodes([file], ast.Call)
        tests = [call for call in calls if ast.unparse(call.func) == "isinstance"]
        asked = [call for call in tests if words(call.args[1]) & classes]
        if any(named(node) & set(PARTS) for node in nodes([file], ast.Import, ast.ImportFrom)):
            places = nodes([file], ast.Compare, ast.Subscript)
            types = (call for place in places for call in ast.walk(place) if is_type(call))
            asked += {id(call): call for call in types}.values()
        found += [f"{file.place}:{call.lineno} {ast.unparse(call)}" for call in asked]
    return found


def part_classes(files: list[File]) -> set[str]:
    """Return the names of all classes in the parts that derive from torch's Module."""
    classes = list(nodes((file for file in files if file.part in PARTS), ast.ClassDef))
    found = {"Module"}
    for _ in classes:  # as often as the longest line of descent may need
        found |= {one.name for one in classes if any(last(base) in found for base in one.bases)}
    return found - {"Module"}


def last(base: ast.expr) -> str:
    """Return the last word of a dotted name."""
    return ast.unparse(base).rpartition(".")[2]


def is_type(node: ast.AST) -> bool:
    """Return whether a node is ``type(…)`` of one argument."""
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "type" and len(node.args) == 1


def words(node: ast.AST) -> set[str]:
    """Return all names and attributes in an expression, but for those of torch.nn."""
    found = [x for x in ast.walk(node) if isinstance(x, (ast.Name, ast.Attribute))]
    ours = (x for x in found if not ast.unparse(x).startswith("nn."))
    return {getattr(x, "id", getattr(x, "attr", "")) for x in ours}


def named(node: ast.Import | ast.ImportFrom) -> set[str]:
    """Return all words of what a statement imports."""
    dotted = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
    return {word for name in dotted for word in name.split(".")}


# -- options ---------------------------------------------------------------------------------------


def options(files: list[File]) -> list[str]:
    """Return the names of the estimator's options."""
    (face,) = (x for x in nodes(files, ast.ClassDef) if x.name == "VariationalAutoencoder")
    (start,) = (x for x in face.body if getattr(x, "name", "") == "__init__")
    return [argument.arg for argument in start.args.args[1:] + start.args.kwonlyargs]


def places(files: list[File], option: str) -> list[str]:
    """Return the lists of options that name an option: each is a place where it is written.

    A list names three options or more, side by side: an option that is added has to be written in
    some of these lists before it can be used, and one that is renamed in all of them. One name or
    two are something else that is called the same, such as the device of a command, the size of z
    in a result or the objective and the callbacks of a run, or the rule that uses an option.
    """
    known = set(options(files))
    faces = [file for file in files if file.part in FACES]
    found = ((file, *one) for file in faces for node in file.nodes for one in listed(node))
    return sorted(
        f"{file.place}:{line} {kind}"
        for file, line, kind, names in found
        if option in names and len(names & known) >= 3
    )


def listed(node: ast.AST) -> Iterator[tuple[int, str, set[str]]]:
    """Yield the line, the kind and the names of the lists that a node is."""
    match node:
        case ast.FunctionDef(args=args):
            yield node.lineno, "signature", {one.arg for one in [*args.args, *args.kwonlyargs]}
            yield node.lineno, "assignments", {*assigned(node)}
        case ast.ClassDef(body=body):
            noted = (one.target for one in body if isinstance(one, ast.AnnAssign))
            yield node.lineno, "fields", {one.id for one in noted if isinstance(one, ast.Name)}
        case ast.Call(keywords=keywords):
            handed = {one.arg for one in keywords if one.arg in words(one.value)}
            yield node.lineno, "handed on", handed
        case ast.Dict(keys=members) | ast.List(elts=members):
            yield node.lineno, "strings", {*strings(members)}
        case ast.Tuple(elts=members) | ast.Set(elts=members):
            yield node.lineno, "strings", {*strings(members)}
        case ast.Constant(value=str(text)):
            lines = re.findall(r"^\s*(\w+(?:, \w+)*) ?:", text, re.MULTILINE)
            yield node.lineno, "docstring", {name for line in lines for name in line.split(", ")}


def assigned(function: ast.FunctionDef) -> Iterator[str]:
    """Yield the attributes that a function assigns."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            parts = (part for target in node.targets for part in ast.walk(target))
            yield from (part.attr for part in parts if isinstance(part, ast.Attribute))


def strings(members: Iterable[ast.expr | None]) -> Iterator[str]:
    """Yield the strings among the members of a table, or those that its rows begin with."""
    for member in members:
        if isinstance(member, (ast.Tuple, ast.List)):
            yield from strings(member.elts[:1])
        elif isinstance(member, ast.Constant) and isinstance(member.value, str):
            yield member.value
