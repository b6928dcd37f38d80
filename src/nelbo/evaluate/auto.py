r"""The ladder of method "auto": effort where a row asks for it, and nowhere else.

Where log p(x) has a closed form, or a grid over z is cheap, nothing is sampled. Else each row
climbs until its estimate is reliable and its standard error within the tolerance:

1. ``samples`` draws from the encoder's q(z|x) and from normals at the modes that the encoder and
   one further start lead to (`modes`);
2. more draws, doubled;
3. normals at the modes that several further starts lead to, adapted to the row's posterior by
   draws, first one and then several (`adapted`);
4. annealed chains (AIS).

The rung is decided by the row's own weights, so that its number depends on the row and the seed
alone. `Ladder.brief`, the default score, is a step stool: rows whose weights have a heavy tail, or
which have a mode that the encoder does not lead to, are drawn anew once, from adapted normals.
"""

from __future__ import annotations

__all__ = ["Ladder", "without_sampling"]

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..vae import VAE
from .adapted import Adapted
from .annealing import Settings, annealed
from .exact import solved_exactly
from .examples import Examples
from .importance import Place, importance
from .modes import ALL, Doubt, several
from .quadrature import Quadrature, quadrature
from .result import UNRELIABLE, Cost, LogLikelihood, Rung, listed


def without_sampling(vae: VAE, x: Examples, memory: int) -> LogLikelihood | None:
    """Return log p(x) in closed form, or from a grid over z where that is cheap, which may leave
    rows open; else None.
    """
    found = solved_exactly(vae, x)
    if found is not None:
        reason = "The model is linear, or a mixture of such, so log p(x) has a closed form."
        return _on(Rung.EXACT, dataclasses.replace(found, reason=reason))
    if not Quadrature().is_cheap(vae):
        return None
    dimensions = {1: "one latent dimension", 2: "two latent dimensions"}[vae.latent_dim]
    reason = f"With {dimensions} the integral over z can be done on a grid."
    return _on(Rung.GRID, dataclasses.replace(quadrature(vae, x, memory), reason=reason))


