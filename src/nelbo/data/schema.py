"""x = shift + scale * t:  what the user has (x), what the model sees (t), and the Jacobian.

    log p(x) = log p(t) - sum(log scale),    beta^2 in data units = scale^2 * beta^2 of the model

with the sum over the values that are there.

A `Schema` is found once, from the training data, and is from then on the only place that knows
units and layouts (x in any of them, t with channels first).
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nelbo.brief import aligned, selected
from nelbo.data.moments import (
    Scale,
    channel_axis,
    chunks,
    drawn_in,
    first_values,
    fit_channels,
    fit_scaling,
    has_missing,
)
from nelbo.data.rows import InMemory
from nelbo.data.steps.affine import Affine, borrowed
from nelbo.data.steps.dequantise import (
    LEVELS,
    Dequantize,
    Noise,
    check_grey,
    check_noise,
    check_units,
    uniform,
)
from nelbo.data.steps.layout import (
    Layout,
    check_fields,
    conform,
    event_shape,
    infer_layout,
    to_event,
    to_user,
    user_shape,
)
from nelbo.data.steps.whitening import Axes, mix, mixed_variance, unmix
from nelbo.data.table import TableSchema
from nelbo.data.units import Units
from nelbo.data.values import Values

__all__ = ["Schema"]

Array = npt.NDArray[Any]
Vector = npt.NDArray[np.float64]
Found = TypeVar("Found")


@dataclass(frozen=True, eq=False, repr=False)
class Schema:
    """Shape, layout, units and scaling of a data set.

    It is immutable, has a JSON twin, and prints as a short table.

    Attributes:
        kind: "table" for rows (n, d), "images" for the rest.
        shape: The model's event shape: (d,) or (c, h, w); without the columns that are left out.
        layout: How the user holds one example: "flat" (d,), "hw", "hwc" or "chw".
        columns: Names of the d columns, or None.
        dequantize: Whether 8-bit data u8 stand for x = (u8 + U) / 256.
        shift, scale: x = shift + scale * t, float64 in data units; shift is `shape`, scale () or
            `shape`.
        constant: Features (in the user's flat order) that do not vary. Dequantised 8-bit features
            always do.
        discrete: Whether x is one of the whole numbers 0 to 255 itself, and p(x) a probability:
            then nothing is added to the data, and no Jacobian to log p(x).
        mixing: The (d, d) matrix R in x = shift + scale * (R t) of a whitened table; else None.
        left_out: Columns of a table that the model does not see, because they have one value in all
            rows: (index, value) each, in order. What comes out has that value; what goes in must
            have it, or is impossible. Of a column without any value it is NaN: whatever goes in
            there is passed over.
        extent: The least and the greatest value of the training data, as they were; None where it
            is not known.
        table: What the columns are, where they are of different kinds: only those that may be are
            shifted and scaled, the others have shift 0 and scale 1. None where all are numbers.
    """

    kind: Literal["table", "images"]
    shape: tuple[int, ...]
    layout: Layout
    columns: tuple[str, ...] | None
    dequantize: bool
    shift: Vector
    scale: Vector
    constant: tuple[int, ...] = ()
    discrete: bool = False
    mixing: Vector | None = None
    left_out: tuple[tuple[int, float], ...] = ()
    extent: tuple[float, float] | None = None
    table: TableSchema | None = None

    copied = 2**26
    """Bytes of floats up to which training keeps a copy in the model's units."""

    def __post_init__(self) -> None:
        for name in ("shift", "scale", "mixing"):
            value = getattr(self, name)
            if value is not None:
                values = np.array(value, dtype=np.float64)
                values.setflags(write=False)
                object.__setattr__(self, name, values)
        check_fields(self)

    @property
    def scaling(self) -> Literal["global", "standard", "whitened"]:
        """How values are scaled: by one number, each by its own, or freed of correlation."""
        if self.mixing is not None:
            return "whitened"
        if self.scale.ndim:
            return "standard"
        return "global"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schema) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        numbers = (self.shift.tobytes(), self.scale.tobytes())
        return hash((self.kind, self.shape, self.layout, self.columns, *numbers))

    def __repr__(self) -> str:
        notes = [f"images {' × '.join(map(str, self.data_shape))}"]
        if self.kind == "table":
            notes = [f"table of {self.n_features:,} columns"]
            if self.n_features == 1:
                notes = ["table of 1 column"]
        if self.scale.ndim == 0:
            notes.append("one scale")
        else:
            notes.append("a scale for each value")
        if self.mixing is not None:
            notes.append("whitened")
        if self.discrete:
            notes.append("8-bit values taken as they are")
        if self.dequantize:
            notes.append("8-bit, as (u8 + U) / 256")
        if self.constant:
            notes.append(f"{len(self.constant):,} constant")
        return f"Schema({'; '.join(notes)})"

    def __str__(self) -> str:
        """Return a short table: the centre of each column, and the size of a unit of the model."""
        if self.kind != "table":
            return repr(self)
        scale = np.broadcast_to(self.scale, self.shape)
        rows = [("column", "centre", "scale")]
        for i in selected(self.n_features):
            if i is None:
                rows.append(("…", "", ""))
            else:
                rows.append((self.feature_name(i), f"{self.shift[i]:.6g}", f"{scale[i]:.6g}"))
        return "\n".join([repr(self), *aligned(rows)])

    # -- found from data, kept as JSON

    @classmethod
    def infer(
        cls,
        X: Any,
        *,
        scale: Scale = "auto",
        dequantize: bool | Literal["auto"] = "auto",
        columns: Iterable[str] | None = None,
        discrete: bool = False,
        leave_out: bool = False,
        latent_dim: int = 0,
        robust: bool = False,
    ) -> Schema:
        """Find the schema of training data.

        Arguments:
            X: (n, d), (n, h, w), (n, h, w, c) or (n, c, h, w); whatever `validate_array` takes.
            scale: "global": shift by each feature's mean, divide by one number (root mean
                variance), so beta^2 I stays isotropic in data units; "standard": each feature by
                its own deviation (by 1 where it is constant); None: leave the numbers alone;
                "auto": "global" for images and 8-bit data, else "standard"; one number for each
                channel where these differ much, or for each sensor of windows (n, time, sensors).
                "whitened", for tables: standard, and what z is not to explain uncorrelated.
            dequantize: Whether x = (u8 + U) / 256; "auto" for images of uint8 only: a table of
                uint8 holds numbers, and means the same as those numbers in any other type.
            columns: Names of the columns, where X is not a data frame.
            discrete: Whether X holds whole numbers from 0 to 255, uint8 or not, to be taken as they
                are. Then "auto" scales globally and does not dequantise.
            leave_out: Whether to leave columns of a table that have one value in all rows out of
                the model. (Where all have, or where values are dequantised, none is.)
            latent_dim: How many principal axes of whitened data are left to z
                (`data.steps.whitening`).
            robust: Whether shift and scale are those of values whose outliers are drawn in
                (`nelbo.linear.robust`).

        Raises:
            ValueError: An unknown option, data that `validate_array` refuses, or discrete data that
                are not so.
        """
        values = Values.of(X, columns=columns, missing=True)
        _check_options(scale, dequantize)
        if values.table is not None:
            return cls._of_table(values.array, values.table)
        array, images = values.array, values.array.ndim > 2
        if discrete:
            check_grey(array)
        if dequantize == "auto":
            dequantize = _is_pictures(array) and not discrete
        numbers = not dequantize and not discrete
        by_channel = scale == "auto" and images and numbers and array.dtype != np.uint8
        scale = _settled(scale, numbers and not images)
        seen = array
        if values.incomplete and scale == "whitened":
            raise ValueError(
                "scale='whitened' mixes columns, so that it needs complete rows, but X holds "
                "missing values. Use scale='auto'."
            )
        if robust and numbers:
            seen = drawn_in(array)
        found = cls._scaled(seen, scale, bool(dequantize), leave_out, by_channel, latent_dim)
        if seen is not array:
            found = found._reaching_as_far_as(array)
        return dataclasses.replace(found, columns=values.columns, discrete=discrete)

    @classmethod
    def _of_table(cls, array: Array, table: TableSchema) -> Schema:
        """Find the schema of rows (n, d) whose columns are of different kinds."""
        left_out = table.constants
        kept = np.delete(np.arange(array.shape[1]), [j for j, _ in left_out])
        if not len(kept):
            raise ValueError(
                "X has no column to model: each is left out, or has one value in all rows. Pass "
                "columns that vary."
            )
        flat = array[:, kept]
        shift, scale, constant = fit_scaling(flat, "standard", False)
        free = table.continuous[kept]
        return cls(
            kind="table",
            shape=(len(kept),),
            layout="flat",
            columns=table.names,
            dequantize=False,
            shift=np.where(free, shift, 0.0),
            scale=np.where(free, scale, 1.0),
            constant=tuple(sorted({*(j for j, _ in left_out), *kept[[*constant]].tolist()})),
            left_out=left_out,
            extent=_extent(flat),
            table=table,
        )

    def _reaching_as_far_as(self, array: Array) -> Schema:
        """Return the same schema with the least and the largest of all values, outliers too."""
        kept = array.reshape(len(array), -1)[:, self.kept]
        return dataclasses.replace(self, extent=_extent(kept))

    @classmethod
    def _scaled(
        cls,
        array: Array,
        scale: Scale,
        dequantize: bool,
        leave_out: bool,
        by_channel: bool,
        latent_dim: int,
    ) -> Schema:
        """Find shape, layout and scaling, once the options are settled."""
        layout = infer_layout(array.shape)
        shape = event_shape(array.shape[1:], layout)
        flat = array.reshape(len(array), -1)
        shift, factor, constant = fit_scaling(flat, scale, dequantize)
        left_out: tuple[tuple[int, float], ...] = ()
        if layout == "flat":
            left_out = _constants(flat, constant, leave_out)
        if left_out:
            flat = np.delete(flat, [j for j, _ in left_out], axis=1)
            shape = (flat.shape[1],)
            shift, factor, _ = fit_scaling(flat, scale, dequantize)
        if by_channel:
            axis = channel_axis(array, layout)
            if axis is not None:
                factor = fit_channels(array, axis)
        kind: Literal["table", "images"] = "images"
        if layout == "flat":
            kind = "table"
        mixing = None
        if scale == "whitened":
            mixing = Axes.of(flat, shift, factor, latent_dim).root
        return cls(
            mixing=mixing,
            left_out=left_out,
            extent=_extent(flat),
            kind=kind,
            shape=shape,
            layout=layout,
            columns=None,
            dequantize=dequantize,
            shift=_event(shift, shape, layout),
            scale=_event(factor, shape, layout),
            constant=constant,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types from which `from_dict` restores the schema to the last bit."""
        scale = self.scale
        if scale.ndim:
            scale = scale.ravel()
        return {
            "kind": self.kind,
            "shape": list(self.shape),
            "layout": self.layout,
            "columns": _known(list, self.columns),
            "dequantize": self.dequantize,
            "shift": self.shift.ravel().tolist(),
            "scale": scale.tolist(),
            "constant": list(self.constant),
            "discrete": self.discrete,
            "mixing": _known(np.ndarray.tolist, self.mixing),
            "left_out": [[j, _known_number(value)] for j, value in self.left_out],
            "extent": _known(list, self.extent),
            "table": _known(TableSchema.to_dict, self.table),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Schema:
        """Restore what `to_dict` wrote.

        Raises:
            ValueError: A field is missing, unknown, or does not fit the others (named).
        """
        # models may have been saved before there were these fields
        later: dict[str, Any] = {
            "discrete": False,
            "mixing": None,
            "left_out": [],
            "extent": None,
            "table": None,
        }
        fields = {**later, **fields}
        wanted = {field.name for field in dataclasses.fields(cls)}
        if set(fields) != wanted:
            odd = sorted(set(fields) ^ wanted)
            raise ValueError(
                f"schema fields must be {', '.join(sorted(wanted))}; missing or unknown: "
                f"{', '.join(odd)}. Save the model again."
            )
        try:
            shape = tuple(int(size) for size in fields["shape"])
            scale = np.asarray(fields["scale"], dtype=np.float64)
            if scale.ndim:
                scale = scale.reshape(shape)
            mixing = _known(np.asarray, fields["mixing"])
            if mixing is not None:
                mixing = mixing.reshape(shape * 2)
            return cls(
                kind=fields["kind"],
                shape=shape,
                layout=fields["layout"],
                columns=_known(tuple, fields["columns"]),
                dequantize=fields["dequantize"],
                shift=np.asarray(fields["shift"], dtype=np.float64).reshape(shape),
                scale=scale,
                constant=tuple(int(i) for i in fields["constant"]),
                discrete=fields["discrete"],
                mixing=mixing,
                left_out=tuple((int(j), _number(value)) for j, value in fields["left_out"]),
                extent=_known(lambda ends: (float(ends[0]), float(ends[1])), fields["extent"]),
                table=_known(TableSchema.from_dict, fields["table"]),
            )
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"schema fields do not fit together ({error}). Save the model again."
            ) from error

    # -- what it says about the data

    @property
    def n_features(self) -> int:
        """The number D of values in one example, those left out of the model included."""
        return math.prod(self.shape) + len(self.left_out)

    @property
    def kept(self) -> npt.NDArray[np.intp]:
        """Features that the model sees, as places in the user's flat order."""
        return np.delete(np.arange(self.n_features), [j for j, _ in self.left_out])

    @property
    def data_shape(self) -> tuple[int, ...]:
        """The shape of one example as the user holds it."""
        if self.layout == "flat":
            return (self.n_features,)
        return user_shape(self.shape, self.layout)

    @property
    def log_scale_sum(self) -> float:
        """The sum of log scale, and log det mixing: log p(x) = log p(t) - log_scale_sum.

        For a probability it is 0.
        """
        if self.discrete:
            return 0.0
        total = np.log(self.scale).sum()
        if self.scale.ndim == 0:
            total = total * math.prod(self.shape)
        if self.mixing is not None:
            total = total + np.linalg.slogdet(self.mixing)[1]
        return float(total)

    def log_density(self, of_model: Tensor, x: Tensor | None = None) -> Tensor:
        """Return log p(x) for log p(t): here alone the Jacobian is counted.

        Arguments:
            of_model: log p(t) of rows, (n,).
            x: The rows, (n, *shape), where values may be missing (NaN): in model units or in those
                of the data. Then the Jacobian of each row is that of the values that are there.
                None stands for complete rows.

        Raises:
            ValueError: Values are missing, and the scaling mixes columns.
        """
        if x is None or not bool(x.isnan().any()):
            return of_model - self.log_scale_sum
        self._check_unmixed()
        return of_model - self._log_scale_there(~x.isnan()).to(of_model)

    @property
    def log_scales(self) -> npt.NDArray[np.float64]:
        """The logarithm of the scale of each value of the model, flat."""
        found: npt.NDArray[np.float64] = np.log(np.broadcast_to(self.scale, self.shape)).ravel()
        return found

    def _log_scale_there(self, there: Tensor) -> Tensor:
        """Return the sum of log scale over the values of each row that are ``there``, (n,)."""
        if self.discrete:
            return torch.zeros(len(there), dtype=torch.float64)
        return there.double().flatten(1).cpu() @ torch.from_numpy(self.log_scales)

    def _check_unmixed(self) -> None:
        """Refuse missing values where each value of the model is made of all columns.

        Raises:
            ValueError: It is so.
        """
        if self.mixing is not None:
            raise ValueError(
                "X holds missing values, but the scaling mixes columns. Ask nelbo.Fitted, which "
                "undoes that, or fit with scale='standard'."
            )

    @property
    def grid(self) -> tuple[Vector, Vector]:
        """The bins of t: the lower edge of that of x = 0, `shape`, and the width, () or `shape`."""
        return (-0.5 - self.shift) / self.scale, 1 / self.scale

    def feature_name(self, index: int) -> str:
        """Name a feature by its place in the user's order: 'age', "column 3", "pixel (4, 7)"."""
        if self.columns is not None:
            return self.columns[index]
        if self.kind == "table":
            return f"column {index}"
        return f"pixel ({', '.join(str(int(i)) for i in np.unravel_index(index, self.data_shape))})"

    def place_of(self, column: str | int, what: str = "column") -> int:
        """Return the place of a column of a table, given by its name or its place.

        Arguments:
            column: Its name, or its place from 0.
            what: What the error calls the argument that holds it.

        Raises:
            ValueError: There is none.
        """
        if isinstance(column, int | np.integer) and not isinstance(column, bool):
            if 0 <= column < self.n_features:
                return int(column)
        elif self.columns is not None and column in self.columns:
            return self.columns.index(str(column))
        known = f"places from 0 to {self.n_features - 1}"
        hint = ""
        if self.columns is not None:
            close = difflib.get_close_matches(str(column), self.columns, n=1)
            hint = "".join(f" Did you mean {one!r}?" for one in close)
            known = ", ".join(map(repr, self.columns[:20]))
            if len(self.columns) > 20:
                known += ", …"
        raise ValueError(f"{what} names {column!r}, which is no column.{hint} Known: {known}.")

    def constant_features(self) -> list[str]:
        """Return the names of the features that do not vary in the training data."""
        return [self.feature_name(index) for index in self.constant]

    def check_columns(self, columns: Iterable[str] | None) -> None:
        """Raise ValueError where named columns are not those of the training data, in order."""
        if columns is None or self.columns is None:
            return
        got = tuple(str(name).strip() for name in columns)
        # some programs keep blanks around names, some do not
        wanted = tuple(name.strip() for name in self.columns)
        if len(got) == len(wanted) and got != wanted:
            j = next(j for j, (a, b) in enumerate(zip(got, wanted, strict=True)) if a != b)
            raise ValueError(
                f"X has column {got[j]!r} in place {j}, where this model was fitted on "
                f"{self.columns[j]!r}. Pass the same columns in the same order."
            )

    # -- there and back

    def to_model(
        self,
        X: Any,
        *,
        noise: Noise,
        dtype: torch.dtype = torch.float32,
        columns: Iterable[str] | None = None,
    ) -> Tensor:
        """Return t = (x - shift) / scale as the model sees it, (n, *shape), on the CPU.

        Arguments:
            X: Data in the layout of the training data, or one example per flat row in that layout's
                order.
            noise: U of 8-bit data in x = (u8 + U) / 256: a generator (training), "hash"
                (evaluation: a pure function of each row's content), or "centre" (0.5). Floats are
                taken to be x already.
            dtype: Floating type of the result; the arithmetic is float64, but for 8-bit data asked
                for in float32.
            columns: Names of X's columns, checked against the training data's; a data frame brings
                its own.

        Raises:
            ValueError: Another number of features, shape or column order; values beyond the units
                of x; dtype.
        """
        check_noise(noise)
        if not dtype.is_floating_point:
            raise ValueError(
                f"dtype must be a floating type, got {dtype}. Pass torch.float32 or torch.float64."
            )
        values = Values.of(X, columns=columns, missing=True)
        if values.incomplete:
            self._check_unmixed()
        flat = self.conformed(values.array)
        self.check_columns(values.columns)
        shift, scale = (torch.from_numpy(self._flat(a).copy()) for a in (self.shift, self.scale))
        out = torch.empty((len(flat), *self.shape), dtype=dtype)
        work = torch.float64
        if self.dequantize and flat.dtype == np.uint8 and dtype == torch.float32:
            work = torch.float32  # twice as fast, and exact enough beside noise of 1e-3
        shift, scale = shift.to(work), scale.to(work)
        for rows in chunks(*flat.shape):
            part = flat[rows]
            if self.left_out:
                part = part[:, self.kept]
            x = self.units_of(part, noise, work).sub_(shift).div_(scale)
            if self.mixing is not None:
                x = unmix(x, self.mixing)
            out[rows] = to_event(x, self.shape, self.layout)
        return out

    def stored(self, X: Any, keep: bool = True) -> tuple[Tensor, Dequantize | Affine | None]:
        """Return rows as they are best kept for training, and what turns a batch of them into t.

        8-bit pictures stay bytes (n, *shape), and get new U at every visit. Other data are scaled
        at once (None), but for large ones (`copied`), which stay as they are (n, D), and are never
        written to.

        Arguments:
            X: Rows.
            keep: Whether large data may stay as they are: training on a GPU needs a copy in any
                case.

        Raises:
            ValueError: As `to_model`.
        """
        values = Values.of(X, missing=True)
        array = values.array
        if self.dequantize and array.dtype == np.uint8:
            rows = borrowed(self.conformed(array))
            bytes_ = to_event(rows, self.shape, self.layout).contiguous()
            return bytes_, Dequantize(self.shift, self.scale)
        if not keep or array.nbytes <= self.copied or array.dtype == np.uint8 or self.left_out:
            return self.to_model(values, noise="centre"), None
        flat = self.conformed(array)
        for part in chunks(*flat.shape):
            self._check_units(flat[part])
        rows, numbers = borrowed(flat), (self._flat(self.shift), self._flat(self.scale))
        return rows, Affine(*numbers, self.mixing, self.shape, self.layout, rows.dtype)

    def rows(
        self,
        X: Any,
        keep: bool = True,
        index: Tensor | None = None,
        generator: torch.Generator | None = None,
        c: Tensor | None = None,
    ) -> InMemory:
        """Return rows as a model is trained on them, which know its units and their own.

        Arguments:
            X: Rows.
            keep: As in `stored`.
            index: The numbers of the rows to take, int64; None is all.
            generator: Source of noise where rows are read outside of training.
            c: What each row is conditioned on, (n, k), as networks read it.

        Raises:
            ValueError: As `to_model`.
        """
        values = Values.of(X, missing=True)
        stored, step = self.stored(values, keep)
        return InMemory(
            stored,
            c,
            step=step,
            index=index,
            generator=generator,
            units=self.units_for(values),
            checked=True,
            missing=values.incomplete,
        )

    def units_for(self, values: Values) -> Units:
        """Return what turns numbers of the model into those of the data; of incomplete rows, their
        mean Jacobian, which bounds that are means over such rows are to have.
        """
        if not values.incomplete:
            return self.units
        flat, total = self.conformed(values.array), 0.0
        for rows in chunks(*flat.shape):
            there = torch.from_numpy(~np.isnan(flat[rows][:, self.kept]))
            there = to_event(there, self.shape, self.layout)
            total += float(self._log_scale_there(there).sum())
        return dataclasses.replace(self.units, log_density=-total / len(flat))

    @property
    def units(self) -> Units:
        """What turns numbers of the model into those of the data."""
        density, scale = -self.log_scale_sum, torch.tensor(self.scale)
        if self.kind != "table" or self.dequantize or self.discrete:
            return Units(density, scale)

        def columns(t: Tensor) -> Tensor:
            return torch.from_numpy(self.from_model(t.double()))

        numbers = None
        if self.table is not None:
            numbers = torch.from_numpy(self.table.numbers)
        return Units(density, scale, columns, self.feature_name, numbers)

    def conformed(self, array: Array) -> Array:
        """Return rows (n, D) in the user's order, if their shape fits."""
        shape = self.shape
        if self.layout == "flat":
            shape = self.data_shape
        return conform(array, shape, self.layout)

    def units_of(self, rows: Array, noise: Noise, work: torch.dtype) -> Tensor:
        """Return x of flat rows (n, D), a copy in data units: 8-bit data are given their noise."""
        self._check_units(rows)
        x = torch.tensor(rows, dtype=work)
        if self.dequantize and rows.dtype == np.uint8:
            return x.add_(uniform(rows, noise)).div_(LEVELS)
        return x

    def _check_units(self, rows: Array) -> None:
        """Raise ValueError where some flat rows cannot be x."""
        if self.discrete:
            check_grey(rows)
        if self.dequantize and rows.dtype != np.uint8:
            check_units(rows)

    def from_model(self, t: Tensor | Array, drawn: bool = False) -> Array:
        """Return x = shift + scale * t, (n, *data_shape); float64 if t is, else float32.

        Arguments:
            t: Values of the model, of shape (n, *shape).
            drawn: Whether they were drawn from p(x|z), rather than means: discrete ones are then
                whole numbers.

        Raises:
            ValueError: t is not of shape (n, *shape).
        """
        if isinstance(t, Tensor):
            values = t.detach().cpu()
        else:
            values = torch.tensor(t)
        if tuple(values.shape[1:]) != self.shape:
            raise ValueError(
                f"t must have shape (n, {', '.join(map(str, self.shape))}), got "
                f"{tuple(values.shape)}. Pass the decoder's output."
            )
        dtype: type[np.floating[Any]] = np.float32
        if values.dtype == torch.float64 or self.table is not None:
            dtype = np.float64
        out = np.empty((len(values), *self.data_shape), dtype=dtype)
        shift, scale = torch.tensor(self.shift), torch.tensor(self.scale)
        for j, value in self.left_out:
            out[:, j] = value
        for rows in chunks(len(values), self.n_features):
            part = values[rows].double()
            if self.mixing is not None:
                part = mix(part, self.mixing)
            x = part.mul(scale).add_(shift)
            if drawn and self.discrete:
                x = x.round_().abs_()
            x = to_user(x, self.layout)
            if self.left_out:
                out[rows, self.kept] = x.numpy()
            else:
                out[rows] = x.numpy()
        return out

    # -- what cannot be

    def possible(self, X: Any) -> npt.NDArray[np.bool_]:
        """Return which rows have, in columns left out of the model, the value of these: (n,).

        Rounding to float32 makes no difference, and a value that is missing has none. For any other
        value p(x) = 0.

        Raises:
            ValueError: As `to_model`.
        """
        array = Values.of(X, missing=True).array
        found = np.ones(len(array), dtype=np.bool_)
        flat = self.conformed(array)
        for j, value in self.left_out:
            found &= _same(flat[:, j], value)
        return found

    def impossible_values(self, X: Any) -> dict[str, npt.NDArray[np.intp]]:
        """Return the rows in which a column that is left out has another value, by its name."""
        flat = self.conformed(Values.of(X, missing=True).array)
        found = {
            self.feature_name(j): np.flatnonzero(~_same(flat[:, j], value))
            for j, value in self.left_out
        }
        return {name: rows for name, rows in found.items() if len(rows)}

    # -- noise and nats in data units

    def variance_from_model(self, v: float | Array | Tensor) -> float | Vector:
        """Return beta^2 in data units, scale^2 * v: one number if v and the scale are, else (D,).

        Columns that are left out of the model have none: 0.

        Arguments:
            v: beta^2 of the model: one number, or one per feature, of shape `shape`; out, in the
                user's order.
        """
        if isinstance(v, Tensor):
            v = v.detach().cpu().double().numpy()
        values = np.asarray(v, dtype=np.float64)
        if values.size == 1 and math.prod(self.shape) > 1:
            values = values.reshape(())
        elif values.ndim:
            values = values.reshape(self.shape)
        if self.mixing is not None:
            values = mixed_variance(values, self.mixing)
        product = values * self.scale**2
        if product.ndim == 0 and not self.left_out:
            return float(product)
        return self.to_user_flat(np.broadcast_to(product, self.shape))

    def variance_to_model(self, v: float) -> Vector:
        """Return beta^2 of the model for v in data units, v / scale^2: shape () or `shape`."""
        return np.asarray(v / self.scale**2, dtype=np.float64)

    def bits_per_dimension(self, nats: Any) -> Any:
        """Return bits per dimension of 8-bit data, None for other data.

        They are -(log p(x) - D log 256) / (D log 2) where p(x) is a density, and
        -log p(x) / (D log 2) where it is a probability.

        Arguments:
            nats: log p(x) per example: a number or an array.
        """
        if not (self.dequantize or self.discrete):
            return None
        d = self.n_features
        if not self.discrete:
            nats = nats - d * math.log(LEVELS)
        return -nats / (d * math.log(2))

    def to_user_flat(self, values: Vector) -> Vector:
        """Return values of shape `shape` in the user's order (D,), 0 for what is left out.

        A scalar stays one.
        """
        found = self._flat(values)
        if values.ndim == 0 or not self.left_out:
            return found
        whole = np.zeros(self.n_features, dtype=found.dtype)
        whole[self.kept] = found
        return whole

    def _flat(self, values: Vector) -> Vector:
        """Return the same without what is left out."""
        if values.ndim == 0:
            return values
        return to_user(torch.tensor(values)[None], self.layout).reshape(-1).numpy()


def _event(values: Vector, shape: tuple[int, ...], layout: Layout) -> Vector:
    """Return values in the user's flat order (D,), or one number, as the model sees them."""
    if values.ndim == 0:
        return values
    return to_event(torch.from_numpy(values)[None], shape, layout)[0].numpy()


def _is_pictures(array: Array) -> bool:
    """Return whether rows are images of 8 bits: a table of these holds numbers."""
    return array.dtype == np.uint8 and array.ndim > 2


def _check_options(scale: object, dequantize: object) -> None:
    """Refuse what `Schema.infer` does not know."""
    known = ("auto", "global", "standard", "whitened", None)
    if isinstance(scale, np.ndarray) or scale not in known:
        raise ValueError(
            f"scale must be 'auto', 'global', 'standard', 'whitened' or None, got {scale!r}. "
            "Leave it at 'auto' if in doubt."
        )
    if not isinstance(dequantize, bool | np.bool_) and dequantize != "auto":
        raise ValueError(
            f"dequantize must be 'auto', True or False, got {dequantize!r}. Leave it at 'auto' if "
            "in doubt."
        )


def _settled(scale: Scale, numbers: bool) -> Scale:
    """Return the scaling of a table of numbers, or of images and 8-bit data, instead of "auto"."""
    if scale == "whitened" and not numbers:
        raise ValueError(
            "scale='whitened' is for tables of numbers, got images or 8-bit data. Use scale='auto'."
        )
    if scale != "auto":
        return scale
    if numbers:
        return "standard"
    return "global"


def _constants(
    flat: Array, constant: tuple[int, ...], leave_out: bool
) -> tuple[tuple[int, float], ...]:
    """Return the columns of rows (n, D) to leave out, with their values: those with one value where
    they are to be left out, and those without any; none if all were.
    """
    first = first_values(flat[:, constant])
    found = tuple(
        (j, float(value))
        for j, value in zip(constant, first, strict=True)
        if np.isnan(value) or (leave_out and _is_one_value(flat, j, float(value)))
    )
    if len(found) == flat.shape[1]:
        return ()
    return found


def _same(values: Array, constant: float, rounding: float = 1e-6) -> npt.NDArray[np.bool_]:
    """Return which values may be the constant, but for being rounded to float32 on their way: a
    missing one may, and any where the constant is missing.
    """
    away = np.abs(values.astype(np.float64) - constant)
    found: npt.NDArray[np.bool_] = (away <= rounding * abs(constant)) | np.isnan(away)
    return found


def _is_one_value(flat: Array, j: int, value: float) -> bool:
    """Return whether column j of rows (n, D) has this value wherever it has one."""
    return all(_same(flat[rows, j], value).all() for rows in chunks(len(flat), 1))


def _extent(flat: Array) -> tuple[float, float] | None:
    """Return the least and the greatest value of rows that are there; None where none is."""
    if not has_missing(flat):
        return float(flat.min()), float(flat.max())
    if np.isnan(flat).all():
        return None
    return float(np.nanmin(flat)), float(np.nanmax(flat))


def _known_number(value: float) -> float | None:
    """Return a number as JSON holds it, which knows no NaN."""
    return None if math.isnan(value) else value


def _number(value: float | None) -> float:
    """Undo `_known_number`."""
    return math.nan if value is None else float(value)


def _known(make: Callable[[Any], Found], value: Any) -> Found | None:
    """Return what is made of a field, None where it is None."""
    if value is None:
        return None
    return make(value)
