"""The loop: what it does is a function of the seed, and nothing it does is lost,
counted twice or done in vain.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import math
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from helpers import (
    Bytes,
    Memory,
    build,
    draw,
    equal_bits,
    linear_gaussian,
    normal,
    rng,
    started,
    weights,
)
from nelbo import VAE, History, evaluate, fit, initialize, objective, training
from nelbo.data import as_rows
from nelbo.data.order import epoch_order, stream_seed
from nelbo.linear import moments, ppca
from nelbo.training import run
from nelbo.training.budget import Budget, default_batch_size
from nelbo.training.noise_step import VarianceStep, learned_gaussians, refine
from nelbo.training.precision import bfloat16_pays, has_bfloat16, resolve_precision
from nelbo.training.rate import DECAY, RateSchedule
from nelbo.training.refined import Refined

STILL = 1e-30
"""A learning rate that moves no weight."""


class Probe(objective.ELBO):
    """An ELBO that notes the rows, the weights and the modes of every training call,
    and can spoil some.
    """

    def __init__(self, vae: VAE, spoil: dict[int, float] | None = None) -> None:
        super().__init__(vae)
        self.spoil = spoil or {}
        self.rows: list[Tensor] = []
        self.before: list[dict[str, Tensor]] = []
        self.bounds: list[Tensor] = []
        self.judged: list[tuple[int, bool, bool]] = []

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        bound = super().forward(x, generator)
        if not torch.is_grad_enabled():
            self.judged.append((len(x), self.training, bound.requires_grad))
            return bound
        self.rows.append(x)
        self.before.append(weights(self))
        self.bounds.append(bound.detach())
        return bound * self.spoil.get(len(self.rows) - 1, 1.0)


def small(dtype: torch.dtype = torch.float32, **options: Any) -> VAE:
    return build((3,), 2, "mlp", **({"hidden": (4,), "dtype": dtype} | options))


def numbered(n: int) -> Tensor:
    """Rows that can be told apart: the first value is a tenth of the row's number."""
    x = normal(n, 3, dtype=torch.float32)
    x[:, 0] = torch.arange(n) / 10
    return x


def same_record(record: training.Record) -> dict[str, Any]:
    """All of a record that the clock plays no part in."""
    return dataclasses.asdict(record) | {"seconds": 0.0, "rate": 0.0}


# -- order, seeds
# ------------------------------------------------------------------------------------


def test_every_epoch_visits_each_row_once_in_an_order_of_its_own() -> None:
    probe = Probe(small())
    fit(probe, numbered(10), max_epochs=3, batch_size=4, seed=5)
    assert [len(rows) for rows in probe.rows] == [4, 4, 2] * 3
    order = (10 * torch.cat(probe.rows)[:, 0]).round().long().reshape(3, 10)
    assert torch.equal(order.sort(1).values, torch.arange(10).expand(3, 10))
    for epoch in range(3):
        assert torch.equal(order[epoch], epoch_order(10, 5, epoch))
    assert len({tuple(o.tolist()) for o in order}) == 3


@settings(max_examples=30)
@given(rows=st.integers(1, 400), seed=st.integers(0, 2**62), epoch=st.integers(0, 10**6))
def test_order_is_a_pure_function_of_seed_and_epoch(rows: int, seed: int, epoch: int) -> None:
    order = epoch_order(rows, seed, epoch)
    assert torch.equal(order.sort().values, torch.arange(rows))
    torch.randn(3)
    assert torch.equal(order, epoch_order(rows, seed, epoch))
    if rows > 20:
        assert not torch.equal(order, epoch_order(rows, seed + 1, epoch))
        assert not torch.equal(order, epoch_order(rows, seed, epoch + 1))


@pytest.mark.usefixtures("untouched_random_state")
def test_same_seed_same_bits_whatever_the_global_random_state() -> None:
    def run(seed: int) -> tuple[dict[str, Tensor], History]:
        vae = small()
        history = fit(
            objective.ELBO(vae),
            numbered(50) / 50,
            validation=normal(9, 3).float(),
            max_steps=60,
            seed=seed,
        )
        return weights(vae), history

    state = torch.get_rng_state()
    first = run(1)
    torch.manual_seed(12345)
    second, third = run(1), run(2)
    torch.set_rng_state(state)
    assert equal_bits(first[0], second[0])
    assert [same_record(r) for r in first[1].records] == [same_record(r) for r in second[1].records]
    assert not equal_bits(first[0], third[0])


def test_streams_of_different_keys_are_different() -> None:
    keys = [(s, w, i) for s in (0, 1) for w in ("noise", "order") for i in range(50)]
    seeds = {stream_seed(*key) for key in keys}
    assert len(seeds) == len(keys)
    assert all(0 <= seed < 2**63 for seed in seeds)


# -- steps
# -------------------------------------------------------------------------------------------


def moments_of(store: Memory, step: int) -> dict[str, Tensor]:
    """The optimiser's state once `step` steps are taken."""
    (tensors,) = [t for c, t in store.states if c["step"] == step]
    return {name: value for name, value in tensors.items() if name.startswith("optimiser.")}


@pytest.mark.parametrize("spoil", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [0, 3, 60])
def test_a_step_whose_gradient_is_not_finite_changes_nothing_and_is_counted(
    at: int, spoil: float
) -> None:
    probe, store = Probe(small(variance="per_feature"), {at: spoil}), Memory()
    history = fit(
        probe, normal(20, 3).float(), max_steps=70, batch_size=5, store=store, store_every=-1.0
    )
    assert equal_bits(probe.before[at], probe.before[at + 1])
    assert not equal_bits(probe.before[at + 1], probe.before[at + 2])
    if at:
        assert equal_bits(moments_of(store, at), moments_of(store, at + 1))
    assert not equal_bits(moments_of(store, at + 1), moments_of(store, at + 2))
    assert history.records[-1].skipped == 1
    assert all(bool(value.isfinite().all()) for value in weights(probe).values())


