"""A run: what a checkpoint holds, and the steps that change it."""

from __future__ import annotations

__all__ = ["Run", "inner"]

import contextlib
import dataclasses
import functools
import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..data.dataset import KEPT_NUMBERS
from ..data.order import stream_seed
from ..data.rows import Batch, Rows
from ..distributions import closed_form_kl
from ..objective import Objective
from ..paired import trimmed_mean
from ..threads import allowed, products, worth
from ..vae import VAE
from . import fields
from .budget import Budget
from .checks import check_rows
from .clipping import Clipping
from .fast.direct import Direct
from .fast.memory import keep_freed_memory
from .history import History, Record
from .noise_step import VarianceStep, learned_variances, refine
from .optimisers import OPTIMIZERS
from .patience import Patience
from .precision import bfloat16_pays, resolve_device, resolve_precision
from .rate import RateSchedule, default_learning_rate
from .refined import Judged, Refined
from .settings import Settings

VALIDATED = 2048
"""Validation rows that a run looks at, evenly spaced: its choices compare the same rows."""


@dataclass(frozen=True)
class Best:
    """The best weights so far.

    Attributes:
        value: The mean bound of the rows that judge them, in model units.
        step: The step they are from.
        weights: The weights.
        bounds: The bound of each of these rows (n,); None after states of versions that did not
            keep it.
    """

    value: float
    step: int
    weights: dict[str, Tensor]
    bounds: Tensor | None


