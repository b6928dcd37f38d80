"""x ~ p(x|z) as a function of standard normal noise, in operators that a graph can hold."""

from __future__ import annotations

__all__ = ["Drawing", "drawn", "noise_size", "share"]

from functools import singledispatch

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..distributions import (
    Bernoulli,
    ByColumn,
    Categorical,
    GatedNormals,
    LogNormal,
    Ordinal,
    SpikeAndSlab,
    is_independent_normal,
)
from ..export import Decoder
from ..fitted import Fitted


@singledispatch
def noise_size(p: Distribution) -> int:
    """Return how many numbers of noise a draw of each row takes; 0 where none can be made."""
    if is_independent_normal(p):
        return p.event_shape.numel()
    return 0


@singledispatch
def drawn(p: Distribution, u: Tensor) -> Tensor:
    """Return a draw for standard normal noise u, (n, noise_size), of a normal."""
    return p.mean + p.stddev * u.reshape(p.mean.shape)


@noise_size.register
def _(p: Bernoulli) -> int:
    return p.event_shape.numel()


@drawn.register
def _(p: Bernoulli, u: Tensor) -> Tensor:
    return (_uniform(u).reshape(p.mean.shape) < p.mean).to(u.dtype)


@noise_size.register
def _(p: Categorical) -> int:
    return p.event_shape.numel()


@drawn.register
def _(p: Categorical, u: Tensor) -> Tensor:
    below = p.logits.softmax(-1).cumsum(-1)[..., :-1]
    return (_uniform(u).reshape(p.logits.shape[:-1])[..., None] > below).to(u.dtype).sum(-1)


@noise_size.register
def _(p: Ordinal) -> int:
    return p.event_shape.numel()


@drawn.register
def _(p: Ordinal, u: Tensor) -> Tensor:
    at = p.loc + _logistic(u.reshape(p.loc.shape))
    return (at[..., None] > p.thresholds).to(u.dtype).sum(-1)


@noise_size.register
def _(p: LogNormal) -> int:
    return p.event_shape.numel()


@drawn.register
def _(p: LogNormal, u: Tensor) -> Tensor:
    return (p.log.mean + p.log.stddev * u.reshape(p.log.mean.shape)).exp()


@noise_size.register
def _(p: SpikeAndSlab) -> int:
    return 2 * p.event_shape.numel()


@drawn.register
def _(p: SpikeAndSlab, u: Tensor) -> Tensor:
    which, noise = u.reshape(*p.loc.shape[:-1], 2).unbind(-1)
    at, width = p.parts()
    below = p.logits.softmax(-1).cumsum(-1)[..., :-1]
    chosen = (_uniform(which)[..., None] > below).long().sum(-1, keepdim=True)
    found = at.gather(-1, chosen) + width.gather(-1, chosen) * _logistic(noise)[..., None]
    return p.rounded(found[..., 0])


@noise_size.register
def _(p: GatedNormals) -> int:
    return p.event_shape.numel() + 1


@drawn.register
def _(p: GatedNormals, u: Tensor) -> Tensor:
    below = p.log_weight.exp().cumsum(-1)[..., :-1]
    which = (_uniform(u[:, :1]) > below).long().sum(-1)
    chosen = nn.functional.one_hot(which, p.log_weight.shape[-1]).to(u.dtype)
    noise = torch.einsum("nk,kde,ne->nd", chosen, p.scale_tril, u[:, 1:])
    return (torch.einsum("nk,nkd->nd", chosen, p.loc) + noise).reshape(p.mean.shape)


@noise_size.register
def _(p: ByColumn) -> int:
    sizes = [noise_size(part) for part in p.parts]
    return sum(sizes) if all(sizes) else 0


@drawn.register
def _(p: ByColumn, u: Tensor) -> Tensor:
    pieces = u.split([noise_size(part) for part in p.parts], -1)
    return p.joined([drawn(part, piece) for part, piece in zip(p.parts, pieces, strict=True)])


def _uniform(u: Tensor) -> Tensor:
    """Return uniform noise for normal noise."""
    return 0.5 * (1 + torch.erf(u * 0.5**0.5))


def _logistic(u: Tensor) -> Tensor:
    """Return standard logistic noise for normal noise."""
    uniform = _uniform(u).clamp(1e-6, 1 - 1e-6)
    return uniform.log() - (1 - uniform).log()


def share(p: Distribution) -> Tensor:
    """Return the probability of the most probable level of each column, of the mean's shape; 1 of
    columns that have no levels.
    """
    if isinstance(p, ByColumn):
        return p.joined([share(part) for part in p.parts])
    of_levels = getattr(p, "probabilities", None)
    if of_levels is None:
        return torch.ones_like(p.mean)
    found: Tensor = of_levels().amax(-1)
    return found


class Drawing(nn.Module):
    """Map z (n, latent_dim) to the mean x_hat of p(x|z), the deviation of each value, and a draw
    x_tilde, each (n, *data_shape); without x_tilde where no draw can be made. Of columns of
    different kinds the share of the most probable level comes before it.

    Further inputs are noise u (n, noise), where a draw can be made, and c (n, k), where the model
    is one of p(x|c).

    Arguments:
        model: The model.

    Attributes:
        noise: How many numbers of noise a draw takes.
        inputs: What the inputs are called.
        names: What the outputs are called.
    """

    def __init__(self, model: Fitted) -> None:
        super().__init__()
        self.decoder = Decoder(model)
        self.latent_dim = model.vae.latent_dim
        self.width, given = 0, tuple[Tensor, ...]()
        if model.condition is not None:
            self.width = model.condition.width
            given = (torch.zeros(2, self.width),)
        with torch.no_grad():
            p = self.decoder.vae.decode(torch.zeros(2, self.latent_dim), *given)
        self.noise = noise_size(p)
        self.levels = model.schema.table is not None
        self.inputs = ["z", *["u"] * bool(self.noise), *["c"] * len(given)]
        shares = ["share"] * self.levels
        self.names = (*self.decoder.names, *shares, *["x_tilde"] * bool(self.noise))

    def forward(
        self, z: Tensor, second: Tensor | None = None, third: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Return x_hat, deviations, shares and x_tilde."""
        others = [one for one in (second, third) if one is not None]
        noise, given = others[: bool(self.noise)], others[bool(self.noise) :]
        p = self.decoder.vae.decode(z, *given)
        shares = [self.decoder.from_model.whole(share(p), 1.0)] * self.levels
        draws = (self.decoder.from_model(drawn(p, u)) for u in noise)
        return (*self.decoder.told(p), *shares, *draws)

    def example(self, rows: int) -> tuple[Tensor, ...]:
        """Return inputs of some rows."""
        sizes = {"z": self.latent_dim, "u": self.noise}
        generator = torch.Generator().manual_seed(0)
        c = [torch.zeros(rows, self.width)] if "c" in self.inputs else []
        drawn = [
            torch.randn(rows, sizes[name], generator=generator)
            for name in self.inputs
            if name != "c"
        ]
        return (*drawn, *c)
