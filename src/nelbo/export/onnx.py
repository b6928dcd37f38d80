"""Graphs of a fitted model as ONNX files, each held against torch before it is written."""

from __future__ import annotations

__all__ = ["Exported", "Graph", "export", "to_onnx"]

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..brief import Brief, aligned
from ..checkpoint import CheckpointError
from ..fitted import Fitted
from ..integers import integer
from ..whole import write_folder
from .decompose import decomposed
from .graphs import Decoder, Encoder, Exact, score_of

Array = npt.NDArray[Any]


@dataclass(frozen=True, repr=False)
class Graph(Brief):
    """A graph that was exported.

    Attributes:
        name: What it is called, and its file but for ".onnx".
        says: What it computes.
        inputs: The shape of each input, by name; n is the number of rows.
        outputs: The shape of each output, by name.
        gap: How far its outputs are from those of torch, at most: of y, |difference| / (1 + |y|).
        size: Bytes.
    """

    name: str
    says: str
    inputs: dict[str, list[str | int]]
    outputs: dict[str, list[str | int]]
    gap: float
    size: int

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        return {"file": f"{self.name}.onnx", **vars(self)}


@dataclass(frozen=True, repr=False)
class Exported(Brief):
    """What an export wrote; it prints as a short table.

    Attributes:
        graphs: One for each file.
        opset: The version of ONNX's operators that they need.
        rows: How many rows they were held against torch on.
        columns: What the numbers of x are, where its columns are of different kinds: of each its
            name, kind and form, and the levels that 0, 1, … stand for. A date is a number of days
            since 1970, a duration one of seconds; x_hat of two levels is the probability of the
            second, of more unordered ones the index of the most probable.
        missing: Whether x may hold missing values, which are NaN.
        condition: What the numbers of c are, in their order: "labels" has one for each of its
            values, 1 for the one it is and 0 for the others, and "number" one, less its centre and
            over its scale.
    """

    graphs: tuple[Graph, ...]
    opset: int
    rows: int
    columns: tuple[dict[str, Any], ...] = ()
    missing: bool = False
    condition: tuple[dict[str, Any], ...] = ()

    def __str__(self) -> str:
        rows = [("file", "inputs", "outputs", "KiB", "from torch")]
        for graph in self.graphs:
            shapes = (_shapes(graph.inputs), _shapes(graph.outputs))
            size = f"{graph.size / 1024:,.0f}"
            rows.append((f"{graph.name}.onnx", *shapes, size, f"{graph.gap:.1e}"))
        return "\n".join([*aligned(rows), f"ONNX opset {self.opset}, float32, units of the data."])

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        graphs = [graph.to_dict() for graph in self.graphs]
        found = {"opset": self.opset, "rows": self.rows, "missing": self.missing, "graphs": graphs}
        if self.columns:
            found["columns"] = list(self.columns)
        if self.condition:
            found["condition"] = list(self.condition)
        return found


def export(
    model: Fitted,
    folder: str | PathLike[str],
    overwrite: bool = False,
    samples: int = 100,
    seed: int = 0,
    rows: int = 64,
    tolerance: float = 1e-4,
) -> Exported:
    """Write encoder.onnx, decoder.onnx, score.onnx, and graphs.json, which describes them.

    Inputs and outputs are float32 in the units and the layout of the data; 8-bit images are
    x = (u8 + 1/2) / 256. Of a table whose columns are of different kinds x holds the numbers that
    `nelbo.data.TableSchema.encode` makes of a frame, and graphs.json says what they are: "columns",
    with the levels of each. The score is log p(x) where it has a closed form, else a bound by draws
    of q(z|x) that are part of the graph (`nelbo.export.Score`).

    Arguments:
        model: The model.
        folder: Where to write; all or nothing is written.
        overwrite: Whether to replace a folder that is there.
        samples: Draws of the bound, for each row.
        seed: Seed of the draws, and of the rows that graphs are held against torch on.
        rows: How many rows these are: samples of the model.
        tolerance: How far an output y may be from torch's, at most: |difference| / (1 + |y|).

    Raises:
        ImportError: A package of the extra ``onnx`` is missing.
        FileExistsError: The folder is there, and ``overwrite`` is False.
        CheckpointError: A graph does not compute what torch does.
    """
    path = Path(folder)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists. Choose another folder, or pass overwrite=True.")
    integer("samples", samples)
    found, files = _graphs(model, samples, seed, rows, tolerance)
    told = json.dumps(found.to_dict(), indent=2, ensure_ascii=False) + "\n"

    def fill(part: Path) -> None:
        for name, data in files.items():
            (part / f"{name}.onnx").write_bytes(data)
        (part / "graphs.json").write_text(told, encoding="utf-8")

    write_folder(path, fill)
    return found