def test_the_training_bound_is_the_mean_over_the_rows_of_steps_that_were_taken() -> None:
    """A skipped step lends neither its rows nor its bound."""
    probe = Probe(small(), {1: math.nan})
    history = fit(probe, normal(18, 3).float(), max_epochs=2, batch_size=5)
    taken = torch.cat([probe.bounds[step] for step in (0, 2, 3)])
    expected = [float(taken.mean()), float(torch.cat(probe.bounds[4:]).mean())]
    assert history.column("train")[1:] == [pytest.approx(value, rel=1e-5) for value in expected]
    assert history.column("skipped") == [0, 1, 1]


@pytest.mark.parametrize("clip", [10.0, None])
def test_a_huge_gradient_is_shortened_before_the_step(clip: float | None) -> None:
    """AdamW's running mean of gradients tells what arrived at it:
    a tenth of the newest gradient.
    """
    spike, store = RateSchedule.WARMUP + 5, Memory()
    probe = Probe(small(variance=1.0), {spike: 1e8})
    fit(
        probe,
        normal(40, 3).float(),
        max_steps=spike + 2,
        batch_size=40,
        clip=clip,
        store=store,
        store_every=-1.0,
    )

    def arrived(step: int) -> float:
        parts = [v.flatten() for k, v in moments_of(store, step).items() if ".first." in k]
        return float(torch.cat(parts).norm())

    ratio = arrived(spike + 1) / arrived(spike)
    if clip is None:
        assert ratio > 1e6
    else:
        assert 0.5 < ratio < 10


def test_ordinary_gradients_are_not_shortened() -> None:
    runs = []
    for clip in (10.0, None):
        vae = small(variance=1.0)
        fit(objective.ELBO(vae), normal(40, 3).float(), max_steps=80, batch_size=20, clip=clip)
        runs.append(weights(vae))
    assert equal_bits(*runs)


def test_training_raises_the_bound_and_uses_all_of_the_model() -> None:
    vae = small(variance="per_feature", dtype=torch.float64)
    start, x = weights(vae), draw(linear_gaussian(3, 1), 300)
    before = evaluate.elbo(vae, x).mean()
    fit(objective.ELBO(vae), x, max_steps=300, learning_rate=1e-2)
    assert float(evaluate.elbo(vae, x).mean() - before) > 0.5
    assert [name for name, value in weights(vae).items() if torch.equal(value, start[name])] == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["ELBO", "IWAE", "Autoencoder"])
def test_every_objective_trains_in_either_precision(name: str, dtype: torch.dtype) -> None:
    vae, x = small(dtype), draw(linear_gaussian(3, 1), 100).to(dtype)
    history = fit(getattr(objective, name)(vae, 2), x, validation=x, max_steps=120, batch_size=50)
    assert history.records[-1].validation > history.records[0].validation
    assert {p.dtype for p in vae.parameters()} == {dtype}
    assert history.records[-1].skipped == 0


