r"""p(z) as a mixture of normals that is fitted, after training, to where the training rows are.

.. math:: p(z) = \sum_k \pi_k \, \mathcal{N}(z \mid m_k, S_k) \approx \frac1n \sum_i q(z \mid x_i)

Samples of N(0, I) start where no row is, and rare rows, which lie apart, are drawn too rarely. The
decoder stays as it is; the mixture is the prior of the fitted model, of its samples as of its log
p(x) (Ghosh et al., 2020, who fit one to plain autoencoders).

Rows with a rare value of a column that takes few get a component of their own: a mixture fitted by
EM alone gives a hundredth of the rows to a wide neighbour. How many components the others get is
decided by held-out log p(z), and whether the mixture is kept by held-out log p(x).
"""

from __future__ import annotations

__all__ = ["FITTED", "adopt", "spec_of", "untrained"]

import copy
import dataclasses
import math
import random
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import evaluate
from ..data import Schema, Values
from ..data.moments import chunks
from ..data.rare import distinct, rare
from ..distributions import draw
from ..evaluate import mean_error
from ..paired import surely_greater, trimmed_mean
from ..prior import Mixture, StandardNormal
from ..recipe.choice import Entry
from ..spec import Spec
from ..vae import VAE

FITTED = "mixture"
"""The name of the prior that is fitted."""
COMPONENTS = (1, 2, 4, 8, 16)
"""How many components are tried for rows without rare values."""
ROWS = 10_000
"""Rows that a mixture is fitted to, at most."""
DRAWS = 2_000
"""Draws of z that it is fitted to, at least, in up to ten from each row."""
JUDGED, SAMPLES = 2_000, 64
"""Rows that judge it, at most, and importance samples for each."""
SURE = 0.9772
"""Confidence that log p(x) has gained which is needed where no value is rare:
two standard errors.
"""
FALLEN = 2.0
"""Standard errors by which log p(x) must have fallen for a mixture
with rare groups to be given up.
"""
MOST = 5.0
"""Nats of a row's difference that count."""
GROUPS = 32
"""Rare groups that get a component of their own, at most: the largest."""
LEAST = 5
"""Rows of such a group, at least; as many rows of the whole are added to its covariance."""
WITHIN = 0.3
"""Variance of these, as a share of that of all z: a group is narrower than the whole."""
ELSEWHERE = 0.01
"""Share of the mixture that stays N(0, I):
no row, however far out, loses more than log 100 = 4.6 nats to it.
"""
RIDGE = 1e-3
"""Added to every variance of z, whose scale is 1."""


@dataclasses.dataclass(frozen=True)
class Aggregate:
    """Draws z ~ q(z|x) of some rows, (n, d), and which rare group each belongs to, 0 for none."""

    z: np.ndarray
    group: np.ndarray


def adopt(
    model: VAE, values: Values, schema: Schema, held: np.ndarray | None, asked: bool
) -> Entry:
    """Give a trained model a mixture as its prior, where that helps.

    Arguments:
        model: The model, with N(0, I).
        values: All rows, in data units.
        schema: Their schema.
        held: Numbers of rows that were held out; None where all were trained on.
        asked: Whether the mixture is to be kept whatever it brings.

    Returns:
        The entry of a recipe, what p(z) is and why; empty where it stays N(0, I).
    """
    every = np.arange(len(values))
    judges = every[::5] if held is None else held
    rest = _spaced(np.setdiff1d(every, judges), ROWS)
    judges = _spaced(judges, JUDGED)
    fitted, judging = (_aggregate(model, values[rows], schema) for rows in (rest, judges))
    found = _best(fitted, judging)
    if found is None:
        return {}
    groups = len(np.unique(fitted.group[fitted.group > 0]))
    gain, error, better = _gain(model, found[1], schema.to_model(values[judges], noise="hash"))
    if not (asked or better or (groups and gain > -FALLEN * error)):
        return {}
    whole = _aggregate(model, values[_spaced(every, ROWS)], schema)
    mixture = _mixture(whole, found[0]).to(model.device)
    model.prior = mixture
    rows = f"; {groups} of its normals are for rows with rare values" if groups else ""
    return {
        "value": f"mixture of {mixture.components} normals",
        "reason": f"Fitted to z of the training rows, where N(0, I) and q(z) differ{rows}: log "
        "p(x) of "
        f"{len(judges):,} held-out rows is {gain:+.2f} ± {error:.2f} nats beside N(0, I).",
    }


def spec_of(spec: Spec, model: VAE) -> Spec:
    """Return the configuration of a model whose prior may have become a mixture."""
    if model.prior.name == spec.prior:
        return spec
    return dataclasses.replace(spec, prior=FITTED, prior_options=model.prior.options)


def untrained(spec: Spec, model: VAE) -> tuple[Spec, VAE]:
    """Return configuration and model with N(0, I), with which training goes on."""
    if spec.prior != FITTED or spec.prior_options.get("learned", True):
        return spec, model
    model = copy.deepcopy(model)
    model.prior = StandardNormal(model.latent_dim).to(model.device)
    return dataclasses.replace(spec, prior="standard_normal", prior_options={}), model


