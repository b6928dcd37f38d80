r"""What all contestants share, nelbo too:
the job, the clock, and one estimate of held-out log p(x).

.. math:: \log \frac1K \sum_k \frac{N(x \mid f(z_k), \beta^2 I) \, N(z_k \mid 0, I)}{q(z_k \mid x)},
    \quad z_k \sim q

The clock runs from the start of model building. It stands still while log p(x) is measured.
"""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
ROWS_FOR_VARIANCE = 10_000
IMAGES, SAMPLES = 1000, 200
"""Held-out rows, the first ones, and importance samples of each."""


class Model(Protocol):
    """What can be evaluated: q(z|x) and the mean of p(x|z)."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of q(z|x)."""

    def decode(self, z: Tensor) -> Tensor:
        """Return f(z)."""


class Done(Exception):
    """Raised after the step that ends a run, from inside whatever loop a peer has."""


def read() -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Return the job with the memory in use before its data, and the training and test rows."""
    job = json.loads((FOLDER / "job.json").read_text())
    job["imports_bytes"] = peak_bytes()
    train, test = (np.load(Path(job["data"]) / f"{part}.npy") for part in ("train", "test"))
    return job, train, test


def write(**result: Any) -> None:
    """Leave the result."""
    (FOLDER / "result.json").write_text(json.dumps(result, default=float))


def peak_bytes() -> int:
    """Return the largest resident size of this process so far.

    On Linux, getrusage would count the process that started this one, too, as it was at that
    moment.
    """
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


class Watch:
    """One training run, told after every step; it raises `Done` when the run is over.

    A job of the task "speed" wants the seconds of ``steps`` steps after ``warmup`` others. One of
    the task "quality" wants log p(x) at the seconds ``at``, and at growing intervals where
    ``growth`` is set, until ``limit`` seconds or until it reaches ``target``. A peer's beta^2 is
    first fitted to training rows in closed form, the best for its weights; that costs it no time.
    """

    def __init__(self, job: dict[str, Any], train: np.ndarray, test: np.ndarray) -> None:
        self.job, self.steps, self.paused, self.curve = job, 0, 0.0, []
        self.train, self.test = (
            torch.from_numpy(x.reshape(len(x), -1)) for x in (train, test[:IMAGES])
        )
        self.marks: list[float] = []
        self.due = self._next(0.0)
        self.begun = time.perf_counter()

    def seconds(self) -> float:
        """Return the seconds of training so far."""
        return time.perf_counter() - self.begun - self.paused

    def step(self, model: Model, steps: int = 1) -> None:
        """Count steps, and do what is due.

        Raises:
            Done: That was the last one.
        """
        before, self.steps = self.steps, self.steps + steps
        if self.job["task"] == "speed":
            first, last = self.job["warmup"], self.job["warmup"] + self.job["steps"]
            if before < first <= self.steps or before < last <= self.steps:
                self.marks.append(time.perf_counter())
            if self.steps >= last:
                raise Done
            return
        if (seconds := self.seconds()) >= self.due:
            if self.measure(model, seconds) >= self.job.get("target", math.inf):
                raise Done
            self.due = self._next(seconds)
        if seconds >= self.job["limit"]:
            raise Done

    def measure(self, model: Model, seconds: float) -> float:
        """Add a point to the curve while the clock stands still."""
        begun = time.perf_counter()
        beta2 = best_variance(model, self.train)
        nats = log_likelihood(model, beta2, self.test)
        error = float(nats.std()) / math.sqrt(len(nats))
        self.curve.append([seconds, self.steps, float(nats.mean()), error, math.sqrt(beta2)])
        self.paused += time.perf_counter() - begun
        return self.curve[-1][2]

    def result(self) -> dict[str, Any]:
        """Return what was measured."""
        found: dict[str, Any] = {"curve": self.curve, "steps": self.steps}
        if self.job["task"] == "speed":
            found = {"seconds_per_step": (self.marks[1] - self.marks[0]) / self.job["steps"]}
        return {**found, "imports_bytes": self.job["imports_bytes"], "peak_bytes": peak_bytes()}

    def _next(self, seconds: float) -> float:
        planned = [t for t in self.job.get("at", ()) if t > seconds]
        growth = self.job.get("growth")
        return min(
            planned + ([max(seconds * growth, seconds + 0.25)] if growth else []), default=math.inf
        )


@torch.no_grad()
def log_likelihood(
    model: Model, beta2: float, x: Tensor, samples: int = SAMPLES, seed: int = 0
) -> Tensor:
    """Estimate log p(x) of each row, in nats."""
    generator, parts = torch.Generator().manual_seed(seed), []
    for rows in x.split(50):
        mean, std = model.encode(rows)
        noise = torch.randn(samples, *mean.shape, generator=generator)
        z = mean + std * noise
        x_hat = model.decode(z.flatten(0, 1)).view(samples, len(rows), -1)
        log_lik = -0.5 * (x_hat - rows).square().sum(-1).double() / beta2
        # log p(z) - log q(z|x)
        log_ratio = (0.5 * (noise.square() - z.square()) + std.log()).sum(-1)
        parts.append((log_lik + log_ratio).logsumexp(0) - math.log(samples))
    return torch.cat(parts) - 0.5 * x.shape[1] * math.log(2 * math.pi * beta2)


@torch.no_grad()
def best_variance(model: Model, x: Tensor) -> float:
    """Return the beta^2 that is best for a model's weights:
    the mean squared residual of evenly spaced rows.
    """
    generator, total = torch.Generator().manual_seed(1), 0.0
    rows = x[:: max(1, len(x) // ROWS_FOR_VARIANCE)]
    for part in rows.split(1000):
        mean, std = model.encode(part)
        z = mean + std * torch.randn(mean.shape, generator=generator)
        total += float((model.decode(z) - part).square().sum(dtype=torch.float64))
    return total / rows.numel()