class Wrapper(nn.Module):
    """What DistributedDataParallel looks like from outside."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: object) -> Tensor:
        return self.module(*inputs)


def test_a_wrapped_objective_trains_to_the_same_bits() -> None:
    """One that takes autograd also where it is not wrapped."""
    runs = []
    for wrap in (Wrapper, lambda o: o):
        vae = small()
        history = fit(
            wrap(objective.IWAE(vae, 2)),
            normal(30, 3).float(),
            validation=normal(9, 3).float(),
            max_steps=40,
        )
        runs.append((weights(vae), [same_record(r) for r in history.records]))
    assert equal_bits(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]


def test_frozen_weights_stay() -> None:
    vae = small()
    vae.decoder.requires_grad_(False)
    start = weights(vae)
    fit(objective.ELBO(vae), normal(30, 3).float(), max_steps=20)
    after = weights(vae)
    assert {n for n in start if torch.equal(start[n], after[n])} == {
        n for n in start if n.startswith("decoder")
    }


# -- the learning rate, the limits
# -------------------------------------------------------------------


def test_rate_rises_over_the_warmup_and_falls_as_a_cosine() -> None:
    def rate(step: int, progress: float, warmup: int) -> float:
        return RateSchedule.of(None).at(step, progress, warmup)

    assert rate(0, 0.0, 50) == pytest.approx(1 / 50)
    assert rate(24, 0.0, 50) == pytest.approx(0.5)
    assert rate(10**6, 0.5, 50) == pytest.approx(0.505)
    assert rate(10**6, 1.0, 50) == pytest.approx(RateSchedule.FINAL_FACTOR)
    falling = [rate(100, p / 100, 50) for p in range(101)]
    assert falling == sorted(falling, reverse=True)
    assert rate(0, 0.0, 0) == 1.0


def test_rate_stays_and_falls_in_a_straight_line() -> None:
    fall = RateSchedule.of(0.25)
    assert [fall.factor(p) for p in (0.0, 0.5, 0.75)] == [1.0, 1.0, 1.0]
    assert fall.factor(0.875) == pytest.approx(0.5)
    assert fall.factor(1.0) == RateSchedule.FINAL_FACTOR
    assert RateSchedule.of(1.0).factor(0.3) == pytest.approx(0.7)
    assert not fall.over(1.0)  # the limits end a run, not the fall


def test_a_fall_that_is_called_for_takes_its_share_of_the_shorter_run() -> None:
    fall = RateSchedule.of(0.25)
    assert fall.pending(0.3)
    now = fall.now(0.3)
    assert (now.start, now.end) == (0.3, pytest.approx(0.4))
    assert not now.pending(0.3)
    assert now.factor(0.35) == pytest.approx(0.5)
    assert not now.over(0.39)
    assert now.over(0.41)
    assert fall.now(0.749).end == pytest.approx(0.749 / 0.75)


@pytest.mark.parametrize("decay", [0, -0.1, 1.5, float("nan")])
def test_a_decay_that_is_no_share_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=r"decay must be in \(0, 1\], or None"):
        fit(objective.ELBO(small()), normal(20, 3).float(), max_steps=9, decay=decay)


STALLING: dict[str, Any] = {"max_steps": 900, "batch_size": 10, "learning_rate": 0.05, "seed": 2}
"""Few rows and a high rate: the bound on rows held out is best early."""


def stalling(
    store: Memory | None = None, seed: int = 0, **options: Any
) -> tuple[VAE, training.History]:
    x, vae = normal(60, 3).float(), small(seed=seed)
    options |= STALLING | {"validation": x[30:], "store_every": -1.0}
    return vae, fit(objective.ELBO(vae), x[:30], store=store, **options)


def test_where_validation_stalls_the_best_weights_come_back_and_the_rate_falls_at_once() -> None:
    store = Memory()
    _, history = stalling(store)
    assert history.stopped == "early"
    last, rates = history.records[-1], [record.learning_rate for record in history.records]
    assert last.progress < 0.75
    assert rates[-1] < 0.05 * max(rates)
    falling = next(
        record
        for record in history.records
        if record.step > 20 and record.learning_rate < max(rates)
    )
    assert last.progress - falling.progress == pytest.approx(last.progress / 4, abs=0.02)
    # Each state is saved before its step: between the last one that does not know of the fall and
    # the first that does, one step was taken from the best weights.
    before = next(i for i, (config, _) in enumerate(store.states) if config["fall"]["early"]) - 1
    (_, old), (config, new) = store.states[before : before + 2]
    name = "model.vae.decoder.layers.0.weight"
    best = new[name.replace("model.", "best.")]
    assert config["best"][1] < config["step"] - 50
    assert float((new[name] - best).norm()) < 0.3 * float((old[name] - best).norm())


def test_a_fall_that_has_begun_is_seen_through() -> None:
    """The best bound is the first; under a fall over the whole run nothing ends early."""
    x = normal(60, 3).float()
    history = fit(
        objective.ELBO(small()),
        x[:30],
        validation=x[30:],
        max_steps=150,
        batch_size=10,
        learning_rate=1e-30,
        decay=1.0,
    )
    assert (history.stopped, history.records[-1].step) == ("steps", 150)


@pytest.mark.parametrize("offset", [-1, 0, 1, 20])
def test_a_run_interrupted_around_an_early_fall_resumes_to_the_same_bits(offset: int) -> None:
    probe = Memory()
    whole, expected = stalling(probe)
    begun = next(config["step"] for config, _ in probe.states if config["fall"]["early"])
    store = Memory(interrupt_at_step=begun + offset)
    with pytest.raises(KeyboardInterrupt):
        stalling(store)
    resumed, history = stalling(store, seed=77)
    assert equal_bits(weights(whole), weights(resumed))
    assert [same_record(r) for r in history.records] == [same_record(r) for r in expected.records]
    assert (history.best_step, history.stopped) == (expected.best_step, expected.stopped)


def test_a_run_interrupted_by_the_validation_that_calls_for_the_fall_resumes_to_the_same_bits() -> (
    None
):
    probe = Memory()
    whole, expected = stalling(probe)
    begun = next(config["step"] for config, _ in probe.states if config["fall"]["early"])
    at = max(record.step for record in expected.records if record.step <= begun)

    def interrupt(record: training.Record) -> None:
        if record.step == at:
            raise KeyboardInterrupt

    store = Memory()
    with pytest.raises(KeyboardInterrupt):
        stalling(store, callbacks=[interrupt])
    resumed, history = stalling(store, seed=77)
    assert equal_bits(weights(whole), weights(resumed))
    assert [same_record(r) for r in history.records] == [same_record(r) for r in expected.records]


def test_rate_in_force_is_the_schedules_at_every_record() -> None:
    history = fit(
        objective.ELBO(small()),
        normal(20, 3).float(),
        max_steps=90,
        batch_size=10,
        learning_rate=3e-3,
    )
    for record in history.records:
        expected = 3e-3 * RateSchedule.of(DECAY).at(record.step, record.step / 90)
        assert record.learning_rate == pytest.approx(expected, rel=1e-12)


def test_the_rate_reaches_the_optimiser() -> None:
    """AdamW's first step is the learning rate itself, in every coordinate that has a gradient."""
    probe = Probe(small(variance=1.0))
    fit(probe, normal(20, 3).float(), max_steps=100, learning_rate=5e-3)
    moved = (
        probe.before[1]["vae.decoder.layers.0.weight"]
        - probe.before[0]["vae.decoder.layers.0.weight"]
    )
    expected = 5e-3 * RateSchedule.of(DECAY).at(0, 0.0)
    torch.testing.assert_close(moved.abs(), torch.full_like(moved, expected), rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    ("limits", "steps"),
    [
        ({"max_epochs": 3}, 15),
        ({"max_steps": 7}, 7),
        ({"max_steps": 7, "max_epochs": 3}, 7),
        ({"max_steps": 70, "max_epochs": 3}, 15),
        ({"max_steps": 1}, 1),
        ({"max_epochs": 2, "max_seconds": 1e6}, 10),
    ],
)
def test_training_ends_at_the_first_limit_in_epochs_or_steps(
    limits: dict[str, Any], steps: int
) -> None:
    probe = Probe(small())
    history = fit(probe, normal(20, 3).float(), batch_size=4, **limits)
    assert len(probe.rows) == steps
    assert history.records[-1].step == steps
    assert history.records[-1].epoch == steps / 5
    assert history.records[-1].progress == 1.0
    assert (history.stopped, history.best_step) == ("steps", steps)


