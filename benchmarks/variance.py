r"""How to learn beta^2: four rules, the same model, the same steps;
steps and seconds to a held-out bound.

The rules differ only in what happens to log beta^2 after each backward pass. With r the batch's
mean squared residual:

closed form   beta^2 <- a running mean of r (the library's rule)
log mean      log beta^2 <- log beta^2 + 0.05 log(r / beta^2): a running geometric mean
last batch    beta^2 <- r of the last batch alone
gradient      AdamW on log beta^2, with the network's learning rate
gradient x25  AdamW on log beta^2, with 25 times that rate
"""

from __future__ import annotations

import argparse
import math
import statistics
from typing import Any
from unittest import mock

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from nelbo import VariationalAutoencoder
from nelbo.training.noise_step import VarianceStep

from ._common import images, machine, report

TARGETS = {"fashion_mnist": (424.0, 500.0, 540.0), "digits": (-155.0, -148.0, -144.0)}
HEAD = (
    "data",
    "start",
    "rule",
    "target",
    "steps to target",
    "seconds to target",
    "best bound",
    "beta",
)


class LogMean(VarianceStep):
    """A running geometric mean of the residuals."""

    rate = 0.05

    @torch.no_grad()
    def step(self, step: int, factor: float, finite: Tensor) -> None:
        """Move log beta^2 towards log r."""
        for likelihood in self.likelihoods:
            parameter = likelihood.log_variance
            ratio = 1 - 2 * parameter.grad / (math.prod(likelihood.shape) / parameter.numel())
            moved = parameter + self.rate * ratio.clamp_min(1e-12).log()
            parameter.copy_(torch.where(finite & moved.isfinite(), moved, parameter))
            parameter.grad = None


class LastBatch(LogMean):
    """No memory at all."""

    rate = 1.0


class Gradient(VarianceStep):
    """AdamW on log beta^2."""

    times = 1.0

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.optimiser = torch.optim.AdamW(self.parameters, lr=2e-3, weight_decay=0.0)

    def step(self, step: int, factor: float, finite: Tensor) -> None:
        """Take a gradient step."""
        self.optimiser.param_groups[0]["lr"] = 2e-3 * self.times * factor
        if bool(finite):
            self.optimiser.step()
        self.optimiser.zero_grad()


class FastGradient(Gradient):
    """The same, faster."""

    times = 25.0


RULES: dict[str, type[VarianceStep]] = {
    "closed form": VarianceStep,
    "log mean": LogMean,
    "last batch": LastBatch,
    "gradient": Gradient,
    "gradient x25": FastGradient,
}


def main() -> None:
    """Compare the rules on both data sets from both starts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--data", nargs="+", default=["fashion_mnist", "digits"], choices=list(TARGETS)
    )
    options = parser.parse_args()
    before, rows = machine(), []
    for data in options.data:
        X: Any = load_digits().images if data == "digits" else images(data)[0]
        for start in ("ppca", "random"):
            for rule, cls in RULES.items():
                runs = [fit(X, start, cls, options.steps, seed) for seed in range(options.seeds)]
                for target in TARGETS[data]:
                    steps, seconds = zip(*(first(run, target) for run in runs), strict=True)
                    best = statistics.median(max(r.validation for r in run) for run in runs)
                    beta = statistics.median(run[-1].beta for run in runs)
                    middle = statistics.median(steps), statistics.median(seconds)
                    rows.append((data, start, rule, target, *middle, best, beta))
                    print(*rows[-1], flush=True)
    report("variance", HEAD, rows, before, steps=options.steps, seeds=options.seeds)


def fit(X: Any, start: str, rule: type[VarianceStep], steps: int, seed: int) -> list[Any]:
    """Return the records of one fit under a rule, validated every 20 steps."""
    model = VariationalAutoencoder(
        10, init=start, max_steps=steps, early_stopping=False, random_state=seed, network="residual"
    )
    with (
        mock.patch("nelbo.training.run.VarianceStep", rule),
        mock.patch("nelbo.training.budget.Budget.validate_every", 20),
    ):
        return list(model.fit(X).history_.records)


def first(records: list[Any], target: float) -> tuple[float, float]:
    """Return the step and the second at which the validation bound first reached a target;
    infinite if never.
    """
    for record in records:
        if record.validation >= target:
            return record.step, record.seconds
    return math.inf, math.inf


if __name__ == "__main__":
    main()
