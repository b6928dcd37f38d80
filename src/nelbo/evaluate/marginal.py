r"""The public ways in: log p(x), the marginal likelihood, and bounds from both sides."""

from __future__ import annotations

__all__ = ["bidirectional", "log_likelihood", "methods", "plain_method"]

import dataclasses
import math
import numbers
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..data.rows import Rows
from ..vae import VAE
from .annealing import Settings, annealed
from .auto import Ladder
from .bidirectional import Bracket, bracket
from .bounds import check_seed
from .exact import exact, solved
from .examples import Examples
from .importance import Sampled, from_encoder_itself, importance, placed
from .judging import MEMORY, judged, read
from .laplace import PROPOSALS
from .quadrature import quadrature
from .result import LogLikelihood


def methods() -> tuple[str, ...]:
    """Return the names that `log_likelihood` accepts as method."""
    return ("auto", "importance", "ais", "quadrature", "exact")


def plain_method(vae: VAE, c: Tensor | None = None) -> str:
    """Return "exact" where that is possible, else "importance":
    what scores many rows at little cost.

    Arguments:
        vae: The model.
        c: Conditions (n, k), for a model of p(x|c).
    """
    if c is not None:
        c = c[0]
    if solved(vae, c) is None:
        return "importance"
    return "exact"


def log_likelihood(
    vae: VAE,
    x: Tensor | Rows,
    method: str = "importance",
    samples: int | None = None,
    seed: int = 0,
    memory: int = MEMORY,
    c: Tensor | None = None,
    tolerance: float | None = None,
    **options: Any,
) -> LogLikelihood:
    r"""Estimate log p(x) for each row of x (n, *vae.shape), in nats in the units of x.

    Arguments:
        vae: The model. It is evaluated in the precision of x, float32 or float64, however it was
            trained.
        x: Rows, a tensor or `nelbo.data.Rows`, which bring their conditions along. Where the model
            takes missing values (NaN), log p(x) is the marginal density of the others; of a row
            without any it is 0.
        method: "importance" (a stochastic lower bound; Burda et al., 2016), "ais" (annealed
            importance sampling with Hamiltonian moves, a far tighter one; Neal, 2001, Wu et al.,
            2017), "quadrature" (one or two latent dimensions), "exact" (an affine decoder with
            Gaussian noise and a standard normal prior), or "auto": exact where possible, else
            quadrature where a grid is cheap, else importance sampling from normals fitted to each
            row's posterior, with more effort for rows that are unreliable by their weights: more
            draws, normals adapted to the row, AIS. ``reason`` of the result says what was
            done, and ``rung`` how far each row went.
        samples: Importance samples of each row (None is 100), or chains for "ais" (None is 16).
        seed: The seed of the noise, from 0 to 2**62 - 1.
        memory: Bytes for intermediate results; it changes speed, not results.
        c: Conditions (n, k), for a model of p(x|c): the result is then log p(x|c).
        tolerance: For "auto" the standard error of each row that is asked for, in nats: rows above
            it get more effort. None is 0.5, beyond which an error means little.
        options: For "importance" ``proposal``: "encoder", "mixture" (three in four samples from
            normals fitted to each row's posterior, at the mode that the encoder leads to and at
            that of one further start where it is near enough, by a few steps of Gauss and Newton;
            rows whose weights have a heavy tail are drawn anew, from normals adapted to them;
            outliers need it), "refined" (all of them, by Newton's steps, which take gradients) or
            "searched" (at the best mode that can be found). For "ais" the fields of `Settings`:
            ``temperatures``, ``leapfrogs``, ``acceptance``, ``schedule``, ``start``, ``widen``.

    Raises:
        TypeError: A setting of AIS, or the tolerance, is not a number.
        ValueError: The method or an option is unknown, ``samples`` is below 1, the tolerance is not
            positive or another method's, the seed is out of range, the rows do not fit, or the
            method is not for this model.
    """
    if method not in methods():
        raise ValueError(f"method must be one of {', '.join(methods())}, got {method!r}.")
    count = samples
    if count is None:
        count = {"ais": 16}.get(method, 100)
    if count < 1:
        raise ValueError(f"samples must be at least 1, got {samples}.")
    check_seed(seed)
    ladder = Ladder(count, seed, memory, _tolerance(tolerance, method))
    proposal, settings = _options(method, options)
    x, c = read(x, c)
    estimates: dict[str, Callable[[VAE, Examples], LogLikelihood]] = {
        "auto": ladder,
        "exact": exact,
        "quadrature": lambda model, rows: quadrature(model, rows, memory),
        "ais": lambda model, rows: annealed(model, rows, count, seed, memory, settings),
        "importance": lambda model, rows: importance(
            model, rows, count, seed, memory, _sampled_from(proposal)
        ),
    }
    if proposal == "mixture":
        estimates["importance"] = ladder.brief
    with judged(vae, x, c) as (model, rows):
        found = estimates[method](model, rows)
        if model.likelihood.models_missing:
            return found
        return _but_for_empty(found, rows.x)