def test_training_ends_at_the_limit_in_seconds() -> None:
    history = fit(objective.ELBO(small()), normal(20, 3).float(), max_seconds=0.3)
    assert history.stopped == "seconds"
    # a quarter may be kept for what follows the last step
    assert 0.3 * 3 / 4 <= history.records[-1].seconds < 0.6
    assert history.records[-1].step > 5
    assert history.records[-1].learning_rate < 0.02 * 6e-3


def test_without_limits_the_number_of_steps_grows_with_the_rows() -> None:
    def steps(rows: int) -> int | None:
        return Budget.resolve(rows, None, None, None, None).max_steps

    assert (steps(100), steps(60_000), steps(10**7)) == (2030, 20_000, 60_000)
    assert Budget.resolve(100, None, None, None, 5.0).max_steps is None


@settings(max_examples=50)
@given(rows=st.integers(1, 10**7))
def test_default_batches_are_powers_of_two_that_fit(rows: int) -> None:
    size = default_batch_size(rows)
    assert 32 <= size <= 512
    assert size & (size - 1) == 0
    budget = Budget.resolve(rows, None, 1, None, None)
    assert budget.batch_size == min(size, rows)
    alone = rows % budget.batch_size == 1 and rows > 1  # one row joins the batch before
    assert budget.steps_per_epoch == math.ceil(rows / budget.batch_size) - alone


@settings(max_examples=100)
@given(
    rows=st.integers(1, 100_000),
    batch_size=st.none() | st.integers(1, 2000),
    epochs=st.integers(1, 3),
)
def test_every_epoch_visits_every_row_once(rows: int, batch_size: int | None, epochs: int) -> None:
    budget = Budget.resolve(rows, batch_size, epochs, None, None)
    places = [budget.place(step) for step in range(budget.max_steps or 0)]
    assert [epoch for epoch, start, _ in places if start == 0] == list(range(epochs))
    for (epoch, _, end), (following, start, _) in itertools.pairwise(places):
        assert (following, start) == ((epoch, end) if end < rows else (epoch + 1, 0))
    assert places[-1][2] == rows
    sizes = [end - start for _, start, end in places]
    # a single row left joins the batch before
    assert max(sizes) <= budget.batch_size + (budget.batch_size > 1)
    assert min(sizes) > 1 or budget.batch_size == 1
    last = {rows % budget.batch_size, budget.batch_size + 1 if rows % budget.batch_size == 1 else 0}
    assert batch_size is None or set(sizes[:-1]) <= {budget.batch_size, *last}
    assert budget.epochs(len(places)) == epochs


def test_default_batches_begin_small_and_double() -> None:
    budget = Budget.resolve(60_000, None, None, 400, None)
    sizes = [end - start for _, start, end in map(budget.place, range(250))]
    assert sizes == [64] * 64 + [128] * 64 + [256] * 122
    # asked for, so kept
    assert Budget.resolve(60_000, 512, None, 400, None).place(0) == (0, 0, 512)


@pytest.mark.parametrize(
    "name", ["batch_size", "max_epochs", "max_steps", "max_seconds", "learning_rate"]
)
@pytest.mark.parametrize("value", [0, -1])
def test_limits_must_be_positive(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name} must be positive, got {value}"):
        fit(objective.ELBO(small()), normal(20, 3).float(), **{name: value})


# -- what is reported
# --------------------------------------------------------------------------------


def test_last_short_batch_counts_for_its_rows_alone() -> None:
    """10 rows in batches of 4, 4 and 2, and 1,500 rows judged in chunks:
    means over rows, not over batches.
    """
    vae = small()
    x, held = numbered(10), normal(1500, 3).float() * torch.linspace(0, 3, 1500)[:, None]
    loss = objective.Autoencoder(vae)
    expected = [float(loss(rows).detach().double().mean()) for rows in (x, held)]
    history = fit(loss, x, validation=held, max_epochs=2, batch_size=4, learning_rate=STILL)
    assert history.column("train") == [None, pytest.approx(expected[0]), pytest.approx(expected[0])]
    assert history.column("validation") == [pytest.approx(expected[1])] * 3


@pytest.mark.parametrize("name", ["ELBO", "IWAE"])
def test_training_and_validation_report_the_same_quantity(name: str) -> None:
    vae, x = small(variance=0.5), normal(3000, 3).float()
    loss = getattr(objective, name)(vae, 3)
    history = fit(loss, x, validation=x, max_epochs=1, learning_rate=STILL)
    record = history.records[-1]
    spread = float((loss(x, rng(1)) - loss(x, rng(2))).detach().std())
    assert abs(record.train - record.validation) < 4 * spread / math.sqrt(3000)
    assert record.train != record.validation


