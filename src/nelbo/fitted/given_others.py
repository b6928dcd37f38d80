r"""What the other values of a row say of each of its values, in the units of the data.

.. math:: \log p(x_j \mid x_{-j}), \qquad E[x_j \mid x_{-j}]
"""

from __future__ import annotations

__all__ = ["GivenOthers", "given_others"]

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import evaluate
from .incomplete import View

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class GivenOthers:
    """What is known of each value of some rows by the other values of its row.

    Attributes:
        nats: log p(x_j | x_-j), (n, D): of categories and counts a log-probability, of numbers a
            log-density per unit of the data; 0 where a value is missing.
        expected: E[x_j | x_-j] in data units, (n, D), and of categories the most probable level.
    """

    nats: Array
    expected: Array


def given_others(view: View, samples: int, seed: int) -> GivenOthers:
    """Find it for some rows of a table.

    Arguments:
        view: The rows, and the model of them, which takes missing values.
        samples: Draws of z for each row.
        seed: Their seed.
    """
    schema, x = view.schema, view.x
    known, expected = evaluate.given_others(view.vae, x, samples, seed, c=view.c)
    there = ~x.isnan().cpu().numpy()
    nats = np.zeros((len(x), schema.n_features))
    nats[:, schema.kept] = known.numpy() - schema.log_scales * there
    return GivenOthers(nats, schema.from_model(expected))
