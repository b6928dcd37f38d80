"""One loop: objective, batches, optimiser -> History."""

from __future__ import annotations

__all__ = ["Store", "fit"]

import contextlib
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import Tensor

from ..data.dataset import Batches, Data, held_out, rows_for
from ..objective import Objective
from ..threads import using
from .checks import check_batches, check_objective
from .fields import StateError
from .history import Callback, History
from .interrupt import deferred
from .rate import DECAY
from .run import VALIDATED, Run, inner
from .settings import Settings


class Store(Protocol):
    """Where a run keeps its state, such as `nelbo.checkpoint.Folder`."""

    def load(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """Return the last state saved, or None."""

    def save(self, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Replace the state, all or nothing.
        Where that fails, training goes on, and tries again later.
        """


@torch.inference_mode(False)
@torch.enable_grad()
def fit(
    objective: Objective,
    x: Data,
    *,
    validation: Data | None = None,
    max_epochs: int | None = None,
    max_steps: int | None = None,
    max_seconds: float | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    decay: float | None = DECAY,
    weight_decay: float = 0.0,
    optimizer: str = "adamw",
    average: float = 0.0,
    clip: float | None = 10.0,
    early_stopping: bool = True,
    seed: int = 0,
    device: str | torch.device = "auto",
    precision: str = "auto",
    callbacks: Iterable[Callback] = (),
    store: Store | None = None,
    store_every: float = 30.0,
    history: History | None = None,
) -> History:
    r"""Maximise ``objective(x).mean()`` in place.

    Tensor-resident batches, AdamW or Muon, a short warm-up, a rate that stays at its peak and falls
    in the end; a learned :math:`\beta^2` follows its closed form. With ``validation`` rows and
    ``early_stopping`` the weights of the best validation bound are kept, else the last.
    Everything is a function of ``seed``, and torch's global random state is left alone.

    Arguments:
        objective: What to maximise, such as ``objective.ELBO(vae)``; it may be wrapped by DDP or
            compile.
        x: Training rows, a tensor of shape (n, *vae.shape): the fast way where they fit into
            memory. Or `nelbo.data.Rows` (`nelbo.data.as_rows`), which may be stored in another form
            than the model takes them in and get fresh noise at every visit. Or a Dataset or
            DataLoader of known length, whose items are rows or tuples that begin with them: read as
            needed, by the DataLoader's workers, in batches of its size, but in the order of
            ``seed``, so that the run is what it would be on a tensor. Or batches as they come, a
            list or a DataLoader with a sampler of its own, say: gone through again and again in
            their own order, which ``seed`` does not reach; a resumed run begins a pass anew. For a
            model of p(x|c) items and batches are (x, c) or {"x": x, "c": c}.
        validation: Held-out rows, as the model takes them, likewise; a run looks at up to 2,048,
            evenly spaced (of batches as they come at the first).
        max_epochs, max_steps, max_seconds: Limits; the first reached ends training. Without any,
            the number of steps grows with the number of rows (`schedule.default_steps`).
        batch_size: Rows in a step; None grows from 32 to 256 with the data, and begins smaller in
            the first epoch.
        learning_rate: Its peak; None is 0.0015, and up to three times that in runs of fewer than
            4,000 steps. Where the validation bound then falls far below its best (by 50 nats, and
            0.1 for each value of an example), the best weights are taken up again, at half the
            rate.
        decay: Share of the run, at its end, over which the rate falls in a straight line to 1 % of
            its peak (warm-up, stable, decay: Hu et al., 2024); None is a cosine over the whole run
            (Loshchilov & Hutter, 2017).
        weight_decay: Decoupled, per unit of learning rate.
        optimizer: "adamw", or "muon" for the weight matrices: it takes fewer steps, but each costs
            as much as thousands of rows. It pays with many samples, large batches or on a GPU
            (``docs/performance.md``).
        average: Weight of the newest weights in a running mean, which is then what is validated and
            kept; 0 is none.
        clip: Gradients longer than this multiple of their running mean length are shortened to it;
            None never does.
        early_stopping: When a fifth of the budget has passed without a better validation bound, or
            a tenth in which the bound has been sinking all along, go back to the best weights, let
            the rate fall at once, and stop; under a cosine, just stop.
        seed: Of data order and noise.
        device: "auto", "cpu", "cuda", ...
        precision: "auto", "bf16" (autocast) or "float32".
        callbacks: Called with each `Record`; training stops if one returns True.
        store: Where to save the state every ``store_every`` seconds, on interruption, and when
            training is finished; a state there is resumed, with the number of threads that it began
            with, and one that is finished is returned as it was. A store may have a method
            ``refuse(why)`` that returns the error to raise for an odd state.
        history: Where records are added, so that they outlive an interruption; None makes a new
            one.

    Returns:
        The records, the step whose weights were kept and why training ended.

    Raises:
        ValueError: Rows and model do not fit together, or an option is out of range.
        FloatingPointError: The very first bound is not finite.

    Warns:
        UserWarning: Most steps were skipped, or training made the model worse.
    """
    check_objective(objective)
    settings = Settings(
        max_epochs=max_epochs,
        max_steps=max_steps,
        max_seconds=max_seconds,
        batch_size=batch_size,
        learning_rate=learning_rate,
        decay=decay,
        weight_decay=weight_decay,
        optimizer=optimizer,
        average=average,
        clip=clip,
        early_stopping=early_stopping,
        seed=seed,
        device=device,
        precision=precision,
    )
    conditional = inner(objective).vae.takes_condition
    rows, held = rows_for(x, conditional), held_out(validation, VALIDATED, conditional)
    if isinstance(rows, Batches):
        check_batches(rows, batch_size, bool(max_steps or max_seconds))
    run = Run(objective, rows, held, settings, History() if history is None else history)
    if store is not None and (state := store.load()) is not None:
        try:
            run.load_state(*state)
        except StateError as error:
            refuse = getattr(store, "refuse", ValueError)
            raise refuse(f"the state of training is damaged: {error}") from error
    if run.device.type == "cpu":
        run.history.threads = run.threads
    if run.finished:
        run.objective.eval()
        return run.history
    with using(run.threads):
        _go(run, early_stopping and held is not None, list(callbacks), store, store_every)
    for said in run.trouble():
        warnings.warn(said, UserWarning, stacklevel=4)
    return run.history


def _go(
    run: Run,
    early_stopping: bool,
    callbacks: list[Callback],
    store: Store | None,
    store_every: float,
) -> None:
    """Train until something ends it; whatever does, leave the best weights in place."""
    # Ctrl-C waits for the end of a step, and for what follows the last one
    with deferred() as release:
        try:
            run.history.stopped = _loop(run, early_stopping, callbacks, store, store_every, release)
            run.finished = True
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            if interrupted:
                run.history.stopped = "interrupted"
            if store is not None and run.whole and (interrupted or run.step):
                keep(store, run, "What was saved before is unchanged.")
            raise
        finally:
            if run.best is not None and early_stopping:
                run.objective.load_state_dict(run.best.weights)
            else:
                run.take_mean()
            run.history.best_step = (
                run.best.step if run.best is not None and early_stopping else run.step
            )
            run.objective.eval()
            run.tell(1.0)
        run.refine()
        if store is not None:
            keep(store, run, "The model is trained and in memory.")


def keep(store: Store, run: Run, otherwise: str) -> None:
    """Save the state of a run, or warn, and say how things stand where that fails."""

    def save() -> None:
        if not run.is_sound():
            raise ValueError("the weights are no longer finite")
        store.save(*(run.outcome() if run.finished else run.state()))

    attempt(save, otherwise)


def attempt(save: Callable[[], None], otherwise: str) -> None:
    """Save a state, or warn: whatever goes wrong with a file is no reason to end training.

    Arguments:
        save: What saves it.
        otherwise: How things stand where that fails.
    """
    try:
        save()
    except Exception as error:
        why = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        # A filter that makes errors of warnings must not end training either, nor take the place of
        # Ctrl-C.
        with contextlib.suppress(UserWarning):
            warnings.warn(
                f"The state of training could not be saved: {why}. {otherwise}", stacklevel=3
            )


def _loop(
    run: Run,
    early_stopping: bool,
    callbacks: list[Callback],
    store: Store | None,
    store_every: float,
    release: Callable[[], None],
) -> str:
    """Alternate steps and validations, and return why training ended."""
    run.objective.train()
    run.watch(early_stopping)
    saved = time.monotonic()
    while not run.ended:
        progress, factor = run.schedule()
        _judge(run, progress, factor, early_stopping, callbacks, release)
        if run.ended:
            break
        if store is not None and time.monotonic() - saved > store_every:
            keep(store, run, "Training goes on, and tries again later.")
            saved = time.monotonic()
        run.train_step(factor)
        release()
    return run.ended


def _judge(
    run: Run,
    progress: float,
    factor: float,
    early_stopping: bool,
    callbacks: list[Callback],
    release: Callable[[], None],
) -> None:
    """Validate where that is due, and find out whether training has come to its end."""
    over = progress >= 1 or run.rate.over(progress)
    due = over or run.step % run.budget.validate_every == 0
    if due and not run.already_recorded():
        _validate(run, factor, callbacks, over)
        release()
    if due and early_stopping and not over:
        _stop_early(run, progress)
    run.ended = run.ended or _limit_reached(run, progress)


def _stop_early(run: Run, progress: float) -> None:
    """Where the validation bound no longer improves, end the run, or let its rate fall."""
    if run.ended or not _out_of_patience(run, progress):
        return
    if run.rate.decay is None:
        run.ended = "early"
    else:
        run.fall_now(progress)


def _limit_reached(run: Run, progress: float) -> str:
    """Return what ends a run: an early fall seen through, its steps or its time; empty before."""
    if run.rate.over(progress):
        return "early"
    if progress < 1:
        return ""
    if run.budget.max_steps and run.step >= run.budget.max_steps:
        return "steps"
    return "seconds"


def _validate(run: Run, factor: float, callbacks: list[Callback], last: bool) -> None:
    """Add a record, and let the callbacks see it."""
    record = run.validate(factor, last)
    answers = [callback(record) for callback in callbacks]
    if any(answer is True for answer in answers):
        run.ended = "callback"
    elif callbacks:  # which may have changed the model
        run.choose_gradients()


def _out_of_patience(run: Run, progress: float) -> bool:
    """Return whether the validation bound has not got better for too long."""
    if run.best is None or (run.rate.decay is not None and not run.rate.pending(progress)):
        return False  # a fall that has begun is seen through
    return run.patience.is_out(run.history, run.best.step, progress, run.ramp)
