r"""A table whose columns are of different kinds.

.. math:: \log p(x \mid z) = \sum_j \log p_j(x_j \mid z)
"""

from __future__ import annotations

__all__ = ["KINDS", "Columns"]

import difflib
import inspect
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from .. import distributions
from ..distributions.by_column import Place
from ..linear import Chunks, LinearGaussian
from ..naming import snake
from ..plain import plain
from .base import VARIANCE_FLOOR, Likelihood, returned
from .bernoulli import Bernoulli
from .categorical import Categorical
from .counts import NegativeBinomial, Poisson
from .gaussian import Gaussian
from .heteroscedastic import HeteroscedasticGaussian
from .hurdle import HurdleLogNormal
from .log_normal import LogNormal
from .noise import Noise
from .ordinal import Ordinal
from .spike_and_slab import SpikeAndSlab
from .student_t import StudentT

KINDS: dict[str, type[Likelihood]] = {
    snake(head.__name__): head
    for head in (
        Bernoulli,
        Categorical,
        Gaussian,
        HeteroscedasticGaussian,
        HurdleLogNormal,
        LogNormal,
        NegativeBinomial,
        Ordinal,
        Poisson,
        SpikeAndSlab,
        StudentT,
    )
}
"""What a column may be, by the name of the likelihood of it alone."""

Said = TypeVar("Said")


