"""x = shift + scale * t:  what the user has (x), what the model sees (t), and the Jacobian between
them.

    log p(x) = log p(t) - sum(log scale),    beta^2 in data units = scale^2 * beta^2 of the model

A `Schema` is found once, from the training data, and is from then on the only place that knows
units and layouts (x in any of them, t with channels first).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nelbo.brief import aligned, selected
from nelbo.data.moments import Scale, channel_axis, chunks, fit_channels, fit_scaling
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
from nelbo.data.units import Units
from nelbo.data.values import Values

__all__ = ["Schema"]

Array = npt.NDArray[Any]
Vector = npt.NDArray[np.float64]
COPIED = 2**26
"""Bytes of floats up to which training keeps a copy in the model's units."""


@dataclass(frozen=True, eq=False, repr=False)
class Schema:
    """Shape, layout, units and scaling of a data set; immutable, and JSON there and back; prints as
    a short table.

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
        mixing: Of a whitened table, the (d, d) matrix R in x = shift + scale * (R t); else None.
        left_out: Columns of a table that the model does not see, because they have one value in all
            rows: (index, value) each, in order. What comes out has that value; what goes in must
                have it, or is impossible.
        extent: The least and the greatest value of the training data, as they were; None where it
            is not known.
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

    def __post_init__(self) -> None:
        for name in ("shift", "scale") if self.mixing is None else ("shift", "scale", "mixing"):
            values = np.array(getattr(self, name), dtype=np.float64)
            values.setflags(write=False)
            object.__setattr__(self, name, values)
        check_fields(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schema) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(
            (
                self.kind,
                self.shape,
                self.layout,
                self.columns,
                self.shift.tobytes(),
                self.scale.tobytes(),
            )
        )

    def __repr__(self) -> str:
        size = f"{self.n_features:,} column{'s' if self.n_features > 1 else ''}"
        what = (
            f"table of {size}"
            if self.kind == "table"
            else f"images {' × '.join(map(str, self.data_shape))}"
        )
        scaled = "one scale" if self.scale.ndim == 0 else "a scale for each value"
        notes = ["whitened"] if self.mixing is not None else []
        notes += ["8-bit values taken as they are"] if self.discrete else []
        notes += ["8-bit, as (u8 + U) / 256"] if self.dequantize else []
        notes += [f"{len(self.constant):,} constant"] if self.constant else []
        return f"Schema({'; '.join([what, scaled, *notes])})"

    def __str__(self) -> str:
        """Return a short table: where each column is centred, and what one unit of the model is in
        its units.
        """
        if self.kind != "table":
            return repr(self)
        scale = np.broadcast_to(self.scale, self.shape)
        rows = [
            ["…", "", ""]
            if i is None
            else [self.feature_name(i), f"{self.shift[i]:.6g}", f"{scale[i]:.6g}"]
            for i in selected(self.n_features)
        ]
        return "\n".join([repr(self), *aligned([("column", "centre", "scale"), *rows])])

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
            leave_out: Whether columns of a table that have one value in all rows are no part of the
                model. (Where all have, or where values are dequantised, none is.)
            latent_dim: Of whitened data, how many principal axes are left to z (`data.whitening`).

        Raises:
            ValueError: An unknown option, data that `validate_array` refuses, or discrete data that
                are not so.
        """
        values = Values.of(X, columns=columns)
        array, names = values.array, values.columns
        if isinstance(scale, np.ndarray) or scale not in (
            "auto",
            "global",
            "standard",
            "whitened",
            None,
        ):
            raise ValueError(
                f"scale must be 'auto', 'global', 'standard', 'whitened' or None, got {scale!r}. "
                "Leave it at 'auto' if in doubt."
            )
        if not (isinstance(dequantize, bool | np.bool_) or dequantize == "auto"):
            raise ValueError(
                f"dequantize must be 'auto', True or False, got {dequantize!r}. Leave it at 'auto' "
                "if in doubt."
            )
        eight_bit, images = array.dtype == np.uint8, array.ndim > 2
        noisy = (
            (eight_bit and images and not discrete) if dequantize == "auto" else bool(dequantize)
        )
        if discrete:
            check_grey(array)
        by_channel = scale == "auto" and images and not (eight_bit or discrete or noisy)
        if scale == "auto":
            scale = "global" if images or noisy or discrete else "standard"
        if scale == "whitened" and (images or noisy or discrete):
            raise ValueError(
                "scale='whitened' is for tables of numbers, got images or 8-bit data. Use "
                "scale='auto'."
            )
        layout = infer_layout(array.shape)
        shape = event_shape(array.shape[1:], layout)
        flat = array.reshape(len(array), -1)
        shift, factor, constant = fit_scaling(flat, scale, noisy)
        left_out: tuple[tuple[int, float], ...] = ()
        if leave_out and constant and not images:
            left_out = tuple((j, float(flat[0, j])) for j in constant if _is_one_value(flat, j))
        if len(left_out) == flat.shape[1]:
            left_out = ()
        if left_out:
            flat = np.delete(flat, [j for j, _ in left_out], axis=1)
            shape = (flat.shape[1],)
            shift, factor, _ = fit_scaling(flat, scale, noisy)
        axis = channel_axis(array, layout) if by_channel else None
        if axis is not None:
            factor = fit_channels(array, axis)
        mixing = Axes.of(flat, shift, factor, latent_dim).root if scale == "whitened" else None
        return cls(
            mixing=mixing,
            left_out=left_out,
            extent=(float(flat.min()), float(flat.max())),
            kind="images" if images else "table",
            shape=shape,
            layout=layout,
            columns=names,
            dequantize=noisy,
            shift=_event(shift, shape, layout),
            scale=_event(factor, shape, layout),
            constant=constant,
            discrete=discrete,
        )

    def to_dict(self) -> dict[str, Any]:
        """A dictionary of JSON types from which `from_dict` restores the schema to the last bit."""
        return {
            "kind": self.kind,
            "shape": list(self.shape),
            "layout": self.layout,
            "columns": None if self.columns is None else list(self.columns),
            "dequantize": self.dequantize,
            "shift": self.shift.ravel().tolist(),
            "scale": self.scale.tolist() if self.scale.ndim == 0 else self.scale.ravel().tolist(),
            "constant": list(self.constant),
            "discrete": self.discrete,
            "mixing": None if self.mixing is None else self.mixing.tolist(),
            "left_out": [list(column) for column in self.left_out],
            "extent": None if self.extent is None else list(self.extent),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Schema:
        """Restore what `to_dict` wrote.

        Raises:
            ValueError: A field is missing, unknown, or does not fit the others (named).
        """
        fields = {
            "discrete": False,
            "mixing": None,
            "left_out": [],
            "extent": None,
            **fields,
        }  # models saved before there were such fields
        wanted = set(cls.__dataclass_fields__)
        if set(fields) != wanted:
            odd = sorted(set(fields) ^ wanted)
            raise ValueError(
                f"schema fields must be {', '.join(sorted(wanted))}; missing or unknown: "
                f"{', '.join(odd)}. "
                "Save the model again."
            )
        try:
            shape = tuple(int(size) for size in fields["shape"])
            scale = np.asarray(fields["scale"], dtype=np.float64)
            return cls(
                kind=fields["kind"],
                shape=shape,
                layout=fields["layout"],
                columns=None if fields["columns"] is None else tuple(fields["columns"]),
                dequantize=fields["dequantize"],
                shift=np.asarray(fields["shift"], dtype=np.float64).reshape(shape),
                scale=scale if scale.ndim == 0 else scale.reshape(shape),
                constant=tuple(int(i) for i in fields["constant"]),
                discrete=fields["discrete"],
                mixing=None
                if fields["mixing"] is None
                else np.asarray(fields["mixing"]).reshape(shape * 2),
                left_out=tuple((int(j), float(value)) for j, value in fields["left_out"]),
                extent=None
                if fields["extent"] is None
                else (float(fields["extent"][0]), float(fields["extent"][1])),
            )
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"schema fields do not fit together ({error}). Save the model again."
            ) from error

    # -- what it says about the data

    @property
    def n_features(self) -> int:
        """D, the number of values in one example, those included that are left out of the model."""
        return math.prod(self.shape) + len(self.left_out)

    @property
    def kept(self) -> npt.NDArray[np.intp]:
        """Features that the model sees, as places in the user's flat order."""
        return np.delete(np.arange(self.n_features), [j for j, _ in self.left_out])

    @property
    def data_shape(self) -> tuple[int, ...]:
        """The shape of one example as the user holds it."""
        return (self.n_features,) if self.layout == "flat" else user_shape(self.shape, self.layout)

    @property
    def log_scale_sum(self) -> float:
        """sum_j log scale_j (and log det mixing): log p(x) = log p(t) - log_scale_sum; 0 for a
        probability.
        """
        if self.discrete:
            return 0.0
        total = np.log(self.scale).sum() * (math.prod(self.shape) if self.scale.ndim == 0 else 1)
        return float(total + (0 if self.mixing is None else np.linalg.slogdet(self.mixing)[1]))

    def log_density(self, of_model: Tensor) -> Tensor:
        """Return log p(x) for log p(t): here alone the Jacobian is counted."""
        return of_model - self.log_scale_sum

    @property
    def grid(self) -> tuple[Vector, Vector]:
        """The lower edge of the bin of x = 0, of shape `shape`, and the width of all bins, () or
        `shape`, for t.
        """
        return (-0.5 - self.shift) / self.scale, 1 / self.scale

    def feature_name(self, index: int) -> str:
        """Name a feature by its place in the user's flat order: 'age', "column 3" or "pixel (4,
        7)".
        """
        if self.columns is not None:
            return self.columns[index]
        if self.kind == "table":
            return f"column {index}"
        return f"pixel ({', '.join(str(int(i)) for i in np.unravel_index(index, self.data_shape))})"

    def constant_features(self) -> list[str]:
        """Names of the features that do not vary in the training data."""
        return [self.feature_name(index) for index in self.constant]

    def check_columns(self, columns: Iterable[str] | None) -> None:
        """Raise ValueError where named columns are not those of the training data, in the same
        order.
        """
        if columns is None or self.columns is None:
            return
        got = tuple(str(name).strip() for name in columns)
        # some programs keep blanks around names, some do not
        wanted = tuple(name.strip() for name in self.columns)
        if len(got) == len(wanted) and got != wanted:
            j = next(j for j, (a, b) in enumerate(zip(got, wanted, strict=True)) if a != b)
            raise ValueError(
                f"X has column {got[j]!r} in place {j}, where this model was fitted on "
                f"{self.columns[j]!r}. "
                "Pass the same columns in the same order."
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
        """t = (x - shift) / scale as the model sees it, (n, *shape), on the CPU.

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
        values = Values.of(X, columns=columns)
        flat = self.conformed(values.array)
        self.check_columns(values.columns)
        kept = self.kept if self.left_out else slice(None)
        shift, scale = (torch.from_numpy(self._flat(a).copy()) for a in (self.shift, self.scale))
        out = torch.empty((len(flat), *self.shape), dtype=dtype)
        # 8-bit data carry noise of 1e-3: float32 arithmetic, twice as fast, is exact enough where
        # float32 is asked for
        work = (
            torch.float32
            if self.dequantize and flat.dtype == np.uint8 and dtype == torch.float32
            else torch.float64
        )
        shift, scale = shift.to(work), scale.to(work)
        for rows in chunks(*flat.shape):
            x = self.units_of(flat[rows][:, kept], noise, work).sub_(shift).div_(scale)
            x = x if self.mixing is None else unmix(x, self.mixing)
            out[rows] = to_event(x, self.shape, self.layout)
        return out

    def stored(self, X: Any, keep: bool = True) -> tuple[Tensor, Dequantize | Affine | None]:
        """Return rows as they are best kept for training, and what turns a batch of them into t (n,
        *shape).

        8-bit pictures stay bytes (n, *shape), and get new U at every visit. Other data are scaled
        at once (None), but for large ones (`COPIED`), which stay as they are (n, D), and are never
        written to.

        Arguments:
            X: Rows.
            keep: Whether large data may stay as they are: training on a GPU needs a copy in any
                case.

        Raises:
            ValueError: As `to_model`.
        """
        values = Values.of(X)
        array = values.array
        if self.dequantize and array.dtype == np.uint8:
            rows = borrowed(self.conformed(array))
            return to_event(rows, self.shape, self.layout).contiguous(), Dequantize(
                self.shift, self.scale
            )
        if not keep or array.nbytes <= COPIED or array.dtype == np.uint8 or self.left_out:
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
    ) -> InMemory:
        """Return rows as a model is trained on them, which know its units and their own.

        Arguments:
            X: Rows.
            keep: As in `stored`.
            index: Numbers of those that are meant, int64; None is all.
            generator: Source of noise where they are read outside of training.

        Raises:
            ValueError: As `to_model`.
        """
        stored, step = self.stored(X, keep)
        return InMemory(
            stored, step=step, index=index, generator=generator, units=self.units, checked=True
        )

    @property
    def units(self) -> Units:
        """What turns numbers of the model into those of the data."""
        density, scale = -self.log_scale_sum, torch.tensor(self.scale)
        if self.kind != "table" or self.dequantize or self.discrete:
            return Units(density, scale)

        def columns(t: Tensor) -> Tensor:
            return torch.from_numpy(self.from_model(t.double()))

        return Units(density, scale, columns, self.feature_name)

    def conformed(self, array: Array) -> Array:
        """Rows (n, D) in the user's order, once their shape is seen to fit."""
        return conform(array, self.data_shape if self.layout == "flat" else self.shape, self.layout)

    def units_of(self, rows: Array, noise: Noise, work: torch.dtype) -> Tensor:
        """x of some flat rows (n, D), in data units and in memory of its own: 8-bit data are given
        their noise.
        """
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
        """x = shift + scale * t in data units, (n, *data_shape); float64 if t is, else float32.

        Arguments:
            t: Values of the model, of shape (n, *shape).
            drawn: Whether they were drawn from p(x|z), rather than means: discrete ones are then
                whole numbers.

        Raises:
            ValueError: t is not of shape (n, *shape).
        """
        values = t.detach().cpu() if isinstance(t, Tensor) else torch.tensor(t)
        if tuple(values.shape[1:]) != self.shape:
            raise ValueError(
                f"t must have shape (n, {', '.join(map(str, self.shape))}), got "
                f"{tuple(values.shape)}. "
                "Pass the decoder's output."
            )
        out = np.empty(
            (len(values), *self.data_shape),
            dtype=np.float64 if values.dtype == torch.float64 else np.float32,
        )
        shift, scale = torch.tensor(self.shift), torch.tensor(self.scale)
        for j, value in self.left_out:
            out[:, j] = value
        kept = self.kept if self.left_out else slice(None)
        for rows in chunks(len(values), self.n_features):
            t = values[rows].double() if self.mixing is None else mix(values[rows], self.mixing)
            x = t.mul(scale).add_(shift)
            x = to_user(x.round_().abs_() if drawn and self.discrete else x, self.layout)
            if self.left_out:
                out[rows, kept] = x.numpy()
            else:
                out[rows] = x.numpy()
        return out

    # -- what cannot be

    def possible(self, X: Any) -> npt.NDArray[np.bool_]:
        """Return which rows hold, in columns that are left out of the model, the one value that
        these have: (n,).

        Rounding to float32 is no difference. Of any other value the model says that it cannot be:
        p(x) = 0.

        Raises:
            ValueError: As `to_model`.
        """
        array = Values.of(X).array
        found = np.ones(len(array), dtype=np.bool_)
        flat = self.conformed(array)
        for j, value in self.left_out:
            found &= _same(flat[:, j], value)
        return found

    def impossible_values(self, X: Any) -> dict[str, npt.NDArray[np.intp]]:
        """Return the rows in which a column that is left out has another value, by the column's
        name.
        """
        flat = self.conformed(Values.of(X).array)
        found = {
            self.feature_name(j): np.flatnonzero(~_same(flat[:, j], value))
            for j, value in self.left_out
        }
        return {name: rows for name, rows in found.items() if len(rows)}

    # -- noise and nats in data units

    def variance_from_model(self, v: float | Array | Tensor) -> float | Vector:
        """beta^2 in data units, scale^2 * v: a number if v and the scale are, else (n_features,).

        Columns that are left out of the model have none: 0.

        Arguments:
            v: beta^2 of the model: one number, or one per feature, of shape `shape`; out, in the
                user's order.
        """
        values = np.asarray(
            v.detach().cpu().double() if isinstance(v, Tensor) else v, dtype=np.float64
        )
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
        """beta^2 of the model for beta^2 = v in data units, v / scale^2: shape () or `shape`."""
        return np.asarray(v / self.scale**2, dtype=np.float64)

    def bits_per_dimension(self, nats: Any) -> Any:
        """Bits per dimension of the 8-bit data, -(log p(x) - D log 256) / (D log 2), where p(x) is
        a density.

        It is -log p(x) / (D log 2) where p(x) is a probability, and None for other data.

        Arguments:
            nats: log p(x) per example: a number or an array.
        """
        if not (self.dequantize or self.discrete):
            return None
        d = self.n_features
        return -(nats if self.discrete else nats - d * math.log(LEVELS)) / (d * math.log(2))

    def to_user_flat(self, values: Vector) -> Vector:
        """Values of shape `shape` in the user's flat order (D,), 0 for what is left out; a scalar
        stays one.
        """
        found = self._flat(values)
        if values.ndim == 0 or not self.left_out:
            return found
        whole = np.zeros(self.n_features, dtype=found.dtype)
        whole[self.kept] = found
        return whole

    def _flat(self, values: Vector) -> Vector:
        """The same without what is left out."""
        if values.ndim == 0:
            return values
        return to_user(torch.tensor(values)[None], self.layout).reshape(-1).numpy()


def _event(values: Vector, shape: tuple[int, ...], layout: Layout) -> Vector:
    """Values in the user's flat order (D,), or one number, as the model sees them."""
    return (
        to_event(torch.from_numpy(values)[None], shape, layout)[0].numpy()
        if values.ndim
        else values
    )


SAME = 1e-6
"""Relative difference up to which a value is a constant's own, rounded to float32 on its way."""


def _same(values: Array, constant: float) -> npt.NDArray[np.bool_]:
    """Which values are the constant, but for rounding."""
    found: npt.NDArray[np.bool_] = np.abs(values.astype(np.float64) - constant) <= SAME * abs(
        constant
    )
    return found


def _is_one_value(flat: Array, j: int) -> bool:
    """Whether column j of rows (n, D) holds the value of its first row throughout, but for
    rounding.
    """
    return all(_same(flat[rows, j], float(flat[0, j])).all() for rows in chunks(len(flat), 1))
