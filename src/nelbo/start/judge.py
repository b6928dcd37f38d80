"""Whether training has significantly beaten its start on held-out rows."""

from __future__ import annotations

__all__ = ["Comparison", "ahead", "beats"]

import copy
import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .. import evaluate
from ..evaluate import Examples
from ..linear import LinearGaussian, Regression
from ..paired import surely_greater, trimmed_mean
from ..vae import VAE
from .solution import start_at


@dataclass(frozen=True)
class Comparison:
    """How held-out rows decide between a model and its closed-form start.

    Attributes:
        sure: Confidence that training has beaten its start that is needed to keep it: two standard
            errors of many rows.
        few_sure: Confidence that ends the comparison after a first look at few rows, so high that
            looking twice costs nothing.
        quick_rows: Rows that the first look takes.
        rows: Rows that the comparison looks at, at most.
        samples: Importance samples of each row.
        cheaper: How many times fewer rows and samples are taken where both sides are sampled, which
            costs many times as much.
    """

    sure: float = 0.9772
    few_sure: float = 0.999999
    quick_rows: int = 256
    rows: int = 2000
    samples: int = 64
    cheaper: int = 4

    def ahead(self, one: VAE, other: VAE, x: Examples, samples: int) -> bool:
        """Return whether a model has the greater bound on log p(x) of some of these rows."""
        x = x[:: math.ceil(len(x) / self.quick_rows)]
        return trimmed_mean(_bound(one, x, samples) - _bound(other, x, samples))[0] > 0

    def beats(
        self, model: VAE, start: LinearGaussian, x: Examples, regression: Regression | None
    ) -> bool:
        """Return whether training has significantly beaten its start on held-out rows."""
        rows, samples = self.effort(model)
        x = x[:: max(1, len(x) // rows)][:rows]
        few = x[:: max(1, len(x) // self.quick_rows)]
        if len(few) < len(x):
            one = evaluate.elbo(model, few.x, samples=1, c=few.c)
            baseline = _value_of_start(model, start, few, samples, regression)
            if surely_greater(one, baseline, self.few_sure):
                return True
        baseline = _value_of_start(model, start, x, samples, regression)
        # cheap, and can only understate the model
        if surely_greater(evaluate.elbo(model, x.x, samples=1, c=x.c), baseline, self.sure):
            return True
        return surely_greater(_sampled(model, x, samples), baseline, self.sure)

    def effort(self, model: VAE) -> tuple[int, int]:
        """Return how many rows and samples to compare on."""
        if _is_linear_exactly(model):
            return self.rows, self.samples
        return self.rows // self.cheaper, self.samples // self.cheaper


def ahead(one: VAE, other: VAE, x: Examples, samples: int = 1) -> bool:
    """Return whether a model has the greater bound on log p(x) of some of these rows.

    Arguments:
        one, other: The models.
        x: Rows, in model units.
        samples: Importance samples behind each bound; 1 is the ELBO by one draw.
    """
    return Comparison().ahead(one, other, x, samples)


def beats(
    model: VAE, start: LinearGaussian, x: Examples, regression: Regression | None = None
) -> bool:
    """Return whether training has significantly beaten its start on held-out rows.

    Arguments:
        model: The trained model.
        start: The linear model that it started from.
        x: Held-out rows, in model units.
        regression: What c says of x, for a model of p(x|c): the start is one of what that leaves.
    """
    return Comparison().beats(model, start, x, regression)


def _bound(vae: VAE, x: Examples, samples: int) -> Tensor:
    """Return a bound on log p(x) of each row, (n,)."""
    if samples > 1:
        return _sampled(vae.eval(), x, samples)
    return evaluate.elbo(vae.eval(), x.x, samples=1, c=x.c)


def _sampled(vae: VAE, x: Examples, samples: int) -> Tensor:
    """Return log p(x) of each row, (n,): exactly where that is possible, else by samples most of
    which are near the row's posterior, so that it is not encoders that are compared.
    """
    method = evaluate.plain_method(vae, x.c)
    options: dict[str, Any] = {}
    if method == "importance":
        options["proposal"] = "mixture"
    return evaluate.log_likelihood(vae, x.x, method, samples, c=x.c, **options).value


def _value_of_start(
    model: VAE,
    start: LinearGaussian,
    x: Examples,
    samples: int,
    regression: Regression | None,
) -> Tensor:
    """Return log p(x) of each row by the closed-form start, sampled where it is a probability."""
    if _is_linear_exactly(model):
        rows = x.x.flatten(1).double()
        if regression is not None and x.c is not None:
            rows = regression.residual(rows, x.c)
        return start.log_prob(rows)
    linear = copy.deepcopy(model)
    start_at(linear, start, regression)
    return _sampled(linear, x, samples)


def _is_linear_exactly(model: VAE) -> bool:
    """Return whether log p(x) of the model at its start is that of the linear model."""
    return model.likelihood.linear_is_exact and model.prior.standard