def test_validation_judges_every_row_the_same_way_each_time() -> None:
    probe = Probe(small(variance=0.5))
    history = fit(
        probe,
        normal(40, 3).float(),
        validation=normal(70, 3).float(),
        max_epochs=3,
        learning_rate=STILL,
    )
    assert probe.judged == [(70, False, False)] * len(history)
    assert len(set(history.column("validation"))) == 1
    assert not probe.training


def test_records_are_in_the_users_units() -> None:
    x, scale = normal(30, 3).float(), torch.tensor([0.5, 2.0, 10.0])
    runs = []
    for units in (training.Units(), training.Units(-7.5, scale)):
        vae = small(variance="per_feature")
        runs.append(
            fit(objective.ELBO(vae), as_rows(x, units=units), validation=x, max_steps=10).records
        )
        noise = vae.likelihood.variance.detach()
    for plain, scaled in zip(*runs, strict=True):
        assert scaled.validation == pytest.approx(plain.validation - 7.5)
        assert plain.train is None or scaled.train == pytest.approx(plain.train - 7.5)
        assert scaled.kl == plain.kl
    expected = (noise * scale**2).mean().sqrt()
    # `refine` moved the model's a little
    assert runs[1][-1].beta == pytest.approx(float(expected), rel=0.2)


def test_reported_kl_and_beta_are_the_models() -> None:
    vae, x = small(variance=0.49), normal(30, 3).float()
    history = fit(objective.ELBO(vae), x, max_steps=10)
    kl = vae.terms(x, 1, rng()).kl.detach().mean()
    assert history.records[-1].kl == pytest.approx(float(kl), rel=1e-5)
    assert history.records[-1].beta is None  # a fixed one needs no report
    vae = small()
    start = fit(objective.ELBO(vae), x, max_steps=10).records[0]
    assert start.beta == pytest.approx(1.0)


def test_bound_is_the_validations_where_there_is_one() -> None:
    record = fit(objective.ELBO(small()), normal(9, 3).float(), max_steps=2).records[-1]
    assert record.bound == record.train
    assert dataclasses.replace(record, validation=-3.0).bound == -3.0


def test_history_survives_json() -> None:
    history = fit(
        objective.ELBO(small()), normal(9, 3).float(), validation=normal(4, 3).float(), max_steps=5
    )
    assert len(history) == len(history.records) > 1
    assert History.from_dict(json.loads(json.dumps(history.to_dict()))) == history
    assert [json.loads(line) for line in history.to_jsonl().splitlines()] == history.to_dict()[
        "records"
    ]


def test_progress_is_told_in_plain_lines_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    with training.ProgressBar(stream) as bar:
        fit(
            objective.ELBO(small()),
            normal(9, 3).float(),
            validation=normal(4, 3).float(),
            max_steps=5,
            callbacks=[bar],
        )
    first, *_, last = stream.getvalue().splitlines()
    assert first.startswith("  0%")
    assert last.startswith("100%")
    assert "validation bound" in last
    assert "beta" in last
    assert "KL" in last


# -- the end
# -----------------------------------------------------------------------------------------


def test_early_stopping_restores_copies_of_the_best_weights() -> None:
    """Twelve rows are memorised:
    the held-out bound peaks and falls, and its peak is what is kept.
    """
    vae = small(hidden=(64,), variance=0.05)
    seen: dict[int, dict[str, Tensor]] = {}
    x, held = normal(12, 3).float(), normal(200, 3, seed=1).float()
    history = fit(
        objective.ELBO(vae),
        x,
        validation=held,
        max_steps=1500,
        learning_rate=1e-2,
        callbacks=[lambda record: seen.update({record.step: weights(vae)})],
    )
    best = max(history.records, key=lambda record: record.validation)
    assert history.stopped == "early"
    assert history.best_step == best.step
    assert 0 < best.step < history.records[-1].step < 1500
    assert equal_bits(weights(vae), seen[best.step])
    assert not equal_bits(weights(vae), seen[history.records[-1].step])
    assert history.records[-1].progress - best.progress > training.run.Run.patience.share


def test_without_early_stopping_the_last_weights_are_kept() -> None:
    vae = small(hidden=(64,), variance=0.05)
    seen: list[dict[str, Tensor]] = []
    history = fit(
        objective.ELBO(vae),
        normal(12, 3).float(),
        validation=normal(200, 3, seed=1).float(),
        max_steps=600,
        learning_rate=1e-2,
        early_stopping=False,
        callbacks=[lambda _: seen.append(weights(vae))],
    )
    assert (history.stopped, history.best_step) == ("steps", 600)
    assert equal_bits(weights(vae), seen[-1])


def test_a_callback_ends_training_only_by_true() -> None:
    calls: list[int] = []

    def stop(record: training.Record) -> object:
        calls.append(record.step)
        return True if record.step >= 6 else "no"

    history = fit(
        objective.ELBO(small()), normal(9, 3).float(), max_steps=50, batch_size=3, callbacks=[stop]
    )
    assert calls == [0, 3, 6]
    assert history.stopped == "callback"
    assert history.records[-1].step == 6


def test_the_model_is_left_ready_to_use() -> None:
    vae = small()
    fit(objective.ELBO(vae), normal(9, 3).float(), max_steps=5)
    assert not vae.training
    assert all(p.grad is None for p in vae.parameters())
    assert all(p.requires_grad for p in vae.parameters())


