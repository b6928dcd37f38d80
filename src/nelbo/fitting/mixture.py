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

__all__ = ["Limits", "adopt", "aggregate", "gain", "is_fitted", "parted", "spec_of", "untrained"]

import copy
import dataclasses
import math
import random
import warnings
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from .. import evaluate
from ..data import Schema, Values
from ..data.moments import chunks, has_missing
from ..data.rare import distinct, rare
from ..distributions import draw
from ..evaluate import mean_error
from ..paired import surely_greater, trimmed_mean
from ..prior import Mixture, Prior, StandardNormal
from ..recipe.choice import Entry
from ..spec import Spec
from ..vae import VAE


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a mixture is fitted to, and what it has to bring.

    Attributes:
        components: The numbers of components that are tried for rows without rare values.
        rows: The number of rows that a mixture is fitted to at most.
        draws: The number of draws of z that it is fitted to at least, up to ten from each row.
        judges, samples: The number of rows that judge it at most, and of importance samples for
            each.
        sure: The confidence that log p(x) has gained which is needed where no value is rare: two
            standard errors.
        fallen: The standard errors by which log p(x) must have fallen for a mixture with rare
            groups to be given up.
        most: The nats of a row's difference that count.
        groups: The number of rare groups that get a component of their own at most, the largest; 0
            looks for none.
        least: The number of rows of such a group at least; as many rows of the whole are added to
            its covariance.
        within: The variance of these, as a share of that of all z: a group is narrower than the
            whole.
        elsewhere: The share of the mixture that stays N(0, I): no row, however far out, loses more
            than log 100 = 4.6 nats to it.
        ridge: What is added to every variance of z, whose scale is 1.
    """

    components: tuple[int, ...] = (1, 2, 4, 8, 16)
    rows: int = 10_000
    draws: int = 2_000
    judges: int = 2_000
    samples: int = 64
    sure: float = 0.9772
    fallen: float = 2.0
    most: float = 5.0
    groups: int = 32
    least: int = 5
    within: float = 0.3
    elsewhere: float = 0.01
    ridge: float = 1e-3

    @classmethod
    def of_images(cls) -> Limits:
        """Return those of images and wide arrays: they are costly to judge, and a value of one of
        so many pixels makes no group.
        """
        return cls(components=(1, 4, 16), judges=500, groups=0)


@dataclasses.dataclass(frozen=True)
class Aggregate:
    """Draws z ~ q(z|x) of some rows, (n, d), and which rare group each belongs to, 0 for none."""

    z: np.ndarray
    group: np.ndarray


def adopt(
    model: VAE,
    values: Values,
    schema: Schema,
    held: np.ndarray | None,
    asked: bool,
    limits: Limits = Limits(),
    whole: bool = True,
) -> Entry:
    """Give a trained model a mixture as its prior, where that helps.

    Arguments:
        model: The model, with N(0, I).
        values: All rows, in data units.
        schema: Their schema.
        held: Numbers of rows that were held out; None where all were trained on.
        asked: Whether the mixture is to be kept whatever it brings.
        limits: What it is fitted to, and what it has to bring.
        whole: Whether the mixture is fitted to all rows in the end, or to those that judge nothing.

    Returns:
        The entry of a recipe, what p(z) is and why; empty where it stays N(0, I).
    """
    rest, judges = parted(len(values), held, limits)
    fitted, judging = (aggregate(model, values[rows], schema, limits) for rows in (rest, judges))
    found = _best(fitted, judging, limits)
    if found is None:
        return {}
    groups = len(np.unique(fitted.group[fitted.group > 0]))
    x = schema.to_model(values[judges], noise="hash")
    nats, error, better = gain(model, found[1], x, limits)
    harmless = groups and nats > -limits.fallen * error
    if not asked and not better and not harmless:
        return {}
    mixture = found[1].to(model.device)
    if whole:
        drawn = aggregate(
            model, values[_spaced(np.arange(len(values)), limits.rows)], schema, limits
        )
        mixture = _mixture(drawn, found[0], limits).to(model.device)
    model.prior = mixture
    rows = ""
    if groups:
        rows = f"; {groups} of its normals are for rows with rare values"
    return {
        "value": f"mixture of {mixture.components} normals",
        "reason": f"Fitted to z of the training rows, where N(0, I) and q(z) differ{rows}: log "
        f"p(x) of {len(judges):,} held-out rows is {nats:+.2f} ± {error:.2f} nats beside N(0, I).",
    }


def spec_of(spec: Spec, model: VAE) -> Spec:
    """Return the configuration of a model whose prior may have become another."""
    if model.prior.name == spec.prior:
        return spec
    return dataclasses.replace(spec, prior=model.prior.name, prior_options=model.prior.options)


def is_fitted(spec: Spec) -> bool:
    """Return whether the prior was fitted to z after training."""
    return not spec.prior_options.get("learned", True)


def untrained(spec: Spec, model: VAE) -> tuple[Spec, VAE]:
    """Return configuration and model with N(0, I), with which training goes on."""
    if not is_fitted(spec):
        return spec, model
    model = copy.deepcopy(model)
    model.prior = StandardNormal(model.latent_dim).to(model.device)
    return dataclasses.replace(spec, prior="standard_normal", prior_options={}), model


def parted(rows: int, held: np.ndarray | None, limits: Limits) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the rows that a prior is fitted to, and of those that judge it: the
    rows held out, or every fifth of all.
    """
    every = np.arange(rows)
    judges = every[::5]
    if held is not None:
        judges = held
    rest = np.setdiff1d(every, judges)
    return _spaced(rest, limits.rows), _spaced(judges, limits.judges)