def _graphs(
    model: Fitted, samples: int, seed: int, rows: int, tolerance: float
) -> tuple[Exported, dict[str, bytes]]:
    """Return what is written, and the files by name."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, model.vae.latent_dim, generator=generator)
    given: tuple[Tensor, ...] = ()
    drawn: Any = None
    if model.condition is not None:
        drawn = model.condition.draw(rows, seed)
        given = (model.condition.encode(drawn).float(),)
    x = torch.from_numpy(np.asarray(model.sample(rows, seed=seed, c=drawn), dtype=np.float32))
    score = score_of(model, samples, seed)
    bound = f"A lower bound on log p(x) in nats, by {samples} draws of q(z|x)."
    if isinstance(score, Exact):
        bound = "log p(x) in nats, exact."
    holes = x
    if model.vae.takes_missing:
        gone = torch.rand(x.shape, generator=generator) < 0.25
        gone[::2] = False  # every other row is whole
        holes = x.masked_fill(gone, torch.nan)
        if not isinstance(score, Exact):
            x = holes
    tasks: dict[str, tuple[nn.Module, tuple[Tensor, ...], str]] = {
        "encoder": (Encoder(model), (holes, *given), "Mean and standard deviation of q(z|x)."),
        "decoder": (Decoder(model), (z, *given), "Mean of p(x|z), and deviation of its noise."),
        "score": (score, (x, *given), bound),
    }
    graphs, files, opset = [], {}, 0
    for name, (graph, inputs, says) in tasks.items():
        names = [{"decoder": "z"}.get(name, "x"), "c"][: len(inputs)]
        data, opset = to_onnx(graph.eval(), inputs, names)
        outputs, gap = _held_against(graph, data, inputs, names)
        if not gap <= tolerance:
            raise CheckpointError(
                f"The {name} computes other numbers in ONNX than in torch: they differ by "
                f"{gap:.1e} of 1 + their size, more than {tolerance:g}. Nothing was written."
            )
        taken = dict(zip(names, map(_shape, inputs), strict=True))
        graphs.append(Graph(name, says, taken, outputs, gap, len(data)))
        files[name] = data
    told = _columns(model), model.vae.takes_missing, _condition(model)
    return Exported(tuple(graphs), opset, rows, *told), files


def _columns(model: Fitted) -> tuple[dict[str, Any], ...]:
    """Return what the numbers of x are, where columns are of different kinds."""
    table = model.schema.table
    if table is None:
        return ()
    found = []
    for column in table.in_model:
        known: dict[str, Any] = {"name": column.name, "kind": column.kind, "form": column.form}
        if column.labels:
            known["levels"] = list(column.labels)
        found.append(known)
    return tuple(found)


def _condition(model: Fitted) -> tuple[dict[str, Any], ...]:
    """Return what the numbers of c are."""
    if model.condition is None:
        return ()
    found = [column.to_dict() for column in model.condition.columns]
    return tuple({key: value for key, value in one.items() if key != "shares"} for one in found)


def to_onnx(graph: nn.Module, inputs: tuple[Tensor, ...], names: list[str]) -> tuple[bytes, int]:
    """Return a graph in ONNX's format, whose first axis may have any size, and its opset.

    Arguments:
        graph: A module with an attribute ``names``, the names of its outputs.
        inputs: Inputs of at least two rows, by which it is traced.
        names: What they are called.

    Raises:
        ImportError: A package of the extra ``onnx`` is missing.
        CheckpointError: torch cannot export it.
    """
    _needed()
    try:
        program = _program(graph, inputs, names)
    except RuntimeError as error:  # of torch.export, and of torch.onnx.export
        raise CheckpointError(
            f"{type(graph).__name__} of this model cannot be written as a graph: "
            f"{_first_line(error)}. Parts of your own must be such that torch.export takes them."
        ) from error
    if program is None:
        raise CheckpointError("torch.onnx.export returned no graph.")
    return program.model_proto.SerializeToString(), int(program.model.opset_imports.get("", 0))


def _first_line(error: Exception) -> str:
    """Return the kind of an error, and the first line of what it says."""
    said = " ".join(str(error).strip().splitlines()[:1])
    return f"{type(error).__name__} {said}".strip().rstrip(".")


def _program(graph: nn.Module, inputs: tuple[Tensor, ...], names: list[str]) -> Any:
    """Return what torch's exporter makes of a graph."""
    shapes = tuple({0: torch.export.Dim("n", min=2)} for _ in inputs)
    with _quiet(), torch.no_grad():
        traced = torch.export.export(
            graph,
            inputs,
            dynamic_shapes=shapes,
            strict=False,
            prefer_deferred_runtime_asserts_over_guards=True,
        )
        return torch.onnx.export(
            decomposed(traced),
            (),
            dynamo=True,
            input_names=names,
            output_names=[*graph.names],  # type: ignore[misc]
            verbose=False,
        )


def _held_against(
    graph: nn.Module, data: bytes, inputs: tuple[Tensor, ...], names: list[str]
) -> tuple[dict[str, list[str | int]], float]:
    """Return the shapes of a graph's outputs, and how far they are from torch's at most."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    feed = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
    got = session.run(None, feed)
    with torch.no_grad():
        wanted = graph(*inputs)
    if isinstance(wanted, Tensor):
        wanted = (wanted,)
    gaps = [
        float((np.abs(a - b) / (1 + np.abs(b))).max())
        for a, b in zip(got, (w.numpy() for w in wanted), strict=True)
    ]
    outputs = dict(zip(graph.names, map(_shape, wanted), strict=True))  # type: ignore[arg-type]
    return outputs, max(gaps)


def _shape(value: Tensor) -> list[str | int]:
    """Return the shape of a value, whose first axis is that of rows."""
    return ["n", *value.shape[1:]]


def _shapes(named: dict[str, list[str | int]]) -> str:
    return "; ".join(f"{name} ({', '.join(map(str, shape))})" for name, shape in named.items())


def _needed() -> None:
    """Raise ImportError where a package is missing."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f'{error.name} is not installed, which exports graphs. Run: pip install "nelbo[onnx]"'
        ) from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter from telling of packages that nobody asked for."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