# -- resumption
# --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Memory, Bytes])
@pytest.mark.parametrize("at", [1, 7, 15, 33])
def test_a_run_interrupted_anywhere_resumes_to_the_same_bits(kind: type[Memory], at: int) -> None:
    """In the middle of an epoch (of 5 steps), at its end,
    before and after the first validations.
    """
    x, held = normal(23, 3).float(), normal(9, 3).float()
    options = {
        "validation": held,
        "max_steps": 40,
        "batch_size": 5,
        "seed": 3,
        "learning_rate": 1e-2,
    }
    whole = small(variance="per_feature")
    expected = fit(Probe(whole, {4: math.nan}), x, **options)
    store = kind(interrupt_at_step=at)
    first = small(variance="per_feature")
    with pytest.raises(KeyboardInterrupt):
        fit(Probe(first, {4: math.nan}), x, store=store, store_every=-1.0, **options)
    assert store.states[-1][0]["step"] == at
    second = small(variance="per_feature", seed=77)
    spoil = {4 - at: math.nan} if at <= 4 else {}
    resumed = fit(Probe(second, spoil), x, store=store, **options)
    assert equal_bits(weights(whole), weights(second))
    assert [same_record(r) for r in resumed.records] == [same_record(r) for r in expected.records]
    assert (resumed.best_step, resumed.stopped) == (expected.best_step, expected.stopped)


def test_ctrl_c_inside_a_step_takes_effect_after_it() -> None:
    """What is saved is a state that the run passes through, so that it resumes to the same bits."""

    class Signalled(objective.IWAE):
        calls = 0

        def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
            if torch.is_grad_enabled():
                self.calls += 1
                if self.calls == 8:
                    signal.raise_signal(signal.SIGINT)
            return super().forward(x, generator)

    x, store, runs = normal(23, 3).float(), Memory(), [small(), small()]
    with pytest.raises(KeyboardInterrupt):
        fit(Signalled(runs[0]), x, max_steps=20, batch_size=5, store=store)
    assert [config["step"] for config, _ in store.states] == [8]
    fit(objective.IWAE(runs[0]), x, max_steps=20, batch_size=5, store=store)
    fit(objective.IWAE(runs[1]), x, max_steps=20, batch_size=5)
    assert equal_bits(*map(weights, runs))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_training_works_outside_the_main_thread() -> None:
    with ThreadPoolExecutor(1) as pool:
        history = pool.submit(
            fit, objective.ELBO(small()), normal(9, 3).float(), max_steps=3
        ).result()
    assert history.stopped == "steps"


