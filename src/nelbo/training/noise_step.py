r"""The closed-form step of a learned :math:`\beta^2`.

The variance that maximises the expected log-likelihood is the mean squared residual,
:math:`E_q \|x - f(z)\|^2 / D`. With :math:`g` the gradient of the loss for :math:`\log \beta^2`,
counting D values,

.. math:: g = \frac{D}{2} \Bigl(1 - \frac{r}{\beta^2}\Bigr) \quad\Longrightarrow\quad r = \beta^2 (1
    - 2 g / D),

so the batch's optimum r comes free with every backward pass, whatever the objective weighs its
samples by. :math:`\beta^2` follows a running mean of r. ``docs/variance.md`` compares this with
gradient descent.

A network that overfits leaves smaller residuals on rows that it is trained on than on others, and a
:math:`\beta^2` that is their mean square is too small for others: :math:`\frac D2 (k - 1 - \log k)`
nats a row are lost where those of other rows are k times as large. Where rows are held out and
judged by a q near their posterior (`refined`), :math:`\beta^2` therefore follows :math:`\rho \, r`,
with :math:`\rho \ge 1` such that it is what held-out rows leave. A larger :math:`\beta^2` gives the
KL more weight, and so works against overfitting itself.

For a discretised Gaussian the same r is the mean of E[(y - f(z))^2 | x] over the values y that
round to x (Fisher's identity), so that each step is one of the EM algorithm (Dempster et al.,
1977): it climbs, and rests where g = 0.
"""

from __future__ import annotations

__all__ = ["VarianceStep", "learned_gaussians", "learned_variances", "refine"]

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..data.rows import Rows
from ..distributions import draw
from ..likelihood import Likelihood, likelihoods_in
from ..paired import trimmed_mean
from ..vae import VAE


def learned_gaussians(module: nn.Module) -> list[Likelihood]:
    """Return every likelihood inside ``module`` that learns a variance by its closed form."""
    return [head for head in likelihoods_in(module) if head.learned_variance() is not None]


def learned_variances(module: nn.Module) -> list[nn.Parameter]:
    r"""Return the :math:`\log \beta^2` of each of them."""
    found = (part.learned_variance() for part in learned_gaussians(module))
    return [parameter for parameter in found if parameter is not None]


class VarianceStep:
    r"""Moves each learned variance of a module towards its optimum after each backward pass.

    `nelbo.fit` takes this step by itself. A loop of your own needs one line, where its optimiser is
    made:

    .. code-block:: python

        optimizer = torch.optim.Adam(vae.parameters(), lr=1e-3)
        VarianceStep(vae).before(optimizer)

    Without it :math:`\log \beta^2` moves by at most the learning rate a step, which takes thousands
    of steps.

    Arguments:
        module: A model, an objective, or what holds some.
    """

    rate = 0.05
    """Weight of the newest batch in the running mean once it has run in."""
    far_off = 10.0
    """Factor beyond which a variance is mended before the first step."""
    most = 4.0
    """The largest factor between the residuals of held-out and of training rows."""
    sure = 2.0
    """Standard errors by which held-out residuals must differ from the noise to change it."""

    def __init__(self, module: nn.Module) -> None:
        self.likelihoods = learned_gaussians(module)
        self.parameters = learned_variances(module)
        self.factor = 1.0
        """How much larger residuals of held-out rows are than those of training rows."""

    def follow(self, residuals: Tensor) -> None:
        r"""Let the variances follow the residuals of held-out rows from the next step on.

        Arguments:
            residuals: The mean squared residual of each row, in units of :math:`\beta^2`, (n,).
        """
        ratio = self.ratio(residuals)
        # half of the way: the variances themselves take some steps to follow
        self.factor = min(max(self.factor * math.sqrt(ratio), 1.0), self.most)

    @torch.no_grad()
    def correct(self, residuals: Tensor) -> bool:
        """Make the variances those of held-out rows at once, where these are surely larger, and
        return whether they were.
        """
        ratio = self.ratio(residuals)
        for parameter in self.parameters:
            parameter.add_(math.log(max(ratio, 1.0)))
        return ratio > 1

    def ratio(self, residuals: Tensor) -> float:
        """Return the mean of some residuals, in units of the variance.

        It is 1 where they do not surely differ from the variance.
        """
        more, error = trimmed_mean(residuals - 1)
        if not abs(more) > self.sure * error:
            return 1.0
        return min(1 + more, self.most)

    def before(self, optimizer: torch.optim.Optimizer) -> VarianceStep:
        """Take the step before each step of a torch optimiser, which then leaves variances alone.

        The loss is to be a mean over rows, such as ``-objective(x).mean()``. Where a variance is
        more than ten times off at first, the first step sets it and moves nothing else: gradients
        that large would stay in an optimiser's second moments for a thousand steps.

        Arguments:
            optimizer: Any of ``torch.optim``, before its first step. Where its learning rate falls,
                this rate does.

        Returns:
            This object.
        """
        state = {"step": 0, "peak": 0.0}

        def hook(optimizer: torch.optim.Optimizer, *_: Any) -> None:
            rate = float(optimizer.param_groups[0]["lr"])
            state["peak"] = max(state["peak"], rate)
            first = state["step"] == 0 and self.is_far_off()
            self.step(int(state["step"]), rate / state["peak"] if state["peak"] else 1.0, True)
            state["step"] += 1
            if first:
                optimizer.zero_grad(set_to_none=True)

        optimizer.register_step_pre_hook(hook)
        return self

    @torch.no_grad()
    def is_far_off(self) -> bool:
        """Return whether the last batch finds a variance ten times too large or too small."""
        both = zip(self.likelihoods, self.parameters, strict=True)
        ratios = [_ratio(part, log.grad) for part, log in both if log.grad is not None]
        return any(bool(((r > self.far_off) | (r < 1 / self.far_off)).any()) for r in ratios)

    @torch.no_grad()
    def step(self, step: int, factor: float, finite: Tensor | bool) -> None:
        """Take the step numbered ``step`` if ``finite``, at a rate that shrinks by ``factor``."""
        rate = max(1 / (step + 1), self.rate * math.sqrt(factor))
        for likelihood, parameter in zip(self.likelihoods, self.parameters, strict=True):
            if parameter.grad is None:
                continue
            gradient, parameter.grad = parameter.grad, None
            if finite is False:
                continue
            if finite is True and parameter.ndim == 0:
                parameter.fill_(
                    _moved(
                        parameter.item(),
                        gradient.item() / _values(likelihood, gradient),
                        rate,
                        likelihood.floor,
                        self.factor,
                    )
                )
                continue
            # log(1 + rate (factor r / beta^2 - 1)) of the ratio in `_ratio`
            share = -2 * rate * self.factor / _values(likelihood, gradient)
            more = rate * (self.factor - 1)
            moved = parameter + (gradient * share).add_(more).clamp_min_(-rate).log1p_()
            moved = moved.clamp_min_(math.log(likelihood.floor))
            parameter.copy_(torch.where(moved.isfinite() & finite, moved, parameter))


