r"""Normal noise that the decoder reads from z."""

from __future__ import annotations

__all__ = ["HeteroscedasticGaussian"]

from torch import Tensor
from torch.nn.functional import softplus

from .. import distributions
from .base import VARIANCE_FLOOR, Likelihood, of_values


class HeteroscedasticGaussian(Likelihood):
    r""":math:`p(x \mid z) = \mathcal{N}(x \mid f(z), \operatorname{diag} \beta^2(z))`, both read
    from the decoder.

    Arguments:
        shape: The shape of one example. The decoder outputs twice its first dimension: first the
            means, then numbers that softplus maps to standard deviations.
        floor: The variance below which :math:`\beta^2(z)` cannot fall; its root is added to
            the standard deviation.
    """

    def __init__(self, shape: tuple[int, ...], floor: float = VARIANCE_FLOOR) -> None:
        super().__init__()
        if not floor > 0:
            raise ValueError(f"floor must be a positive variance, got {floor}.")
        self.shape = of_values(shape)
        self.in_shape = (2 * shape[0], *shape[1:])
        self.floor = floor

    def forward(self, h: Tensor) -> distributions.DiagonalNormal:
        """Map features h, of shape (*batch, 2 * shape[0], *shape[1:]), to p(x|z)."""
        loc, raw = h.chunk(2, dim=-len(self.shape))
        raw = raw.contiguous()  # softplus of values with gaps between them takes ten times as long
        return distributions.DiagonalNormal(loc, softplus(raw) + self.floor**0.5, len(self.shape))
