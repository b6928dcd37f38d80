r"""Which columns make a row improbable: how far each value is from what the others lead to expect.

.. math:: a_j(x) = -\log p(x_j \mid x_{-j}), \qquad e_j(x) = a_j(x) - \operatorname{median}\, a_j,
    \qquad \hat x_j = E[x_j \mid x_{-j}]

The median is over rows drawn from the model. Unlike the terms of a reconstruction error, a value is
compared with what the *other* columns say: a wrong value does not make those beside it look wrong
that are as they always are, and a combination that is unusual shows although each value is common.
"""

from __future__ import annotations

__all__ = ["Attribution", "attribute"]

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..brief import Brief
from ..data import TableSchema, Values
from ..evaluate.exact import solved
from ..fitted import Fitted
from ..linear import LinearGaussian, MixtureOfFactorAnalysers
from .improbability import price, usual_there

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Attribution(Brief):
    """How improbable each value of some rows is, given the others of its row.

    Attributes:
        nats: -log p(x_j | x_-j) of each value, (n, d): nats, in the units of the data;
            0 where a value is missing.
        usual: The median of that over rows drawn from the model, for each column, (d,).
        expected: E[x_j | x_-j], in the units of the data, (n, d); of categories the index of the
            most probable level.
        columns: The names of the d columns.
        table: What the columns are, where they are of different kinds.
    """

    nats: Array
    usual: Array
    expected: Array
    columns: tuple[str, ...]
    table: TableSchema | None = None

    @property
    def excess(self) -> Array:
        """``nats`` beyond what is usual for the column, (n, d): 0 where a value is missing."""
        return np.where(self.nats == 0, 0.0, self.nats - self.usual)

    @property
    def expected_frame(self) -> Any:
        """``expected`` as a data frame with the levels, dates and rounding of the data; of columns
        that all are numbers, the numbers.
        """
        if self.table is None:
            return self.expected
        return self.table.decode(self.expected)

    def told(self, values: Array) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return the values of the rows, and what is expected in their place, both (n, d): of
        columns of different kinds in words, None where one is missing.

        Arguments:
            values: The values (n, d), as numbers.
        """
        values = np.asarray(values, dtype=np.float64)
        if self.table is None:
            return values, self.expected
        return self.table.words(values), self.table.words(self.table.rounded(self.expected))

    def most(self, count: int = 3) -> npt.NDArray[np.intp]:
        """Return the numbers of the columns that say most of each row, those first: (n, count)."""
        order = np.argsort(-self.excess, axis=1, kind="stable")
        return order[:, : min(count, order.shape[1])]


def attribute(model: Fitted, X: Any, draws: int = 256) -> Attribution:
    """Find how improbable each value of some rows is, given the others of its row.

    Exact for models with a closed form, among them the default of `nelbo.VAEDetector` for tables of
    numbers; for others by the importance samples of `Fitted.given_others`.

    Arguments:
        model: The model, of a table.
        X: Rows.
        draws: The number of rows drawn from the model, beside which the rows are judged.

    Raises:
        ValueError: X does not fit the training data, or the model is not of a table.
    """
    values, schema = model.values(X), model.schema
    if len(values.shape) != 2:
        raise ValueError("Columns can only be told of tables, got rows of more than one axis.")
    nats, expected = _conditionals(model, values)
    given = None
    if model.condition is not None:
        given = model.condition.draw(draws)
    drawn = Values.of(model.sample(draws, c=given), columns=values.columns, c=given)
    usual, _ = _conditionals(model, drawn)
    names = tuple(schema.feature_name(j) for j in range(schema.n_features))
    middle = np.median(usual, axis=0)
    return Attribution(nats, middle, expected, names, schema.table)


def _conditionals(model: Fitted, values: Values) -> tuple[Array, Array]:
    """Return -log p(x_j | x_-j) and E[x_j | x_-j] of each value, both (n, d); of a value that is
    missing nothing is told, and its nats are 0.
    """
    schema, changed = model.schema, {}
    if schema.left_out:
        changed = schema.impossible_values(values)
        values = usual_there(model, values)
    found = None
    if not np.isnan(values.array).any():
        found = _in_closed_form(model, values)
    if found is None:
        others = model.given_others(values)
        found = -others.nats, others.expected
    nats, expected = found
    for j, _ in schema.left_out:
        nats[changed.get(schema.feature_name(j), []), j] = price(model)
    return nats, expected


def _in_closed_form(model: Fitted, values: Values) -> tuple[Array, Array] | None:
    """Return the same of complete rows, or None where there is no closed form."""
    schema = model.schema
    if schema.mixing is not None or model.condition is not None:
        return None
    linear = solved(model.vae)
    if linear is None:
        return None
    if isinstance(linear, LinearGaussian):
        linear = MixtureOfFactorAnalysers(torch.ones(1, dtype=torch.float64), (linear,))
    rows = model.rows(values).double().flatten(1)
    log_prob, means = linear.conditionals(rows)
    scale = np.broadcast_to(np.asarray(schema.scale, dtype=np.float64), rows.shape[1:])
    expected = schema.from_model(means)
    nats = np.zeros(expected.shape)
    nats[:, schema.kept] = np.log(scale) - log_prob.numpy()
    return nats, expected