@dataclass(frozen=True)
class Ladder:
    """The rule of method "auto".

    Attributes:
        samples: Importance samples of each row at first.
        seed: The seed of all noise.
        memory: Bytes for intermediate results.
        tolerance: Standard error of a row, in nats, above which it climbs on.
        margin: Share of the tolerance that pilot draws aim at where one is asked for: few rows are
            then still above it.
        doublings: How often a row's draws are doubled, at most.
        heavy: How often, at most, where its weights have a heavy tail, which more draws seldom
            cure.
        probes: Further starts of every row: they show modes that the encoder does not lead to,
            which no weight of draws near its own would tell.
        few_starts: Further starts of rows that the default score looks at again: with fewer than
            four a second mode is none that is known to be the last (see `modes.Distinct`).
        fewest: Draws from which on there is a Pareto k.
        quick: How a normal is adapted to rows that the default score looks at again, with up to 12
            latents: for about as many decodes as twice the draws would take, which leaves more of
            them with a heavy tail. With more latents a covariance would need more draws.
        starts: Further starts of rows on the third rung.
        most_starts: Further starts where those still found modes that no other had found.
        first: How a normal is adapted to rows on the third rung, which then have as many draws as a
            round, or more. It settles nine in ten of them.
        second: How several are to the others.
        chains: Chains of the rows that are annealed, as many as take no longer than fewer would
            where rows are few.
        temperatures: Temperatures of these chains.
        most_chains: Chains of rows whose error stays above the tolerance.
    """

    samples: int
    seed: int
    memory: int
    tolerance: float = LogLikelihood.unsure
    margin: float = 0.8
    doublings: int = 6
    heavy: int = 1
    probes: int = 1
    few_starts: int = 4
    fewest: int = 25
    quick: Adapted = field(default_factory=lambda: Adapted(draws=100, rounds=2))
    starts: int = 8
    most_starts: int = 32
    first: Adapted = field(default_factory=Adapted)
    second: Adapted = field(default_factory=lambda: Adapted(1000, 6, components=6, steps=10))
    chains: int = 32
    temperatures: int = 100
    most_chains: int = 128

    def __call__(self, vae: VAE, x: Examples) -> LogLikelihood:
        """Estimate log p(x) of each row."""
        settled = without_sampling(vae, x, self.memory)
        if settled is None:
            return self.sampled(vae, x)
        doubtful = settled.unreliable
        if not bool(doubtful.any()):
            return settled
        better = self.sampled(vae, x[doubtful])
        reason = (
            f"{settled.reason} It did not settle for {int(doubtful.sum())} of {len(x)} rows. "
            f"{better.reason}"
        )
        return dataclasses.replace(_replace(settled, doubtful, better), reason=reason)

    def brief(self, vae: VAE, x: Examples) -> LogLikelihood:
        """Sample, and once more, from adapted normals and with a few further starts, where weights
        have a heavy tail or there is a mode that the encoder does not lead to.

        Of draws too few for a Pareto k nothing is asked, and no other modes are looked for.
        """
        if self.samples < self.fewest:
            return self.drawn(vae, x, self.samples, 0, 0)
        found = self.drawn(vae, x, self.samples, self.probes, 0, Doubt())
        open_rows = found.khat > UNRELIABLE
        if not bool(open_rows.any()):
            return found
        samples, quick = self.samples, self.quick.among(vae.latent_dim)
        if quick is None:
            samples *= 2
        rows = x[open_rows]
        better = self.drawn(vae, rows, samples, self.few_starts, 50, adapted=quick)
        return _replace(found, open_rows, better)

    def sampled(self, vae: VAE, x: Examples) -> LogLikelihood:
        """Sample, and let rows climb as far as they need."""
        found = _on(Rung.DRAWS, self.drawn(vae, x, self.samples, self.probes, 0))
        if self.tolerance < LogLikelihood.unsure:
            found = self.planned(vae, x, found)
        found = self.doubled(vae, x, found)
        open_rows = self.wanting(found)
        if bool(open_rows.any()):
            found = _improve(found, open_rows, self.elsewhere(vae, x[open_rows]))
        # few chains would miss modes, too, and not tell: such rows stay as they are, unreliable
        open_rows = self.wanting(found) & (found.khat != math.inf)
        if bool(open_rows.any()):
            found = _improve(found, open_rows, self.annealed(vae, x[open_rows]))
        return dataclasses.replace(found, reason=self.reason(found))

    def wanting(self, found: LogLikelihood) -> Tensor:
        """Return which rows are to climb on, (n,)."""
        return found.unreliable | (found.standard_error > self.tolerance)

    def drawn(
        self,
        vae: VAE,
        x: Examples,
        samples: int,
        starts: int,
        attempt: int,
        doubt: Doubt = ALL,
        adapted: Adapted | None = None,
    ) -> LogLikelihood:
        """Draw from the encoder's q(z|x) and from normals at several modes, or from such as are
        adapted.

        A row that may have modes that nobody has found gets an infinite Pareto k: its weights do
        not tell. Each attempt has noise of its own: that of draws which looked bad would do so
        again.
        """
        doubts = []

        def sampled(vae: VAE, part: Examples, memory: int) -> tuple[Place, Cost]:
            place, unexplored, cost = several(samples, starts, vae, part, memory, doubt)
            doubts.append(unexplored)
            if adapted is not None:
                place = adapted.place(vae, place, samples, seed, memory)
                cost += adapted.cost(len(part))
            return place, cost

        seed = self.seed + 1_000_033 * attempt
        found = importance(vae, x, samples, seed, self.memory, sampled)
        khat = found.khat.masked_fill(torch.cat(doubts).cpu(), math.inf)
        return dataclasses.replace(found, khat=khat)

    def planned(self, vae: VAE, x: Examples, pilot: LogLikelihood) -> LogLikelihood:
        """Draw anew, as often as the errors of pilot draws ask for.

        Of draws that may stop as soon as their own error is small, those would stop that
        underrate it, and log p(x) with it; so the draws that decide are not those that count.
        """
        found = pilot
        doublings = self.doublings_to(self.margin * self.tolerance, pilot).clamp_min(0)
        for doubling in doublings.unique().tolist():
            rows = doublings == doubling
            better = self.drawn(vae, x[rows], self.samples * 2**doubling, self.probes, 1)
            rung = {0: Rung.DRAWS}.get(doubling, Rung.MORE_DRAWS)
            found = _replace(found, rows, _on(rung, better))
        return found

    def doublings_to(self, error: float, found: LogLikelihood) -> Tensor:
        """Return how many doublings bring errors down to this one, as they fall with the root of
        the number of draws, (n,), int64.
        """
        short = found.standard_error.nan_to_num(math.inf, math.inf) / error
        return (2 * short.log2()).ceil().clamp(-self.doublings, self.doublings).long()

    def doubled(self, vae: VAE, x: Examples, found: LogLikelihood) -> LogLikelihood:
        """Double the draws of rows that want more, as often as their errors ask for."""
        while bool((count := self.wanted(found)).any()):
            # rows of one count together: a row's own error decides which it is
            for samples in count[count > 0].unique().tolist():
                rows = count == samples
                attempt = Rung.MORE_DRAWS + samples // self.samples
                better = self.drawn(vae, x[rows], samples, self.probes, attempt)
                found = _replace(found, rows, _on(Rung.MORE_DRAWS, better))
        return found

    def wanted(self, found: LogLikelihood) -> Tensor:
        """Return how many draws each row is to have next, (n,), int64; 0 where that is enough."""
        most = self.samples * 2**self.doublings
        tailed = found.khat > UNRELIABLE
        most_of_row = torch.where(tailed, self.samples * 2**self.heavy, most)
        doublings = self.doublings_to(self.tolerance, found).clamp_min(1)
        count = (found.samples * 2 ** torch.where(tailed, 1, doublings)).clamp_max(most)
        open_rows = self.wanting(found) & (found.khat != math.inf) & (found.samples < most_of_row)
        return torch.where(open_rows, count, 0)

    def elsewhere(self, vae: VAE, x: Examples) -> LogLikelihood:
        """Look for modes from several starts, and draw from normals that are adapted to the row,
        and once more where that is not enough.
        """
        found = self.adapted(vae, x, self.starts, 100, self.first)
        crowded = found.khat == math.inf
        if bool(crowded.any()):
            better = self.adapted(vae, x[crowded], self.most_starts, 200, self.first)
            found = _replace(found, crowded, better)
        open_rows = self.wanting(found) & (found.khat != math.inf)
        for rows, starts in (
            (open_rows & ~crowded, self.starts),
            (open_rows & crowded, self.most_starts),
        ):
            if bool(rows.any()):
                better = self.adapted(vae, x[rows], starts, 300, self.second)
                found = _replace(found, rows, better)
        return found

    def adapted(
        self, vae: VAE, x: Examples, starts: int, attempt: int, adapted: Adapted
    ) -> LogLikelihood:
        """Draw from adapted normals, as often as one round of adaptation does, or more; with so
        many latents that these are too few, from normals at modes.
        """
        samples = max(self.samples, adapted.draws)
        found = self.drawn(vae, x, samples, starts, attempt, adapted=adapted.among(vae.latent_dim))
        return _on(Rung.ADAPTED, found)

    def annealed(self, vae: VAE, x: Examples) -> LogLikelihood:
        """Anneal a few chains of each row, and more where its error stays above the tolerance."""
        settings = Settings(temperatures=self.temperatures)
        found = annealed(vae, x, self.chains, self.seed, self.memory, settings)
        chains = 2 * self.chains
        while chains <= self.most_chains and self.tolerance < LogLikelihood.unsure:
            rows = self.wanting(found)
            if not bool(rows.any()):
                break
            better = annealed(vae, x[rows], chains, self.seed, self.memory, settings)
            found = _replace(found, rows, better)
            chains *= 2
        return _on(Rung.ANNEALED, found)

    def reason(self, found: LogLikelihood) -> str:
        """Say how many rows took which rung, and how many are open even so."""
        text = (
            "Importance sampling from the encoder's q(z|x) and normals at modes of each row's "
            f"posterior, with more effort for rows with {self.sign(found)}: {listed(found.rungs)}."
        )
        open_rows, unreliable = int(self.wanting(found).sum()), int(found.unreliable.sum())
        if unreliable:
            text += f" Of all rows, {unreliable:,} are unreliable even so."
        if open_rows > unreliable:
            text += (
                f" For {open_rows - unreliable:,} the standard error stays above "
                f"{self.tolerance:g} nats."
            )
        return text

    def sign(self, found: LogLikelihood) -> str:
        """Say by what a row is to climb on."""
        limit = f"a standard error above {self.tolerance:g} nats"
        if bool(found.khat.isnan().all()):
            return limit
        return f"a Pareto k above {UNRELIABLE} or {limit}"