class Columns(Likelihood):
    r"""Independent columns given z, each with a likelihood of its own.

    Columns of the same kind and options are computed together. What a column adds to log p(x|z) is
    a log-probability, a log-density, or, of amounts, the one at 0 and the other above:
    `measures` says which, and `terms` what it is.

    Arguments:
        shape: (D,), the number of columns.
        columns: The kind of each column, in order: a name in `KINDS`, or a dict of its ``kind`` and
            options, such as ``{"kind": "categorical", "levels": 12}``. What a likelihood learns
            is learned for each column. A single one is the kind of all.
        floor: The smallest variance that may be learned.

    Raises:
        TypeError: A column is neither a name nor a dict.
        ValueError: A kind or an option is unknown, or there is another number of columns than of
            kinds.

    >>> import nelbo
    >>> nelbo.likelihood.Columns(
    ...     (3,), ["gaussian", "poisson", {"kind": "categorical", "levels": 12}]
    ... ).in_shape
    (14,)
    """

    takes = "columns"
    expects = "a value that its kind can have"
    usual_noise = "Each column has the noise of its kind."

    def __init__(
        self,
        shape: tuple[int, ...],
        columns: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] = "gaussian",
        floor: float = VARIANCE_FLOOR,
    ) -> None:
        super().__init__()
        if len(shape) != 1:
            raise ValueError(f"shape must be (columns,), got {tuple(shape)}. Flatten the rows.")
        self.shape, self.floor = tuple(shape), floor
        self.columns = _listed(columns, shape[0])
        groups: dict[str, list[int]] = {}
        for number, column in enumerate(self.columns):
            groups.setdefault(json.dumps(column, sort_keys=True), []).append(number)
        self.numbers = tuple(map(tuple, groups.values()))
        heads = [_head(self.columns[mine[0]], mine, floor) for mine in self.numbers]
        self.heads = nn.ModuleList(heads)
        self.sizes = [math.prod(head.in_shape) for head in heads]
        self.in_shape = (sum(self.sizes),)
        self.density = any(head.density for head in heads)
        self._index()
        if len(heads) == 1:
            self.starts_linear = heads[0].starts_linear
            self.linear_is_exact = heads[0].linear_is_exact

    def _index(self) -> None:
        """Note which columns each head has; tensors that move with the module."""
        flat = torch.tensor([number for mine in self.numbers for number in mine])
        for i, mine in enumerate(self.numbers):
            self.register_buffer(f"columns{i}", torch.tensor(mine), persistent=False)
        order = None if bool((flat.diff() > 0).all()) else flat.argsort()
        self.register_buffer("order", order, persistent=False)

    order: Tensor | None

    @property
    def members(self) -> list[Likelihood]:
        """The likelihood of each group of columns of one kind."""
        return cast(list[Likelihood], list(self.heads))

    def places(self) -> list[Place]:
        """Return which columns each head has: neighbours as a slice, which copies nothing."""
        return [
            slice(mine[0], mine[-1] + 1)
            if mine[-1] - mine[0] == len(mine) - 1
            else self.get_buffer(f"columns{i}")
            for i, mine in enumerate(self.numbers)
        ]

    def forward(self, h: Tensor) -> distributions.ByColumn:
        """Map features h, of shape (*batch, *in_shape), to p(x|z)."""
        pieces = h.split(self.sizes, -1)
        parts = [
            head(piece.reshape(*piece.shape[:-1], *head.in_shape))
            for head, piece in zip(self.members, pieces, strict=True)
        ]
        return distributions.ByColumn(parts, self.places(), self.order)

    # -- column by column

    @property
    def measures(self) -> tuple[str, ...]:
        """What each column adds to log p(x|z): the logarithm of a "probability", of a "density", or
        of a "probability at 0, density above".
        """
        return tuple(self._of_columns([head.measure for head in self.members]))

    def terms(self, p: Distribution, x: Tensor) -> Tensor:
        """Return what each column adds to log p(x|z) in nats, (*batch, D); 0 where x is missing.

        Arguments:
            p: p(x|z), as `forward` returned it.
            x: Data, of shape (*batch, D).
        """
        return _own(p).each_observed(x)

    def possible(self, x: Tensor) -> Tensor:
        """Return which values their columns can have, or are missing, of the shape of x."""
        joined = [
            head.possible(x[..., at]) for head, at in zip(self.members, self.places(), strict=True)
        ]
        found = torch.cat(joined, -1)
        if self.order is None:
            return found
        return found[..., self.order]

    def check_columns(self, x: Tensor, names: Sequence[str] = ()) -> None:
        """Refuse rows that hold a value which its column cannot have.

        Arguments:
            x: Rows, of shape (n, D).
            names: Of the columns, for the message.

        Raises:
            ValueError: There is such a value; the message names its column and row.
        """
        bad = ~self.possible(x)
        if not bool(bad.any()):
            return
        row, column = bad.nonzero()[0].tolist()
        name = f"column {column}"
        if names:
            name = f"column {names[column]!r}"
        kind, expects = self.columns[column]["kind"], self._expected()[column]
        raise ValueError(
            f"{name} is of kind {kind!r} and must hold {expects}, but row {row} (counting from 0) "
            f"holds {float(x[row, column]):g}. Mend the value, or choose another kind; NaN is a "
            "missing one."
        )

    def _expected(self) -> list[str]:
        return self._of_columns([head.expects for head in self.members])

    def readings(self) -> tuple[dict[str, Any], ...]:
        """Return how a network is to read each column; none where all are numbers."""
        found = self._of_columns([head.reading() for head in self.members])
        if not any(found):
            return ()
        return tuple(how or {"as": "number"} for how in found)

    def _of_columns(self, of_members: Sequence[Said]) -> list[Said]:
        """Return what is said of each member for each of its columns, in the order of the table."""
        said = {
            number: one
            for one, mine in zip(of_members, self.numbers, strict=True)
            for number in mine
        }
        return [said[number] for number in range(self.shape[0])]

    # -- noise

    def noise(self) -> Noise:
        """Return the noise of a single kind, or else that it depends on z."""
        if len(self.members) == 1:
            return self.members[0].noise()
        kinds = [column["kind"].replace("_", " ") for column in self.columns]
        family = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
        if all(head.noise().kind == "none" for head in self.members):
            return Noise("none", f"columns: {family}")
        return Noise("from z", f"columns: {family}")

    def beta(self, p: Distribution) -> Tensor | None:
        """Return the width of each value's noise; None where a column has no such."""
        own = _own(p)
        found = [head.beta(q) for head, q in zip(self.members, own.parts, strict=True)]
        return _joined(own, found)

    def residuals(self, p: Distribution, x: Tensor) -> Tensor | None:
        """Return standard normal residuals; None where a column has no such."""
        own = _own(p)
        found = [head.residuals(q, values) for head, q, values in self.parts(p, x)]
        return _joined(own, found)

    def parts(self, p: Distribution, x: Tensor) -> list[tuple[Likelihood, Distribution, Tensor]]:
        """Return the likelihood of each group of columns, with p(x|z) and x of it."""
        both = zip(self.members, _own(p).split(x), strict=True)
        return [(head, q, values) for head, (q, values) in both]

    # -- where it starts, and what inference needs

    def at_marginals(self, x: Tensor, left: Tensor | None = None) -> Tensor | None:
        """Take the noise of independent columns, and return the features of these, (*in_shape)."""
        found = []
        for head, at in zip(self.members, self.places(), strict=True):
            share = None if left is None else left[at]
            found.append(head.at_marginals(x[:, at], share))
        known = [h.flatten() for h in found if h is not None]
        if len(known) < len(found):
            return None
        return torch.cat(known)

    def features_of(self) -> Tensor:
        """Return which column each feature is of, (*in_shape)."""
        both = zip(self.members, self.numbers, strict=True)
        return torch.cat([torch.tensor(mine)[head.features_of()] for head, mine in both])

    def moments(self, x: Tensor | Chunks) -> tuple[Tensor, Tensor]:
        """Return those of a single kind, or else those to which every value counts."""
        if len(self.members) > 1:
            return super().moments(x)
        return self.members[0].moments(x)

    def linear_model(self, mean: Tensor, covariance: Tensor, latent_dim: int) -> LinearGaussian:
        """Return that of a single kind.

        Raises:
            NotImplementedError: Columns are of several kinds, or theirs has none.
        """
        if len(self.members) > 1:
            return super().linear_model(mean, covariance, latent_dim)
        return self.members[0].linear_model(mean, covariance, latent_dim)

    def start_at(self, model: LinearGaussian) -> tuple[Tensor, Tensor]:
        """Start as a single kind does.

        Raises:
            NotImplementedError: Columns are of several kinds, or theirs has no such start.
        """
        if len(self.members) > 1:
            return super().start_at(model)
        return self.members[0].start_at(model)

    def local_quadratic(self, p: Distribution, x: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """Return what log p(x|z) is made of, and how it bends there (see `Likelihood`)."""
        return _own(p).local_quadratic(x)


def _own(p: Distribution) -> distributions.ByColumn:
    """Return p(x|z) as `Columns.forward` made it."""
    return returned(p, distributions.ByColumn)


def _joined(p: distributions.ByColumn, found: Sequence[Tensor | None]) -> Tensor | None:
    """Return numbers of all columns in the order of the table; None where some have none."""
    known = [one for one in found if one is not None]
    if len(known) < len(found):
        return None
    return p.joined(known)


def _listed(
    columns: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]], count: int
) -> tuple[dict[str, Any], ...]:
    """Return the kind and the options of each of ``count`` columns.

    Raises:
        TypeError: A column is neither a name nor a dict.
        ValueError: A kind is unknown, or there is another number of columns.
    """
    if isinstance(columns, str | Mapping):
        columns = [columns] * count
    if len(columns) != count:
        raise ValueError(
            f"columns must name the kind of each of the {count} columns, got {len(columns)}."
        )
    return tuple(_column(number, column) for number, column in enumerate(columns))