def test_states_are_not_changed_by_the_steps_that_follow() -> None:
    """A store may keep what it is given without copying it."""

    class Keep(Memory):
        def save(self, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
            super().save(config, tensors)
            given.append((config, tensors))

    given: list[tuple[dict[str, Any], dict[str, Tensor]]] = []
    store = Keep()
    fit(
        Probe(small(), {2: math.nan}),
        normal(10, 3).float(),
        max_steps=9,
        batch_size=5,
        store=store,
        store_every=-1.0,
    )
    for (config, tensors), (old_config, old_tensors) in zip(given, store.states, strict=True):
        assert config == old_config
        assert equal_bits(tensors, old_tensors)


def test_an_interruption_saves_the_state_and_leaves_the_best_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # of so few steps too few would be judged by refined bounds
    monkeypatch.setattr(Refined, "spread", lambda *_: None)
    vae, store = small(), Memory()
    probe, best = Probe(vae), []

    def interrupt(record: training.Record) -> None:
        best.append(weights(vae))
        if record.step >= 6:
            raise KeyboardInterrupt

    held = normal(9, 3).float()
    with pytest.raises(KeyboardInterrupt):
        fit(
            probe,
            normal(9, 3).float(),
            validation=held,
            max_steps=50,
            batch_size=3,
            callbacks=[interrupt],
            store=store,
        )
    (state,) = store.states
    assert state[0]["step"] == 6
    values = [record["validation"] for record in state[0]["history"]["records"]]
    assert equal_bits(weights(vae), best[values.index(max(values))])


def test_time_spent_before_the_interruption_counts() -> None:
    store = Memory(interrupt_at_step=30)
    x = normal(20, 3).float()
    with pytest.raises(KeyboardInterrupt):
        fit(objective.ELBO(small()), x, max_seconds=1000.0, store=store, store_every=-1.0)
    store.states[-1][0]["seconds"] = 999.9
    history = fit(objective.ELBO(small()), x, max_seconds=1000.0, store=store)
    assert history.stopped == "seconds"
    assert 999.9 <= history.records[-1].seconds < 1001


# -- beta^2
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variance", ["learned", "per_feature"])
@pytest.mark.parametrize("name", ["ELBO", "IWAE"])
def test_the_first_step_goes_to_the_batchs_own_optimum(name: str, variance: str) -> None:
    """Samples are weighed as the objective weighs them: equally, or by their importance."""
    vae = small(torch.float64, variance=variance)
    x, loss = normal(8, 3), getattr(objective, name)(vae, 4)
    terms = vae.terms(x, 4, rng(stream_seed(0, "noise", 0)))
    share = (
        terms.log_weight.softmax(0)
        if name == "IWAE"
        else torch.full((4, 8), 0.25, dtype=torch.float64)
    )
    square = (x - vae.decode(terms.z).mean).square() * share[..., None]
    best = square.sum(0).mean(0).detach()
    step = VarianceStep(loss)
    (-loss(x, rng(stream_seed(0, "noise", 0))).mean()).backward()
    step.step(0, 1.0, torch.tensor(True))
    torch.testing.assert_close(
        vae.likelihood.variance.detach(), best if variance == "per_feature" else best.mean()
    )
    assert vae.likelihood.log_variance.grad is None


@pytest.mark.parametrize("variance", ["learned", "per_feature"])
def test_beta_settles_at_its_closed_form_while_nothing_else_moves(variance: str) -> None:
    """From 20 times too much:
    the records show the running mean arrive, before `refine` has its say.
    """
    model = linear_gaussian(
        6, 2, variance=torch.full((6,), 0.3) if variance == "per_feature" else 0.3
    )
    x = draw(model, 2000)
    vae = started(model, variance=variance)
    q = vae.encode(x)
    spread = (q.variance[:1] @ model.weight.T.square()).detach()
    expected = ((x - q.mean @ model.weight.T - model.bias).square() + spread).mean(0).detach()
    with torch.no_grad():
        vae.likelihood.log_variance.fill_(math.log(6.0))
    history = fit(objective.ELBO(vae), x, max_steps=400, batch_size=200, learning_rate=STILL)
    assert history.records[0].beta == pytest.approx(math.sqrt(6.0))
    assert history.records[-1].beta == pytest.approx(float(expected.mean().sqrt()), rel=5e-3)
    goal = expected if variance == "per_feature" else expected.mean()
    torch.testing.assert_close(vae.likelihood.variance.detach(), goal, rtol=0.02, atol=0)


def test_learned_beta_of_a_linear_model_is_the_maximum_likelihood_one() -> None:
    """From random weights and from a beta that is the data's, far above it,
    or so far below that gradients are huge.
    """
    x = draw(linear_gaussian(8, 2, variance=0.05), 1500)
    best = ppca(*moments(x), 2)
    for start in (30.0, 1.0, 1 / 30):
        vae = build((8,), 2, "linear", seed=4)
        with torch.no_grad():
            vae.likelihood.log_variance.fill_(2 * math.log(start))
        fit(objective.ELBO(vae), x, max_steps=1300, batch_size=250, learning_rate=2e-2)
        assert float(vae.likelihood.variance.detach().sqrt()) == pytest.approx(
            float(best.variance.sqrt()), rel=2e-3
        )
        exact = evaluate.log_likelihood(vae, x, "exact").mean
        assert exact == pytest.approx(float(best.log_prob(x).mean()), abs=0.01)


def test_refine_takes_training_rows_and_the_posterior_into_account() -> None:
    model = linear_gaussian(6, 2)
    x, vae = draw(model, 500), started(model)
    q = vae.encode(x)
    spread = (q.variance[:1] @ model.weight.T.square()).mean()
    expected = float(((x - q.mean @ model.weight.T - model.bias).square().mean() + spread).detach())
    refine(vae, as_rows(x), rng(1))
    assert float(vae.likelihood.variance.detach()) == pytest.approx(expected, rel=0.01)
    far = torch.stack([x[:250], torch.full((250, 6), 1e3, dtype=torch.float64)], 1).reshape(500, 6)
    refine(vae, as_rows(far).spaced(250, 2**24), rng(1))  # every second row: none of the far ones
    assert float(vae.likelihood.variance.detach()) == pytest.approx(expected, rel=0.1)
    fixed = build((6,), 2, "linear", variance=0.7)
    refine(fixed, as_rows(x), rng(1))
    assert float(fixed.likelihood.variance) == pytest.approx(0.7)
    assert learned_gaussians(fixed) == []


@pytest.mark.parametrize("variance", ["learned", "per_feature"])
def test_beta_stops_at_its_floor(variance: str) -> None:
    x = torch.zeros(50, 3)
    if variance == "per_feature":
        x[:, 1] = normal(50).float()
    vae = build((3,), 1, "linear", dtype=torch.float32, variance=variance)
    vae.likelihood.floor = 1e-4
    history = fit(objective.ELBO(vae), x, max_steps=800, learning_rate=1e-2)
    low = vae.likelihood.at_floor()
    assert bool(low.all()) if variance == "learned" else low.tolist() == [True, False, True]
    assert float(vae.likelihood.variance.detach().min()) == pytest.approx(1e-4, rel=1e-4)
    if variance == "learned":
        assert history.records[-1].beta == pytest.approx(1e-2, rel=1e-3)


def test_a_fixed_beta_is_trained_with_and_left_alone() -> None:
    vae = small(variance=0.25)
    fit(objective.ELBO(vae), normal(30, 3).float(), max_steps=50)
    assert float(vae.likelihood.variance.detach()) == pytest.approx(0.25)


# -- precision
# ---------------------------------------------------------------------------------------


def test_bfloat16_training_reaches_the_same_bound() -> None:
    if not has_bfloat16(torch.device("cpu")):
        pytest.skip(
            "this CPU multiplies no bfloat16 matrices: it would be slow, and nelbo would not use it"
        )
    compare_precisions(steps=200)


@pytest.mark.slow
def test_bfloat16_training_reaches_the_same_bound_where_it_is_emulated() -> None:
    compare_precisions(steps=1500)


def compare_precisions(steps: int) -> None:
    model = linear_gaussian(16, 3, variance=0.3)
    x, held = draw(model, 2000).float(), draw(model, 1000, seed=7).float()
    values = {}
    for precision in ("float32", "bf16"):
        vae = build((16,), 3, "residual", hidden=(32,), dtype=torch.float32)
        initialize.start_at(vae, initialize.closed_form(vae, x))
        fit(objective.ELBO(vae), x, max_steps=steps, batch_size=256, precision=precision)
        values[precision] = evaluate.elbo(vae, held)
        assert {p.dtype for p in vae.parameters()} == {torch.float32}
    gap = values["bf16"] - values["float32"]
    assert float(gap.abs().max()) > 0
    assert abs(float(gap.mean())) < 0.05


def test_bf16_runs_the_networks_in_bfloat16_and_the_densities_in_float32() -> None:
    seen = {}

    class Spy(objective.ELBO):
        def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
            seen["network"] = self.vae.decoder(torch.zeros(2, 2)).dtype
            bound = super().forward(x, generator)
            seen["bound"] = bound.dtype
            return bound

    for precision, dtype in (("bf16", torch.bfloat16), ("float32", torch.float32)):
        fit(Spy(small()), normal(9, 3).float(), max_steps=2, precision=precision)
        assert seen == {"network": dtype, "bound": torch.float32}


def test_auto_precision_wants_large_single_precision_networks_with_noise_to_hide_rounding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training.precision, "has_bfloat16", lambda device: True)
    cpu = torch.device("cpu")
    large = build((64,), 2, "mlp", hidden=(600, 200), dtype=torch.float32)
    assert resolve_precision("auto", cpu, large, 256) == ("bf16", True)
    assert resolve_precision("auto", cpu, large, 8) == ("float32", False)
    assert resolve_precision("auto", cpu, small(), 256) == ("float32", False)
    assert resolve_precision("bf16", cpu, small(), 8) == ("bf16", False)
    with torch.no_grad():
        large.likelihood.log_variance.fill_(2 * math.log(0.01))
    assert not bfloat16_pays(large)
    assert resolve_precision("auto", cpu, large, 256) == ("float32", False)
    assert resolve_precision("auto", cpu, large.double(), 256) == ("float32", False)


