r"""p(z) as a flow that is fitted, after training, to where the training rows are.

.. math:: \max_T \frac1n \sum_i E_{q(z \mid x_i)}[\log p_T(z)]

As with a mixture (`mixture`) the decoder stays as it is. The flow is kept where log p(x) of rows
that neither trained nor stopped it is greater by two standard errors.
"""

from __future__ import annotations

__all__ = ["adopt"]

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data import Schema, Values
from ..prior import Flow
from ..recipe.choice import Entry
from ..vae import VAE
from .mixture import Limits, aggregate, gain, parted


@dataclasses.dataclass(frozen=True)
class Ascent:
    """How a flow is fitted to draws of z.

    Attributes:
        draws: Draws of z at least, up to ten from each row.
        steps, batch: Steps of Adam at most, and draws in each.
        rate: The peak learning rate, which falls to 0 in a cosine.
        every: Steps between two looks at the draws that stop it, a tenth of all.
        patience: Looks without a gain after which it stops.
        clip: The length to which gradients are shortened: splines have steep places.
    """

    draws: int = 20_000
    steps: int = 800
    batch: int = 512
    rate: float = 5e-3
    every: int = 50
    patience: int = 4
    clip: float = 5.0

    def fit(self, flow: Flow, z: Tensor) -> None:
        """Fit a flow to draws z (n, d) of rows in order, the last tenth of which stop it."""
        generator = torch.Generator().manual_seed(0)
        held, z = z[::10], z[torch.arange(len(z)) % 10 > 0]
        optimiser = torch.optim.Adam(flow.parameters(), self.rate)
        fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)
        best, kept, waited = self._height(flow, held), self._weights(flow), 0
        for step in range(1, self.steps + 1):
            some = z[torch.randint(len(z), (self.batch,), generator=generator)]
            optimiser.zero_grad()
            (-flow().log_prob(some).mean()).backward()
            torch.nn.utils.clip_grad_norm_(flow.parameters(), self.clip)
            optimiser.step()
            fall.step()
            if step % self.every:
                continue
            height, waited = self._height(flow, held), waited + 1
            if height > best:
                best, kept, waited = height, self._weights(flow), 0
            if waited == self.patience:
                break
        flow.load_state_dict(kept)

    @torch.no_grad()
    def _height(self, flow: Flow, z: Tensor) -> float:
        height = float(flow().log_prob(z).mean())
        return height if math.isfinite(height) else -math.inf

    def _weights(self, flow: Flow) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in flow.state_dict().items()}


def adopt(
    model: VAE,
    values: Values,
    schema: Schema,
    held: np.ndarray | None,
    options: Mapping[str, Any],
    limits: Limits | None = None,
) -> Entry:
    """Give a trained model a flow as its prior, where that helps.

    Arguments:
        model: The model, with any prior.
        values: All rows, in data units.
        schema: Their schema.
        held: Numbers of rows that were held out; None where all were trained on.
        options: Of `prior.Flow`.
        limits: How many rows it is fitted to, and what it has to bring.

    Returns:
        The entry of a recipe, what p(z) is and why; empty where it stays what it was.

    Raises:
        ImportError: zuko is not installed.
    """
    limits, ascent = limits or Limits(), Ascent()
    rest, judges = parted(len(values), held, limits)
    more = dataclasses.replace(limits, draws=ascent.draws)
    z = torch.from_numpy(aggregate(model, values[rest], schema, more).z).float()
    own = {name: value for name, value in options.items() if name != "learned"}
    flow = Flow(model.latent_dim, **own, generator=torch.Generator().manual_seed(0))
    with torch.enable_grad():
        ascent.fit(flow, z)
    flow.fix()
    x = schema.to_model(values[judges], noise="hash")
    nats, error, better = gain(model, flow, x, limits)
    if not better:
        return {}
    before = model.prior.name.replace("_", " ")
    model.prior = flow.to(model.device, model.dtype)
    return {
        "value": "flow",
        "reason": "Fitted to z of the training rows: log p(x) of "
        f"{len(judges):,} held-out rows is {nats:+.2f} ± {error:.2f} nats beside a {before} prior.",
    }