def _column(number: int, column: str | Mapping[str, Any]) -> dict[str, Any]:
    """Return the kind and the options of one column."""
    if isinstance(column, str):
        column = {"kind": column}
    if not isinstance(column, Mapping) or "kind" not in column:
        raise TypeError(
            f"columns[{number}] must be the name of a kind or a dict such as "
            f'{{"kind": "categorical", "levels": 12}}, got {column!r}.'
        )
    if column["kind"] not in KINDS:
        close = difflib.get_close_matches(str(column["kind"]), KINDS, n=1)
        hint = "".join(f" Did you mean {one!r}?" for one in close)
        raise ValueError(
            f"columns[{number}] has the unknown kind {column['kind']!r}.{hint} Known: "
            f"{', '.join(KINDS)}."
        )
    named: dict[str, Any] = plain(column)
    return named


def _head(column: Mapping[str, Any], mine: Sequence[int], floor: float) -> Likelihood:
    """Return the likelihood of all columns of one kind.

    Raises:
        ValueError: An option is unknown or missing.
    """
    kind = column["kind"]
    cls = KINDS[kind]
    parameters = inspect.signature(cls).parameters
    known = [name for name in parameters if name not in ("shape", "floor")]
    given = {name: value for name, value in column.items() if name != "kind"}
    for name in sorted(given.keys() - set(known)):
        told = f"Known: {', '.join(known)}." if known else "It has none."
        raise ValueError(f"columns[{mine[0]}] of kind {kind!r} has no option {name!r}. {told}")
    for name in known:
        if parameters[name].default is inspect.Parameter.empty and name not in given:
            raise ValueError(f"columns[{mine[0]}] of kind {kind!r} lacks the option {name!r}.")
        # one number for the whole of a column: of each, where there are several
        if given.get(name, parameters[name].default) == "learned":
            given[name] = "per_feature"
    if "floor" in parameters:
        given["floor"] = floor
    head: Likelihood = cls((len(mine),), **given)
    return head