# -- refusals
# ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": normal(5, 4)}, r"x has shape \(5, 4\), but the model needs \('n', 3\)"),
        ({"validation": normal(5, 4)}, r"validation has shape \(5, 4\)"),
        ({"x": normal(0, 3)}, "x has no rows"),
        ({"validation": normal(0, 3)}, "validation has no rows"),
        ({"x": torch.full((2, 3), math.nan)}, "x contains NaN or infinite"),
        ({"validation": torch.full((2, 3), math.inf)}, "validation contains NaN or infinite"),
        ({"precision": "fp8"}, '"auto", "bf16" or "float32", got \'fp8\''),
        ({"device": "gpu7"}, "device 'gpu7' cannot be used here"),
        ({"device": "cuda:99"}, "device 'cuda:99' cannot be used here"),
    ],
)
def test_what_cannot_be_trained_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fit(objective.ELBO(small()), **({"x": normal(5, 3).float(), "max_steps": 2} | change))


def test_a_model_whose_first_bound_is_not_finite_is_refused() -> None:
    vae = small()
    with torch.no_grad():
        next(vae.decoder.parameters()).fill_(math.nan)
    x = normal(5, 3).float()
    with pytest.raises(FloatingPointError, match="initial model is nan on the validation rows"):
        fit(objective.ELBO(vae), x, validation=x, max_steps=2)


# -- rows that are prepared at every visit
# ------------------------------------------------------------


def test_a_step_sees_each_batch_of_stored_rows_with_new_noise() -> None:
    seen = []

    def transform(rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        seen.append(rows)
        return rows / 100 + torch.rand(rows.shape, generator=generator)

    bytes_ = torch.arange(60, dtype=torch.uint8).reshape(20, 3)
    rows = as_rows(bytes_, step=transform)
    history = fit(objective.ELBO(small()), rows, batch_size=10, max_epochs=2)
    assert {rows.dtype for rows in seen} == {torch.uint8}
    assert history.records[-1].epoch == 2
    again = fit(objective.ELBO(small()), rows, batch_size=10, max_epochs=2)
    assert again.column("train") == history.column("train")


def test_a_step_that_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(
        ValueError, match=r"step\(x\) has shape \(1, 2\), but the model needs \('n', 3\)"
    ):
        fit(objective.ELBO(small()), as_rows(torch.zeros(9, 3), step=lambda rows, _: rows[:, :2]))
    with pytest.raises(TypeError, match="x must be a tensor of floats"):
        fit(objective.ELBO(small()), torch.zeros(9, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match="x contains NaN or infinite values"):
        spoiled = torch.zeros(9, 3)
        spoiled[7, 1] = math.nan
        fit(objective.ELBO(small()), as_rows(spoiled, step=lambda rows, _: rows))


def test_validation_looks_at_rows_evenly_spaced() -> None:
    rows = torch.arange(5000.0)[:, None]
    chosen = run.validated(as_rows(rows)).read()
    assert len(chosen) <= run.VALIDATED
    assert float(chosen[0]) == 0
    assert float(chosen[-1]) > 4990
    assert len(run.validated(as_rows(rows[:2048]))) == 2048


def test_averaged_weights_are_the_running_mean_of_those_of_the_steps() -> None:
    probe, steps = Probe(small()), run.Run.unaveraged + 30
    fit(
        probe,
        normal(64, 3, dtype=torch.float32),
        max_steps=steps,
        batch_size=16,
        average=0.05,
        seed=1,
    )
    trace = probe.before[-steps:][1:]  # before one step is after the last
    twin = Probe(small())
    fit(twin, normal(64, 3, dtype=torch.float32), max_steps=steps, batch_size=16, seed=1)
    mean = trace[run.Run.unaveraged - 1]
    for step, after in enumerate(
        [*trace[run.Run.unaveraged :], weights(twin)], run.Run.unaveraged + 1
    ):
        rate = max(0.05, 1 / step)
        mean = {name: value.lerp(after[name], rate) for name, value in mean.items()}
    for name, value in weights(probe).items():
        if "log_variance" not in name:  # set to its closed form for these weights
            torch.testing.assert_close(value, mean[name])