def _ratio(likelihood: Likelihood, gradient: Tensor) -> Tensor:
    """Return r / beta^2, the batch's mean squared residual in units of the variance."""
    return (1 - 2 * gradient / _values(likelihood, gradient)).clamp_min(0)


def _moved(log_variance: float, gradient: float, rate: float, floor: float, factor: float) -> float:
    """Return the next log beta^2 by the gradient per value, in Python.

    Tensors of one number would take five times as long.
    """
    change = max(-2 * rate * factor * gradient + rate * (factor - 1), -rate)
    if not -1 < change < math.inf:
        return log_variance
    return max(log_variance + math.log1p(change), math.log(floor))


def _values(likelihood: Likelihood, gradient: Tensor) -> float:
    """Return D, how many values of a row share a variance."""
    return math.prod(likelihood.shape) / gradient.numel()


@torch.no_grad()
def refine(model: VAE, rows: Rows, generator: torch.Generator, settled: float = 1e-3) -> None:
    r"""Set every learned :math:`\beta^2` to its closed form over some rows, for these weights.

    Arguments:
        model: The trained model.
        rows: Training rows, on its device. Few rows get several z each.
        generator: Source of z ~ q(z|x), and of the rows' noise.
        settled: Change of log beta^2 by a step below which it was the last.
    """
    heads = learned_gaussians(model.likelihood)
    for _ in range(max((head.variance_steps for head in heads), default=0)):
        changes = []
        means = _mean_squares(model, rows, generator)
        for parameter, mean in zip(learned_variances(model.likelihood), means, strict=True):
            changes.append(float((mean.log() - parameter.double()).abs().max()))
            parameter.copy_(mean.log())
        if max(changes) < settled:
            return


def _mean_squares(
    model: VAE, rows: Rows, generator: torch.Generator, enough: int = 2**20
) -> list[Tensor]:
    r"""Return every learned :math:`\beta^2`, of its parameter's shape, of one EM step.

    It is at least the floor. One z per row averages well enough over ``enough`` values.
    """
    samples = max(1, min(16, enough // (len(rows) * math.prod(model.shape))))
    heads, learned = learned_gaussians(model.likelihood), learned_variances(model.likelihood)
    means = [_Mean(head, log) for head, log in zip(heads, learned, strict=True)]
    progress = torch.ones(())
    for numbers in rows.numbers().split(1024):
        x, c = rows.prepare(rows.fetch(numbers), generator, progress)
        q = model.encode(x, c)
        for _ in range(samples):
            p = model.decode(draw(q, (), generator), c)
            parts = model.likelihood.parts(p, x)
            learning = [part for part in parts if part[0].learned_variance() is not None]
            for mean, (head, own, values) in zip(means, learning, strict=True):
                mean.add(head.squared_residual(own, values), values)
    return [mean.value(len(rows) * samples) for mean in means]


class _Mean:
    """The mean of squared residuals, over the values that are there and say something of the noise.

    Arguments:
        head: The likelihood whose variance it is of.
        log_variance: Its logarithm, as it was.
    """

    def __init__(self, head: Likelihood, log_variance: Tensor) -> None:
        self.log_variance, self.floor = log_variance, head.floor
        self.total = torch.zeros(head.shape, dtype=torch.float64, device=log_variance.device)
        self.count = torch.zeros_like(self.total)

    def add(self, square: Tensor, x: Tensor) -> None:
        """Add the squared residuals of rows x, (n, *shape)."""
        gone = square.isnan() | x.isnan()
        self.total += square.masked_fill(gone, 0.0).sum(0, dtype=torch.float64)
        self.count += (~gone).sum(0)

    def value(self, every: int) -> Tensor:
        """Return the mean, of the parameter's shape, where ``every`` is how many there would be of
        a value that is always there.
        """
        one = self.log_variance.ndim == 0
        if bool((self.count == every).all()):
            mean = self.total / every
            return (mean.mean() if one else mean).clamp_min(self.floor)
        if one:
            return (self.total.sum() / self.count.sum()).clamp_min(self.floor)
        before = self.log_variance.double().exp()
        mean = torch.where(self.count > 0, self.total / self.count.clamp_min(1), before)
        return mean.clamp_min(self.floor)