def _spaced(rows: np.ndarray, most: int) -> np.ndarray:
    """Return at most so many rows, evenly spaced."""
    return rows[:: max(1, math.ceil(len(rows) / most))]


@torch.no_grad()
def aggregate(model: VAE, values: Values, schema: Schema, limits: Limits) -> Aggregate:
    """Draw from q(z|x) of some rows."""
    generator = torch.Generator(model.device).manual_seed(0)
    repeats, parts = min(10, math.ceil(limits.draws / len(values))), []
    model = model.eval()
    for rows in chunks(len(values), math.prod(values.shape[1:])):
        x = schema.to_model(values[rows], noise="hash").to(model.device, model.dtype)
        q = model.encode(x)
        parts.append(
            torch.stack([draw(q, (), generator, gradients=False).cpu() for _ in range(repeats)])
        )
    z = torch.cat(parts, 1).flatten(0, 1).double().numpy()
    return Aggregate(z, np.tile(_groups(values.array, limits), repeats))


def _groups(array: np.ndarray, limits: Limits) -> np.ndarray:
    """Number the groups of rows that share their rarest value, the largest first; 0 is none."""
    group, smallest = np.zeros(len(array), dtype=int), np.full(len(array), len(array) + 1)
    if array.ndim != 2 or not limits.groups:
        return group
    number = 0
    for column in array.T:
        if has_missing(column):
            continue
        values, counts = distinct(column)
        nearest = np.searchsorted((values[1:] + values[:-1]) / 2, column)
        for i in rare(column):
            number += 1
            here = (nearest == i) & (counts[i] < smallest)
            group[here], smallest[here] = number, counts[i]
    sizes = np.bincount(group, minlength=number + 1)
    sizes[0] = 0
    largest = np.argsort(-sizes, kind="stable")[: limits.groups]
    order = {int(old): new for new, old in enumerate(largest, 1) if sizes[old] >= limits.least}
    return np.array([order.get(int(old), 0) for old in group], dtype=int)


def _best(fitted: Aggregate, judging: Aggregate, limits: Limits) -> tuple[int, Mixture] | None:
    """Return the smallest number of components as good as any by log p(z), and the mixture."""
    rows = int((fitted.group == 0).sum())
    tried = {}
    for components in limits.components:
        if components * (fitted.z.shape[1] + 1) > rows:
            break
        mixture = _mixture(fitted, components, limits)
        nats = mixture().log_prob(torch.from_numpy(judging.z).float()).double()
        tried[components] = (mixture, nats)
    if not tried:
        return None
    best = max(tried, key=lambda components: trimmed_mean(tried[components][1] - tried[1][1])[0])
    for components, (mixture, nats) in tried.items():
        behind, error = trimmed_mean(tried[best][1] - nats)
        if behind <= error or components == best:
            return components, mixture
    return None


def _mixture(found: Aggregate, components: int, limits: Limits) -> Mixture:
    """Fit components to rows without rare values by EM, and one normal to each group of rare rows.

    One more is N(0, I), with which the model was trained, for rows that are nowhere near the
    others.
    """
    others = found.z[found.group == 0]
    body = _gaussian_mixture()(components, reg_covar=limits.ridge, random_state=0)
    # of matrices as small as these more threads would wait for each other, a second and longer
    with warnings.catch_warnings(), threadpool_limits(1, "blas"):
        warnings.simplefilter("ignore")  # where EM has not converged the mixture is judged as it is
        body.fit(others)
    weights = [*(body.weights_ * len(others))]
    means, covariances = [*body.means_], [*body.covariances_]
    ridge = limits.ridge * np.eye(found.z.shape[1])
    whole = limits.within * np.cov(found.z.T, bias=True).reshape(ridge.shape)
    for group in np.unique(found.group[found.group > 0]):
        z = found.z[found.group == group]
        own = np.cov(z.T, bias=True).reshape(ridge.shape)
        weights.append(len(z))
        means.append(z.mean(0))
        covariances.append((len(z) * own + limits.least * whole) / (len(z) + limits.least) + ridge)
    weights.append(limits.elsewhere / (1 - limits.elsewhere) * sum(weights))
    means.append(np.zeros(found.z.shape[1]))
    covariances.append(np.eye(found.z.shape[1]))
    parts = (np.array(values, dtype=np.float64) for values in (weights, means, covariances))
    return Mixture.of(*map(torch.from_numpy, parts))


def _gaussian_mixture() -> Any:
    """Import scikit-learn's mixture; its own imports draw from Python's random state."""
    before = random.getstate()
    from sklearn.mixture import GaussianMixture

    random.setstate(before)
    return GaussianMixture


def gain(model: VAE, prior: Prior, x: Tensor, limits: Limits) -> tuple[float, float, bool]:
    """Return by how much log p(x) is greater with this prior, its error, and whether that is sure.

    Differences are bounded by ``limits.most``, so that no row decides. A trimmed mean would leave
    out the very rows in question: rare ones gain most.
    """
    other = copy.deepcopy(model)
    other.prior = prior.to(model.device)
    new, old = (
        evaluate.log_likelihood(vae, x, "importance", limits.samples).value
        for vae in (other, model)
    )
    difference = (new - old).nan_to_num(0.0).clamp(-limits.most, limits.most)
    better = surely_greater(new, old, limits.sure)
    return float(difference.mean()), mean_error(difference), better