def _spaced(rows: np.ndarray, most: int) -> np.ndarray:
    """Return at most so many rows, evenly spaced."""
    return rows[:: math.ceil(len(rows) / most)] if len(rows) else rows


@torch.no_grad()
def _aggregate(model: VAE, values: Values, schema: Schema) -> Aggregate:
    """Draw from q(z|x) of some rows."""
    generator = torch.Generator(model.device).manual_seed(0)
    repeats, parts = min(10, math.ceil(DRAWS / len(values))), []
    model = model.eval()
    for rows in chunks(len(values), math.prod(values.shape[1:])):
        x = schema.to_model(values[rows], noise="hash").to(model.device, model.dtype)
        q = model.encode(x)
        parts.append(
            torch.stack([draw(q, (), generator, gradients=False).cpu() for _ in range(repeats)])
        )
    z = torch.cat(parts, 1).flatten(0, 1).double().numpy()
    return Aggregate(z, np.tile(_groups(values.array), repeats))


def _groups(array: np.ndarray) -> np.ndarray:
    """Number the groups of rows that share their rarest value, the largest first;
    0 is for rows without any.
    """
    group, smallest = np.zeros(len(array), dtype=int), np.full(len(array), len(array) + 1)
    if array.ndim != 2:
        return group
    number = 0
    for column in array.T:
        values, counts = distinct(column)
        nearest = np.searchsorted((values[1:] + values[:-1]) / 2, column)
        for i in rare(column):
            number += 1
            here = (nearest == i) & (counts[i] < smallest)
            group[here], smallest[here] = number, counts[i]
    sizes = np.bincount(group, minlength=number + 1)
    sizes[0] = 0
    largest = np.argsort(-sizes, kind="stable")[:GROUPS]
    order = {int(old): new for new, old in enumerate(largest, 1) if sizes[old] >= LEAST}
    return np.array([order.get(int(old), 0) for old in group], dtype=int)


def _best(fitted: Aggregate, judging: Aggregate) -> tuple[int, Mixture] | None:
    """Return the smallest number of components as good as any,
    by log p(z) of other rows, and the mixture.
    """
    rows = int((fitted.group == 0).sum())
    tried = {}
    for components in COMPONENTS:
        if components * (fitted.z.shape[1] + 1) > rows:
            break
        mixture = _mixture(fitted, components)
        tried[components] = (
            mixture,
            mixture().log_prob(torch.from_numpy(judging.z).float()).double(),
        )
    if not tried:
        return None
    best = max(tried, key=lambda components: trimmed_mean(tried[components][1] - tried[1][1])[0])
    for components, (mixture, nats) in tried.items():
        behind, error = trimmed_mean(tried[best][1] - nats)
        if behind <= error or components == best:
            return components, mixture
    return None


def _mixture(found: Aggregate, components: int) -> Mixture:
    """Fit the components of rows without rare values by EM,
    and one normal to each group of rare rows.

    One more is N(0, I), with which the model was trained, for rows that are nowhere near the
    others.
    """
    others = found.z[found.group == 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where EM has not converged the mixture is judged as it is
        body = _gaussian_mixture()(components, reg_covar=RIDGE, random_state=0).fit(others)
    weights = [*(body.weights_ * len(others))]
    means, covariances = [*body.means_], [*body.covariances_]
    ridge = RIDGE * np.eye(found.z.shape[1])
    whole = WITHIN * np.cov(found.z.T, bias=True).reshape(ridge.shape)
    for group in np.unique(found.group[found.group > 0]):
        z = found.z[found.group == group]
        own = np.cov(z.T, bias=True).reshape(ridge.shape)
        weights.append(len(z))
        means.append(z.mean(0))
        covariances.append((len(z) * own + LEAST * whole) / (len(z) + LEAST) + ridge)
    weights.append(ELSEWHERE / (1 - ELSEWHERE) * sum(weights))
    means.append(np.zeros(found.z.shape[1]))
    covariances.append(np.eye(found.z.shape[1]))
    return Mixture.of(
        *(
            torch.from_numpy(np.array(values, dtype=np.float64))
            for values in (weights, means, covariances)
        )
    )


def _gaussian_mixture() -> Any:
    """Import scikit-learn's mixture,
    leaving alone the random state that its own imports draw from.
    """
    before = random.getstate()
    from sklearn.mixture import GaussianMixture

    random.setstate(before)
    return GaussianMixture


def _gain(model: VAE, mixture: Mixture, x: Tensor) -> tuple[float, float, bool]:
    """Return by how much log p(x) is greater with the mixture, its error, and whether that is sure.

    Differences are bounded by `MOST`, so that no row decides. A trimmed mean would leave out the
    very rows in question: rare ones gain most.
    """
    other = copy.deepcopy(model)
    other.prior = mixture.to(model.device)
    new, old = (
        evaluate.log_likelihood(vae, x, "importance", SAMPLES).value for vae in (other, model)
    )
    difference = (new - old).nan_to_num(0.0).clamp(-MOST, MOST)
    return float(difference.mean()), mean_error(difference), surely_greater(new, old, SURE)
