"""One loop: objective, batches, optimiser -> History."""

from __future__ import annotations

__all__ = ["Store", "fit"]

import contextlib
import math
import time
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..objective import Objective
from .history import Callback, History, Record, Units
from .interrupt import uninterrupted
from .precision import bfloat16_pays, resolve_device, resolve_precision
from .schedule import Budget, epoch_order, learning_rate_factor, stream_seed
from .variance import VarianceStep, learned_gaussians, refine

WARMUP = 50
"""Steps over which the learning rate rises."""
PATIENCE = 0.2
"""Share of the budget that may pass without a better validation bound before training stops."""
MINIMUM_PATIENCE = 10
"""Validations that must pass without a better bound before training stops."""
MINIMUM_REFINE = 8192
"""Rows that the closed form of beta^2 looks at after a short run; a longer one looks at all of them."""
VALIDATION_CHUNK = 1024
"""Rows validated at once."""


class Store(Protocol):
    """Where a run keeps its state, such as `nelbo.checkpoint.Folder`."""

    def load(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """Return the last state saved, or None."""

    def save(self, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Replace the state, all or nothing."""


def fit(
    objective: Objective,
    x: Tensor,
    *,
    validation: Tensor | None = None,
    max_epochs: int | None = None,
    max_steps: int | None = None,
    max_seconds: float | None = None,
    batch_size: int | None = None,
    learning_rate: float = 2e-3,
    weight_decay: float = 0.0,
    clip: float | None = 10.0,
    early_stopping: bool = True,
    seed: int = 0,
    device: str | torch.device = "auto",
    precision: str = "auto",
    callbacks: Iterable[Callback] = (),
    units: Units | None = None,
    store: Store | None = None,
    store_every: float = 30.0,
    history: History | None = None,
) -> History:
    r"""Maximise ``objective(x).mean()`` in place.

    Tensor-resident batches, fused AdamW, a linear warm-up and a cosine; a learned :math:`\beta^2` follows its closed
    form. With ``validation`` rows the weights of the best validation bound are kept (early stopping); without, the last.
    Everything is a function of ``seed``, and torch's global random state is left alone.

    Arguments:
        objective: What to maximise, such as ``objective.ELBO(vae)``; it may be wrapped by DDP or compile.
        x: Training rows, of shape (n, *vae.shape).
        validation: Held-out rows, of the same shape.
        max_epochs, max_steps, max_seconds: Limits; the first reached ends training. Without any, the number of steps
            grows with the number of rows (`schedule.default_steps`).
        batch_size: Rows in a step; None grows from 32 to 512 with the data.
        learning_rate: Its peak.
        weight_decay: AdamW's, per unit of learning rate.
        clip: Gradients longer than this multiple of their running mean length are shortened to it; None never does.
        early_stopping: Stop when a fifth of the budget has passed without a better validation bound.
        seed: Of data order and noise.
        device: "auto", "cpu", "cuda", ...
        precision: "auto", "bf16" (autocast) or "float32".
        callbacks: Called with each `Record`; training stops if one returns True.
        units: How records are turned into the user's units.
        store: Where to save the state every ``store_every`` seconds and on interruption; a state found there is resumed.
        history: Where records are added, so that they outlive an interruption; None makes a new one.

    Returns:
        The records, the step whose weights were kept and why training ended.

    Raises:
        ValueError: Rows and model do not fit together, or an option is out of range.
        FloatingPointError: The very first bound is not finite.
    """
    run = _Run(objective, x, validation, learning_rate, weight_decay, clip, seed, device, units or Units())
    run.budget = Budget.resolve(len(x), batch_size, max_epochs, max_steps, max_seconds)
    run.choose_precision(precision)
    run.early_stopping = early_stopping and validation is not None
    run.history = History() if history is None else history
    if store is not None and (state := store.load()) is not None:
        run.load_state(*state)
    run.go(list(callbacks), store, store_every)
    return run.history


class _Run:
    """The state of one call of `fit`: what a checkpoint holds, and the steps that change it."""

    budget: Budget
    early_stopping: bool

    def __init__(
        self,
        objective: Objective,
        x: Tensor,
        validation: Tensor | None,
        learning_rate: float,
        weight_decay: float,
        clip: float | None,
        seed: int,
        device: str | torch.device,
        units: Units,
    ) -> None:
        _check_rows(objective, x, validation)
        if not learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {learning_rate}.")
        self.device = resolve_device(device)
        self.objective = objective.to(self.device)
        self.x = x.to(self.device)
        self.validation = None if validation is None else validation.to(self.device)
        self.seed, self.units, self.clip, self.learning_rate = seed, units, clip, learning_rate
        self.variance = VarianceStep(objective)
        special = {id(p) for p in self.variance.parameters}
        self.weights = [p for p in objective.parameters() if id(p) not in special and p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            self.weights or [nn.Parameter(torch.zeros(1, device=self.device))],
            lr=learning_rate,
            weight_decay=weight_decay,
            fused=True,
        )
        self.generator = torch.Generator(self.device)
        self.step = 0
        self.seconds = 0.0
        self.best: tuple[float, int, dict[str, Tensor]] | None = None
        self.history = History()
        self.mean_norm = torch.zeros((), device=self.device)
        self.skipped = torch.zeros((), device=self.device)
        self.total = torch.zeros((), device=self.device, dtype=torch.float64)
        self.count = 0
        self.order: tuple[int, Tensor] | None = None
        self.origin = self.mark = time.monotonic()

    def choose_precision(self, precision: str) -> None:
        """Settle on float32 or bfloat16, and on whether that may still change."""
        self.precision, self.adaptive = resolve_precision(
            precision, self.device, self.objective, self.budget.batch_size
        )

    # -- one step ------------------------------------------------------------------------------------

    def batch(self) -> Tensor:
        """Return the rows of the next step."""
        epoch, index = divmod(self.step, self.budget.steps_per_epoch)
        if self.order is None or self.order[0] != epoch:
            self.order = (epoch, epoch_order(len(self.x), self.seed, epoch).to(self.device))
        size = self.budget.batch_size
        return self.x.index_select(0, self.order[1][index * size : (index + 1) * size])

    def train_step(self, factor: float) -> None:
        """Take one optimiser step; a gradient that is not finite changes nothing."""
        x = self.batch()
        self.generator.manual_seed(stream_seed(self.seed, "noise", self.step))
        with self.autocast():
            bound = self.objective(x, self.generator)
        (-bound.mean()).backward()
        finite = self.scale_gradients()
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate * factor
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.variance.step(self.step, factor, finite)
        self.total += torch.where(finite, bound.detach().sum(dtype=torch.float64), 0.0)
        self.count += len(x)
        self.step += 1

    def scale_gradients(self) -> Tensor:
        """Tell the fused optimiser, without a host sync, to shorten a long gradient or to skip one that is not finite."""
        norms = torch._foreach_norm([p.grad for p in self.weights if p.grad is not None])  # type: ignore[arg-type]
        if not norms:
            return torch.ones((), dtype=torch.bool, device=self.device)
        norm = torch.linalg.vector_norm(torch.stack(norms))
        finite = norm.isfinite()
        limit = self.mean_norm * self.clip if self.clip is not None and self.step >= WARMUP else norm
        norm = torch.where(finite, norm, limit)
        scale = (norm / limit.clamp_min(1e-30)).clamp_min(1.0)
        weight = max(1 / (self.step + 1), 0.02)
        self.mean_norm = self.mean_norm.lerp(torch.where(finite, norm / scale, self.mean_norm), weight)
        self.skipped += ~finite
        self.optimiser.grad_scale = scale.float()  # type: ignore[attr-defined]
        self.optimiser.found_inf = (~finite).float()  # type: ignore[attr-defined]
        return finite

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context in which networks run."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    # -- validation ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def judging(self) -> Iterator[None]:
        """Switch gradients and training behaviour off, and back on."""
        self.objective.eval()
        try:
            with torch.no_grad(), self.autocast():
                yield
        finally:
            self.objective.train()

    def validate(self, factor: float) -> Record:
        """Measure the bound on held-out rows, keep the best weights, and return a record in the user's units."""
        if self.adaptive and not bfloat16_pays(self.objective):
            self.precision, self.adaptive = "float32", False
        self.generator.manual_seed(stream_seed(self.seed, "validation"))
        value = None
        with self.judging():
            if self.validation is not None:
                chunks = self.validation.split(max(1, VALIDATION_CHUNK // self.model_objective().samples))
                value = math.fsum(float(self.objective(c, self.generator).sum(dtype=torch.float64)) for c in chunks)
                value /= len(self.validation)
            kl = self.mean_kl()
        if self.step == 0 and value is not None and not math.isfinite(value):
            raise FloatingPointError(
                f"The bound of the initial model is {value} on the validation rows. "
                "Check that the data are scaled and that the network's outputs are finite."
            )
        if value is not None and math.isfinite(value) and (self.best is None or value > self.best[0]):
            self.best = (value, self.step, _weights(self.objective))
        return self.record(value, kl, factor)

    def mean_kl(self) -> float | None:
        """Return the mean KL on up to one chunk of rows, or None where it has no closed form."""
        rows = (self.x if self.validation is None else self.validation)[:VALIDATION_CHUNK]
        kl = self.model().terms(rows[:1], 1, self.generator).kl
        if kl is None:
            return None
        q = self.model().encode(rows)
        return float(torch.distributions.kl_divergence(q, self.model().prior()).mean())

    def model(self) -> Any:
        """Return the VAE inside the objective, whatever wraps it."""
        return self.model_objective().vae

    def model_objective(self) -> Any:
        """Return the objective, whatever wraps it."""
        return getattr(self.objective, "module", self.objective)

    def record(self, value: float | None, kl: float | None, factor: float) -> Record:
        """Add a record to the history and start counting anew."""
        seconds = self.elapsed()
        train = float(self.total) / self.count + self.units.log_density if self.count else None
        variances = [part.variance.detach().cpu() for part in learned_gaussians(self.objective)]
        scale = torch.as_tensor(self.units.scale, dtype=torch.float64)
        beta = float((variances[0] * scale**2).mean().sqrt()) if variances else None
        record = Record(
            step=self.step,
            epoch=self.step / self.budget.steps_per_epoch,
            seconds=seconds,
            train=train,
            validation=None if value is None else value + self.units.log_density,
            kl=kl,
            beta=beta,
            learning_rate=self.learning_rate * factor,
            rate=self.count / max(time.monotonic() - self.mark, 1e-9),
            progress=self.budget.progress(self.step, seconds),
            skipped=int(self.skipped),
        )
        self.total.zero_()
        self.count, self.mark = 0, time.monotonic()
        self.history.records.append(record)
        return record

    # -- the run -------------------------------------------------------------------------------------

    def elapsed(self) -> float:
        """Return the seconds of training so far, those before a resumption included."""
        return self.seconds + time.monotonic() - self.origin

    def go(self, callbacks: list[Callback], store: Store | None, store_every: float) -> None:
        """Train until something ends it; whatever does, leave the best weights in place."""
        finished = False
        try:
            self.history.stopped = self.loop(callbacks, store, store_every)
            finished = True
        except KeyboardInterrupt:
            self.history.stopped = "interrupted"
            if store is not None:
                store.save(*self.state())
            raise
        finally:
            if self.best is not None and self.early_stopping:
                self.objective.load_state_dict(self.best[2])
            self.history.best_step = self.best[1] if self.best is not None and self.early_stopping else self.step
            self.objective.eval()
            if finished:
                self.generator.manual_seed(stream_seed(self.seed, "refine"))
                with self.autocast():
                    refine(self.model(), self.x, self.generator, self.rows_to_refine())

    def rows_to_refine(self) -> int:
        """Return how many rows the last look at the variance may cost: a few per cent of what training cost."""
        return max(MINIMUM_REFINE, self.step * self.budget.batch_size // 10)

    def loop(self, callbacks: list[Callback], store: Store | None, store_every: float) -> str:
        """Alternate steps and validations, and return why training ended."""
        self.objective.train()
        saved = time.monotonic()
        while True:
            progress = self.budget.progress(self.step, self.elapsed())
            factor = learning_rate_factor(self.step, progress, WARMUP)
            due = self.step % self.budget.validate_every == 0 and not self.already_recorded()
            if due or (progress >= 1 and not self.already_recorded()):
                with uninterrupted():
                    record = self.validate(factor)
                stop = [callback(record) for callback in callbacks]
                if any(answer is True for answer in stop):
                    return "callback"
                if progress < 1 and self.out_of_patience(progress):
                    return "early"
            if progress >= 1:
                return "steps" if self.budget.max_steps and self.step >= self.budget.max_steps else "seconds"
            if store is not None and time.monotonic() - saved > store_every:
                store.save(*self.state())
                saved = time.monotonic()
            with uninterrupted():
                self.train_step(factor)

    def already_recorded(self) -> bool:
        """Return whether the current step has its record."""
        return bool(self.history.records) and self.history.records[-1].step == self.step

    def out_of_patience(self, progress: float) -> bool:
        """Return whether too much of the budget has passed since the best validation bound."""
        if not self.early_stopping or self.best is None:
            return False
        since = [record for record in self.history.records if record.step > self.best[1]]
        return len(since) > MINIMUM_PATIENCE and progress - since[0].progress > PATIENCE

    # -- what a checkpoint holds ---------------------------------------------------------------------

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return all that the rest of the run depends on, as JSON and tensors."""
        config = {
            "step": self.step,
            "seconds": self.elapsed(),
            "count": self.count,
            "precision": self.precision,
            "adaptive": self.adaptive,
            "best": None if self.best is None else [self.best[0], self.best[1]],
            "history": self.history.to_dict(),
        }
        tensors = {f"model.{name}": value for name, value in _weights(self.objective).items()}
        if self.best is not None:
            tensors |= {f"best.{name}": value for name, value in self.best[2].items()}
        for index, parameter in enumerate(self.weights):
            moments = self.optimiser.state.get(parameter, {})
            tensors |= {f"optimiser.{index}.{key}": value.clone() for key, value in moments.items()}
        tensors |= {"mean_norm": self.mean_norm, "skipped": self.skipped, "total": self.total}
        return config, tensors

    def load_state(self, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Go on from a state."""
        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.step, self.seconds, self.count = config["step"], config["seconds"], config["count"]
        self.precision, self.adaptive = config["precision"], config["adaptive"]
        self.history.records[:] = History.from_dict(config["history"]).records
        self.objective.load_state_dict(part("model."))
        if config["best"] is not None:
            self.best = (config["best"][0], config["best"][1], part("best."))
        for index, parameter in enumerate(self.weights):
            if moments := part(f"optimiser.{index}."):
                self.optimiser.state[parameter] = {k: v.to(self.device) if k != "step" else v for k, v in moments.items()}
        self.mean_norm, self.skipped, self.total = (
            tensors[name].to(self.device) for name in ("mean_norm", "skipped", "total")
        )
        self.origin = self.mark = time.monotonic()


def _weights(module: nn.Module) -> dict[str, Tensor]:
    """Return copies of a module's weights, not references to them."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def _check_rows(objective: nn.Module, x: Tensor, validation: Tensor | None) -> None:
    """Refuse rows that the model cannot take, by name."""
    shape = tuple(getattr(objective, "module", objective).vae.shape)
    for name, rows in (("x", x), ("validation", validation)):
        if rows is None:
            continue
        if tuple(rows.shape[1:]) != shape:
            raise ValueError(f"{name} has shape {tuple(rows.shape)}, but the model needs {('n', *shape)}.")
        if len(rows) == 0:
            raise ValueError(f"{name} has no rows.")
        if not bool(torch.isfinite(rows).all()):
            raise ValueError(f"{name} contains NaN or infinite values; remove or impute them first.")