class Run:
    """The state of one call of `fit`.

    Arguments:
        objective: What to maximise.
        rows: What to train on.
        validation: What to validate on, or None.
        settings: How to train.
        history: Where records are added.
    """

    chunk = 1024
    """Examples times samples that are validated at once."""
    ending = 3.0
    """The time that follows the last step (a validation, the closed form of beta^2, a comparison),
    in units of one validation."""
    fewest_refined = 2**20
    """Values that the closed form of beta^2 looks at after a short run; after a longer one, all."""
    most_threads = 4096
    """Threads that a state may name: no machine has more."""
    fallen, fallen_per_value = 50.0, 0.1
    """Nats, or nats for each value of an example, by which a bound must fall for the run to go
    back: noise is far less."""
    slower = 0.5
    """Factor of the default learning rate each time that the run goes back so."""
    patience = Patience()
    """How long it goes on without a better validation bound."""
    corrections = 4
    """Steps of EM that bring a learned variance to what held-out rows need."""
    unaveraged = 50
    """Steps after which a running mean of the weights begins."""

    def __init__(
        self,
        objective: Objective,
        rows: Rows,
        validation: Rows | None,
        settings: Settings,
        history: History,
    ) -> None:
        check_rows(inner(objective).vae, rows, validation)
        self.settings, self.history = settings, history
        self.device = resolve_device(settings.device)
        keep_freed_memory()
        self.objective = objective.to(self.device)
        self.dtype = next((p.dtype for p in objective.parameters()), rows.dtype)
        self.rows = rows.on(self.device, self.dtype)
        self.coming: Iterator[Batch] | None = None
        self.validation = self._judging_rows(validation)
        self.seed, self.units = settings.seed, rows.units
        self.learning_rate = settings.learning_rate
        self.parts = [part for part in objective.modules() if isinstance(part, Objective)]
        # one made under inference_mode could not be told how far the run is
        for part in self.parts:
            part.progress = part.progress.clone()
        self.variance = VarianceStep(objective)
        special = {id(p) for p in self.variance.parameters}
        self.weights = [
            p for p in objective.parameters() if id(p) not in special and p.requires_grad
        ]
        self.choose_gradients()
        self.optimiser = OPTIMIZERS[settings.optimizer](self.weights, settings.weight_decay)
        self.generator = torch.Generator(self.device)
        self.average = settings.average
        self.averaged: dict[str, Tensor] | None = None
        self.live = self.objective.state_dict()  # the weights themselves, not copies
        self.step = 0
        self.seconds = 0.0
        self.best: Best | None = None
        self.clipping = Clipping(settings.clip, self.device)
        self.watched, self.retreated = False, 0
        self.begun: float | None = None
        """The bound before the first step, in model units, where training maximises what validation
        measures.
        """
        self.count = 0
        self.order: tuple[int, Tensor] | None = None
        self.allowed = allowed()
        """Threads that torch was given when the run began: another number would round sums in
        another way.
        """
        self.whole = True
        """Whether nothing is half done, so that the state is one that the run passes through."""
        self.ended = ""
        """Why training is over, once that is known."""
        self.finished = False
        """Whether what follows the last step is done, too."""
        self.rate = RateSchedule.of(settings.decay)
        self.peak = 0.0
        """The peak learning rate of this step."""
        self.budget = Budget.resolve(
            len(rows),
            rows.batch_size if settings.batch_size is None else settings.batch_size,
            settings.max_epochs,
            settings.max_steps,
            settings.max_seconds,
        )
        self.precision, self.adaptive = resolve_precision(
            settings.precision, self.device, self.objective, self.budget.batch_size
        )
        self.origin = self.mark = time.monotonic()

    def _judging_rows(self, rows: Rows | None) -> Batch | None:
        """Return the validation rows that a run looks at."""
        if rows is None:
            return None
        rows = validated(rows)
        x, c = rows.whole()
        x = x.to(self.device, self.dtype)
        self.model().check_rows("validation", x)
        return Batch(x) if c is None else Batch(x, c.to(self.device, self.dtype))

    def choose_gradients(self) -> None:
        """Use gradients that are written out where this model has them."""
        self.direct = Direct.of(self.objective, self.device)

    @property
    def threads(self) -> int:
        """The number of threads that a step is worth, or is allowed; nothing changes on a GPU."""
        vae, draws = self.model(), inner(self.objective).draws
        row = products(vae.encoder, vae.shape) + draws * products(vae.decoder, vae.shape)
        return (
            min(self.allowed, worth(self.budget.batch_size * row))
            if self.device.type == "cpu"
            else self.allowed
        )

    # -- one step
    # ------------------------------------------------------------------------------------

    def schedule(self) -> tuple[float, float]:
        """Set the peak rate; return the share of the budget spent, and the factor of that rate."""
        elapsed = self.elapsed()
        progress = self.budget.progress(self.step, elapsed)
        planned = self.budget.planned_steps(self.step, elapsed)
        default = default_learning_rate(planned) * self.slower**self.retreated
        self.peak = self.learning_rate or default
        return progress, self.rate.at(self.step, progress)

    def batch(self) -> Batch:
        """Return the rows of the next step, as they are stored."""
        if self.coming is None:
            self.coming = self.rows.visits(map(self.numbers, itertools.count(self.step)))
        return next(self.coming)

    def numbers(self, step: int) -> Tensor:
        """Return the numbers of the rows of a step."""
        epoch, start, end = self.budget.place(step)
        if self.order is None or self.order[0] != epoch:
            self.order = (epoch, self.rows.order(self.seed, epoch))
        return self.order[1][start:end]

    def prepare(self, batch: Batch) -> Batch:
        """Return stored rows as the model takes them."""
        return self.rows.prepare(batch, self.generator, self.parts[0].progress)

    def train_step(self, factor: float) -> None:
        """Take one optimiser step; a gradient that is not finite changes nothing."""
        self.whole = False
        batch = self.batch()
        # a run of one step ends with it
        self.tell(self.budget.progress(self.step + 1, self.elapsed()))
        bound = self.backward(batch)
        if self.step == 0 and self.variance.is_far_off():
            # One huge gradient would stay in the weights' second moments for a thousand steps: mend
            # beta^2 first.
            self.variance.step(0, factor, bool(bound.isfinite().all()))
            self.optimiser.zero_grad()
            bound = self.backward(batch)
        gradients = [p.grad for p in self.weights if p.grad is not None]
        divisor, finite = self.clipping.judge(gradients, self.step, self.step >= self.rate.WARMUP)
        self.optimiser.step(self.peak * factor, divisor, finite)
        self.optimiser.zero_grad()
        self.variance.step(self.step, factor, finite)
        self.clipping.add(bound, finite)
        self.count += len(batch.x)
        self.step += 1
        self.follow()
        self.whole = True

    @torch.no_grad()
    def follow(self) -> None:
        """Let the running mean of the weights follow them, where there is to be one."""
        if not self.average:
            return
        if self.averaged is None or self.step <= self.unaveraged:
            self.averaged = _weights(self.objective)
            return
        means, live = [], []
        for name, mean in self.averaged.items():
            if mean.is_floating_point():
                means.append(mean)
                live.append(self.live[name])
            else:  # a count or a mask has no mean
                mean.copy_(self.live[name])
        torch._foreach_lerp_(means, live, max(self.average, 1 / self.step))

    def fall_now(self, progress: float) -> None:
        """Go back to the best weights, and let the rate fall from here."""
        self.rate = self.rate.now(progress)
        if self.best is not None:
            self._return_to(self.best)

    def _return_to(self, best: Best) -> None:
        """Take up the best weights again, in their running mean, too."""
        self.objective.load_state_dict(best.weights)
        if self.averaged is not None:
            self.averaged = _weights(self.objective)

    @property
    def retreats(self) -> int:
        """How often the validation bound fell far below its best.

        It does where the rate is too high for noise that has become small.
        """
        best, count = -math.inf, 0
        far = max(self.fallen, self.fallen_per_value * math.prod(self.model().shape))
        for _, value in self.history.judged():
            count += value < best - far
            best = max(best, value)
        return count

    def watch(self, early_stopping: bool) -> None:
        """Settle on whether to go back when the validation bound falls.

        It does not where a rate was asked for.
        """
        self.watched = early_stopping and self.learning_rate is None
        if self.watched:
            self.retreated = self.retreats

    def retreat(self) -> None:
        """Go back to the best weights where the validation bound has fallen far below theirs."""
        retreats = self.retreats
        if retreats > self.retreated and self.best is not None:
            self._return_to(self.best)
        self.retreated = retreats

    def tell(self, progress: float) -> None:
        """Let objectives that change during a run know how much of it is spent, 0 to 1."""
        for part in self.parts:
            part.progress.fill_(progress)

    def trouble(self) -> list[str]:
        """Return what went wrong in training without ending it, in sentences.

        Weights that were chosen by held-out rows, row by row, are not worse than the first ones:
        the mean of their bounds may be, where a single row is far from all others.
        """
        if self.best is not None and self.history.best_step == self.best.step:
            return self.history.trouble(None)
        return self.history.trouble(self.in_units(self.begun))

    def in_units(self, bound: float | None) -> float | None:
        """Return a bound in the units of the data: where it is in nats, the Jacobian counts."""
        if bound is None or not inner(self.objective).in_nats:
            return bound
        return bound + self.units.log_density

    @property
    def weighted(self) -> bool:
        """Whether training maximises something else than validation measures."""
        return any(part.weighted for part in self.parts)

    @property
    def ramp(self) -> float:
        """The share of the run over which the objective still changes."""
        return max(part.ramp for part in self.parts)

    def backward(self, batch: Batch) -> Tensor:
        """Return the bound of each stored row with this step's noise.

        The gradients of their mean are left behind.
        """
        self.generator.manual_seed(stream_seed(self.seed, "noise", self.step))
        batch = self.prepare(batch)
        if self.direct is not None:
            low = None
            if self.precision == "bf16" and self.dtype == torch.float32:
                low = torch.bfloat16  # autocast leaves float64 alone
            return self.direct(batch.x, self.generator, low)
        with self.autocast():
            bound = self.bound(batch)
        # a gradient given here would make torch import sympy, half a second
        (-bound.mean()).backward()
        return bound

    def bound(self, batch: Batch) -> Tensor:
        """Return the objective of each row."""
        given = [tensor for tensor in (batch.c,) if tensor is not None]
        found: Tensor = self.objective(batch.x, self.generator, *given)
        return found

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context in which networks run."""
        if self.precision != "bf16":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    # -- validation
    # ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def judging(self) -> Iterator[None]:
        """Switch gradients and training behaviour off, the mean weights on, and back."""
        weights = _weights(self.objective) if self.averaged is not None else None
        self.objective.eval()
        try:
            self.take_mean()
            with torch.no_grad(), self.autocast():
                yield
        finally:
            if weights is not None:
                self.objective.load_state_dict(weights)
            self.objective.train()

    def take_mean(self) -> None:
        """Put the running mean of the weights in their place, where there is one."""
        if self.averaged is not None:
            self.objective.load_state_dict(self.averaged)

    def bounds_of_held_out(self) -> Tensor | None:
        """Return the bound of each held-out row, of shape (n,); None where there are none."""
        if self.validation is None:
            return None
        chunks = self.validation.split(max(1, self.chunk // inner(self.objective).draws))
        return torch.cat([self.bound(chunk) for chunk in chunks]).double().cpu()

    def begin(self, value: float | None) -> None:
        """Note the bound before the first step, on held-out rows where there are any.

        Raises:
            FloatingPointError: It is not finite.
        """
        if not self.weighted:
            self.begun = value
            if value is None:
                self.begun = self.bound_of_some()
        if value is not None and not math.isfinite(value):
            raise FloatingPointError(
                f"The bound of the initial model is {value} on the validation rows. "
                "Check that the data are scaled and that the network's outputs are finite."
            )

    @functools.cached_property
    def refined(self) -> Refined | None:
        """How held-out rows are judged; None where their bound is the encoder's."""
        if self.validation is None or (self.history.records and not self.history.is_refined):
            return None
        return Refined().spread(inner(self.objective), self.validation, self.budget)

    def judge(self, last: bool) -> Judged | None:
        """Return what the rows that judge the run say; None where they are not asked now."""
        refined = self.refined
        if refined is None or self.validation is None:
            return None
        if not last and len(self.history.records) % refined.every:
            return None
        self.generator.manual_seed(stream_seed(self.seed, "refined"))
        rows = refined.chosen(self.validation)
        with torch.autocast(self.device.type, enabled=False):  # differences need all digits
            return refined(self.model(), rows, self.generator)

    def keep_if_ahead(self, bounds: Tensor | None) -> None:
        """Keep copies of the weights that are validated where they are the best so far."""
        value = _mean(bounds)
        if value is None or bounds is None or not math.isfinite(value) or not self.is_ahead(bounds):
            return
        if self.averaged is None:
            weights = _weights(self.objective)
        else:
            weights = {name: mean.clone() for name, mean in self.averaged.items()}
        self.best = Best(value, self.step, weights, bounds)

    def validate(self, factor: float, last: bool = False) -> Record:
        """Measure the bound on held-out rows, keep the best weights, and return a record.

        The record is in the user's units.

        Arguments:
            factor: The multiple of the peak rate of this step.
            last: Whether no validation follows.
        """
        begun = time.monotonic()
        self.whole = False
        if self.adaptive and not bfloat16_pays(self.objective):
            self.precision, self.adaptive = "float32", False
        self.generator.manual_seed(stream_seed(self.seed, "validation"))
        with self.judging():
            bounds = self.bounds_of_held_out()
            value = _mean(bounds)
            kl, train = self.mean_kl(), self.judged_train()
            if self.step == 0:
                self.begin(value)
            judged = self.judge(last)
        refined = None
        if judged is not None:
            refined = judged.bounds
            if self.step and self.settings.early_stopping and judged.residuals is not None:
                self.variance.follow(judged.residuals)
        self.keep_if_ahead(bounds if self.refined is None else refined)
        if self.step == 0:
            self.budget = self.budget.reserving(self.ending * (time.monotonic() - begun))
        record = self.record(train, value, kl, factor, _mean(refined))
        if self.watched:
            self.retreat()
        self.whole = True
        return record

    def is_ahead(self, bounds: Tensor) -> bool:
        """Return whether these bounds of held-out rows (n,) beat the best weights', by row.

        Means would do but for single rows far from all others, whose bounds change by more than all
        others' do.
        """
        if self.best is None or self.best.bounds is None:
            return True
        return trimmed_mean(bounds - self.best.bounds)[0] > 0

    def judged_train(self) -> float | None:
        """Return the mean objective over the training rows since the last record, or None.

        Where training maximises something else than validation measures, it is the latter, on some
        training rows.
        """
        taken = float(self.clipping.taken)
        if not taken or not self.weighted:
            return float(self.clipping.total) / taken if taken else None
        return self.bound_of_some()

    def bound_of_some(self) -> float:
        """Return the mean objective of some training rows: where rows are held out, of as many."""
        most = max(1, self.chunk // inner(self.objective).draws)
        if self.validation is not None:
            most = min(most, len(self.validation.x))
        batch = self.prepare(self.rows.some(most))
        return float(self.bound(batch).mean(dtype=torch.float64))

    def mean_kl(self) -> float | None:
        """Return the mean KL on up to one chunk of rows, or None where it has no closed form."""
        if self.validation is None:
            x, c = self.prepare(self.rows.some(self.chunk))
        else:
            x, c = next(self.validation.split(self.chunk))
        kl = closed_form_kl(*self.model().posterior_and_prior(x, c))
        return None if kl is None else float(kl.mean())

    def model(self) -> VAE:
        """Return the VAE inside the objective."""
        return inner(self.objective).vae

    def record(
        self,
        train: float | None,
        value: float | None,
        kl: float | None,
        factor: float,
        refined: float | None = None,
    ) -> Record:
        """Add a record to the history and start counting anew."""
        seconds = self.elapsed()
        variances = [log.detach().exp().cpu() for log in learned_variances(self.objective)]
        scale = torch.as_tensor(self.units.scale, dtype=torch.float64)
        beta = None
        # columns of different kinds have no noise of one kind
        if variances and self.model().likelihood.noise().variance is not None:
            beta = float((variances[0] * scale**2).mean().sqrt())
        record = Record(
            step=self.step,
            epoch=self.budget.epochs(self.step),
            seconds=seconds,
            train=self.in_units(train),
            validation=self.in_units(value),
            kl=kl,
            beta=beta,
            learning_rate=self.peak * factor,
            rate=self.count / max(time.monotonic() - self.mark, 1e-9),
            progress=self.budget.progress(self.step, seconds),
            skipped=int(self.clipping.skipped),
            refined=self.in_units(refined),
        )
        self.clipping.restart()
        self.count, self.mark = 0, time.monotonic()
        self.history.records.append(record)
        return record

    def already_recorded(self) -> bool:
        """Return whether the current step has its record."""
        return bool(self.history.records) and self.history.records[-1].step == self.step

    def elapsed(self) -> float:
        """Return the seconds of training so far, those before a resumption included."""
        return self.seconds + time.monotonic() - self.origin

    def refine(self) -> None:
        """Set a learned variance to its closed form, for a few per cent of what training cost.

        That form is the optimum of an average over q(z|x). Objectives that weigh their samples keep
        their own.
        """
        if not inner(self.objective).averages:
            return
        self.generator.manual_seed(stream_seed(self.seed, "refine"))
        seen = round(self.budget.epochs(self.step) * len(self.rows))
        most = max(self.fewest_refined // math.prod(self.model().shape), seen // 10, 1)
        with self.autocast():
            refine(self.model(), self.rows.spaced(most, KEPT_NUMBERS), self.generator)
        self.correct_noise()

    @torch.no_grad()
    def correct_noise(self) -> None:
        """Make a learned variance as large as rows held out need it, where these decide."""
        if not self.settings.early_stopping:
            return
        for _ in range(self.corrections):
            judged = self.judge(last=True)
            if judged is None or judged.residuals is None:
                return
            if not self.variance.correct(judged.residuals):
                return

    # -- what a checkpoint holds
    # ---------------------------------------------------------------------

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return all that the rest of the run depends on, as JSON and tensors."""
        config = {
            "finished": False,
            "threads": self.allowed,
            "ended": self.ended,
            "step": self.step,
            "max_seconds": self.budget.max_seconds,
            "seconds": self.elapsed(),
            "count": self.count,
            "fall": dataclasses.asdict(self.rate),
            "held_out_factor": self.variance.factor,
            "precision": self.precision,
            "adaptive": self.adaptive,
            "best": None if self.best is None else [self.best.value, self.best.step],
            "history": self.history.to_dict(),
        }
        tensors = {f"model.{name}": value for name, value in _weights(self.objective).items()}
        if self.best is not None:
            tensors |= {f"best.{name}": value for name, value in self.best.weights.items()}
            if self.best.bounds is not None:
                tensors["best_bounds"] = self.best.bounds
        if self.averaged is not None:
            tensors |= {f"averaged.{name}": value.clone() for name, value in self.averaged.items()}
        tensors |= {f"optimiser.{name}": value for name, value in self.optimiser.state().items()}
        tensors |= self.clipping.state()
        return config, tensors

    def outcome(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return what came of a run that is finished, as JSON and tensors."""
        config = {
            "finished": True,
            "threads": self.allowed,
            "step": self.step,
            "history": self.history.to_dict(),
        }
        return config, {f"model.{name}": value for name, value in _weights(self.objective).items()}

    def is_sound(self) -> bool:
        """Return whether all weights are finite, so that there is something to keep."""
        return all(bool(value.isfinite().all()) for value in self.objective.state_dict().values())

    def load_state(self, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Go on from a state, or take up what came of a finished run.

        Raises:
            StateError: A field or tensor is missing, unknown or odd; the message names it. The run
                is then unusable.
        """
        self.finished = fields.flag(config, "finished")
        self.allowed = fields.integer(config, "threads", 1, self.most_threads)
        self.step = fields.integer(config, "step", 0, self.budget.max_steps)
        self._load_history(fields.section(config, "history"))
        if self.finished:
            wanted = {f"model.{name}": value for name, value in self.live.items()}
            fields.tensors_like(tensors, wanted)
            if not all(bool(value.isfinite().all()) for value in tensors.values()):
                raise fields.StateError("the weights are not finite")
        else:
            self._load_progress(config, tensors)
            self.optimiser.load_state(_part(tensors, "optimiser."))
            self.clipping.load_state(tensors)
        self.objective.load_state_dict(_part(tensors, "model."))
        self.origin = self.mark = time.monotonic()

    def _load_history(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise fields.StateError("history holds no fields")
        history = History.from_dict(state)
        steps = [record.step for record in history.records]
        if steps != sorted(set(steps)) or not all(
            0 <= step <= self.step for step in [*steps, history.best_step]
        ):
            raise fields.StateError(
                f"history has the steps {steps[-3:]}, expected growing ones up to {self.step}"
            )
        if not all(math.isfinite(record.epoch) and record.epoch >= 0 for record in history.records):
            raise fields.StateError("history has an epoch that is no number of passes")
        if self.finished and not history.records:
            raise fields.StateError("history has no records, though training is finished")
        self.history.records[:] = history.records
        self.history.best_step, self.history.stopped = history.best_step, history.stopped

    def _load_progress(self, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Take the fields of a run that goes on, and see that the tensors belong to them."""
        self.ended = fields.word(config, "ended", ("", "steps", "seconds", "early", "callback"))
        self.seconds = fields.number(config, "seconds", 0)
        self.count = fields.integer(config, "count")
        self.rate = self._fall(fields.section(config, "fall"))
        if "held_out_factor" in config:  # states of older versions have none
            most = self.variance.most
            self.variance.factor = fields.number(config, "held_out_factor", 1.0, most)
        self.precision = fields.word(config, "precision", ("float32", "bf16"))
        self.adaptive = fields.flag(config, "adaptive")
        self._load_limit(config)
        self._load_best(config, tensors)
        averaged = _part(tensors, "averaged.")
        if (not averaged) == bool(self.average and self.step):
            raise fields.StateError(
                "the running mean of the weights is there, or missing, where it should not be"
            )
        self.averaged = None
        if averaged:
            self.averaged = {name: value.to(self.device) for name, value in averaged.items()}
        fields.tensors_like(tensors, self._wanted())
        for name, tensor in tensors.items():
            if not _is_sound(name, tensor):
                raise fields.StateError(f"{name} holds values that are not finite")

    def _load_limit(self, config: dict[str, Any]) -> None:
        """Take the limit of time, which is as long as the run's own, or there is none."""
        limit = fields.section(config, "max_seconds")
        if (limit is None) != (self.budget.max_seconds is None):
            raise fields.StateError(
                f"max_seconds is {limit!r}, expected {self.budget.max_seconds!r}"
            )
        if limit is not None:
            seconds = fields.number(config, "max_seconds", 1e-9)
            self.budget = dataclasses.replace(self.budget, max_seconds=seconds)

    def _load_best(self, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Take the best weights and their bound, where there are any."""
        best = fields.section(config, "best")
        if best is None:
            return
        if not isinstance(best, list) or len(best) != 2:
            raise fields.StateError(f"best is {best!r}, expected a bound and its step")
        pair = {"bound of the best weights": best[0], "step of the best weights": best[1]}
        value = fields.number(pair, "bound of the best weights")
        step = fields.integer(pair, "step of the best weights", 0, self.step)
        self.best = Best(value, step, _part(tensors, "best."), tensors.get("best_bounds"))

    def _wanted(self) -> dict[str, Tensor]:
        """Return tensors like all those that belong to a state with what was taken so far."""
        kinds = ["model."]
        if self.best is not None:
            kinds.append("best.")
        if self.averaged is not None:
            kinds.append("averaged.")
        wanted = {f"{kind}{name}": value for kind in kinds for name, value in self.live.items()}
        wanted |= {f"optimiser.{name}": value for name, value in self.optimiser.state().items()}
        if self.best is not None and self.validation is not None:
            judging = self.validation
            if self.history.is_refined:
                judging = Refined().chosen(judging)
            wanted["best_bounds"] = torch.empty(len(judging.x), dtype=torch.float64)
        return wanted | self.clipping.state()

    def _fall(self, state: Any) -> RateSchedule:
        found = fields.record(RateSchedule, state, "fall")
        if found == self.rate:
            return found
        if not (
            found.early
            and found.decay == self.rate.decay is not None
            and 0 <= found.start <= found.end <= 1
        ):
            raise fields.StateError(f"fall is {state!r}, which no run with these options comes to")
        return found


def _is_sound(name: str, tensor: Tensor) -> bool:
    """Return whether the values of a tensor of a state may be those of a run that goes on.

    Moments of an optimiser may overflow, and a total of bounds be anything.
    """
    if name == "total":
        return True
    if name.startswith("optimiser."):
        return not bool(tensor.isnan().any())
    return bool(tensor.isfinite().all())


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin like this, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _weights(module: nn.Module) -> dict[str, Tensor]:
    """Return copies of a module's weights, not references to them."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def _mean(bounds: Tensor | None) -> float | None:
    """Return the mean of some bounds, where there are any."""
    if bounds is None:
        return None
    return math.fsum(bounds.tolist()) / len(bounds)


def validated(rows: Rows) -> Rows:
    """Return the validation rows that a run looks at, evenly spaced."""
    return rows.every(max(1, math.ceil(len(rows) / VALIDATED)))


def inner(objective: nn.Module) -> Objective:
    """Return the objective itself, whatever wraps it: DistributedDataParallel, say."""
    return cast(Objective, getattr(objective, "module", objective))