def _but_for_empty(found: LogLikelihood, x: Tensor) -> LogLikelihood:
    """Return the same estimates, but for rows without any value: their log p(x) is 0."""
    empty = x.isnan().flatten(1).all(1).cpu()
    if not bool(empty.any()):
        return found
    return dataclasses.replace(
        found,
        value=found.value.masked_fill(empty, 0.0),
        standard_error=found.standard_error.masked_fill(empty, 0.0),
        ess=found.ess.masked_fill(empty, math.inf),
        khat=found.khat.masked_fill(empty, -math.inf),
    )


def bidirectional(
    vae: VAE,
    n: int = 100,
    chains: int = 16,
    seed: int = 0,
    memory: int = MEMORY,
    dtype: torch.dtype = torch.float32,
    c: Tensor | None = None,
    **options: Any,
) -> Bracket:
    """Bound log p(x) from both sides on n rows simulated from the model: bidirectional Monte Carlo.

    Arguments:
        vae: The model.
        n: Rows to simulate.
        chains: Chains of each row, in each direction.
        seed: The seed of rows and chains, from 0 to 2**62 - 1.
        memory: Bytes for intermediate results.
        dtype: Precision, float32 or float64.
        c: Conditions (n, k), for a model of p(x|c).
        options: The fields of `Settings`, as for method "ais".

    Raises:
        ValueError: A number is out of range, or an option unknown.
    """
    for name, value in (("n", n), ("chains", chains)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    check_seed(seed)
    _, settings = _options("ais", options)
    rows = 1
    if c is not None:
        rows = n
    with judged(vae, torch.zeros(rows, *vae.shape, dtype=dtype), c) as (model, like):
        return bracket(model, n, like, chains, seed, memory, settings)


def _tolerance(tolerance: float | None, method: str) -> float:
    """Return the standard error that is asked for, refusing one that nothing could reach."""
    if tolerance is None:
        return LogLikelihood.unsure
    if not isinstance(tolerance, numbers.Real) or isinstance(tolerance, bool):
        raise TypeError(f"tolerance must be a number of nats, got {tolerance!r}.")
    if not 0 < tolerance < math.inf:
        raise ValueError(f"tolerance must be positive and finite, got {tolerance}.")
    if method != "auto":
        raise ValueError(
            f'tolerance belongs to method="auto", which takes as many samples as it asks for, got '
            f"method={method!r}."
        )
    return float(tolerance)


def _options(method: str, options: dict[str, Any]) -> tuple[str, Settings]:
    """Return the proposal and the settings of AIS, refusing what the method does not know."""
    known = {
        "importance": ["proposal"],
        "ais": [field.name for field in dataclasses.fields(Settings)],
    }.get(method, [])
    unknown = sorted(set(options) - set(known))
    if unknown:
        takes = "has no options"
        if known:
            takes = f"knows {', '.join(known)}"
        raise ValueError(f"method={method!r} {takes}, got {', '.join(unknown)}.")
    proposal = options.get("proposal", "encoder")
    known = ["encoder", "mixture", *(name for name in PROPOSALS if name != "encoder")]
    if proposal not in known:
        raise ValueError(f"proposal must be one of {', '.join(known)}, got {proposal!r}.")
    if method == "ais":
        return proposal, Settings(**options)
    return proposal, Settings()


def _sampled_from(proposal: str) -> Sampled:
    """Return what makes the source of importance samples, by its name."""
    if proposal == "encoder":
        return from_encoder_itself
    return placed(PROPOSALS[proposal])