def _on(rung: Rung, found: LogLikelihood) -> LogLikelihood:
    """Return estimates whose rows all took this rung."""
    return dataclasses.replace(found, rung=torch.full_like(found.samples, rung))


def _improve(found: LogLikelihood, rows: Tensor, better: LogLikelihood) -> LogLikelihood:
    """Put estimates of some rows in place, but where one was reliable, and more certain or so much
    higher that the other must have missed a mode: all of them are lower bounds.
    """
    was = found.rows(rows)
    off = (was.standard_error.square() + better.standard_error.square()).sqrt()
    missed = was.value - better.value > 3 * off
    kept = ~was.unreliable & (missed | (was.standard_error < better.standard_error))
    chosen = rows.clone()
    chosen[rows] = ~kept
    return _replace(found, chosen, better.rows(~kept))


def _replace(found: LogLikelihood, rows: Tensor, better: LogLikelihood) -> LogLikelihood:
    """Put better estimates of some rows in place."""
    columns: dict[str, Any] = {}
    for name in ("value", "standard_error", "ess", "khat", "samples", "acceptance", "rung"):
        new = getattr(better, name)
        if new is None:
            continue
        old = getattr(found, name)
        if old is None:
            old = torch.full_like(found.value, math.nan)
        columns[name] = old.clone()
        columns[name][rows] = new
    method = found.method
    if bool(rows.all()):
        method = better.method
    elif better.method not in method:
        method = f"{method} + {better.method}"
    return dataclasses.replace(found, **columns, method=method, cost=found.cost + better.cost)
