r"""Normal noise, the same for every z."""

from __future__ import annotations

__all__ = ["Gaussian"]

from torch import Tensor
from torch.distributions import Distribution

from .. import distributions
from .noise import Noise
from .shared import SharedVariance


class Gaussian(SharedVariance):
    r""":math:`p(x \mid z) = \mathcal{N}(x \mid h, \beta^2 I)`,
    with :math:`\beta^2` fixed or learned.

    Its closed form is the mean squared residual of the training data.

    Arguments:
        shape: The shape of one example.
        variance: ``"learned"`` is one number for all features, ``"per_feature"`` one for each
            feature, and a float (or a tensor that broadcasts to ``shape``) is a fixed
            :math:`\beta^2`, in the square of the data's units.
        floor: The smallest value a learned :math:`\beta^2` may take. Reaching it warns.

    Raises:
        ValueError: A fixed variance or the floor is not positive, the word is unknown, or ``shape``
            is ().
    """

    linear_is_exact = True
    usual_noise = "One noise level for all values, updated in closed form."
    variance_steps = 1

    def forward(self, h: Tensor) -> distributions.DiagonalNormal:
        """Map means h, of shape (*batch, *shape), to p(x|z)."""
        return distributions.DiagonalNormal(h, self.scale(h), len(self.shape))

    def noise(self) -> Noise:
        """Return the noise; a learned one at its floor predicts values exactly."""
        return Noise(self.kind, "Gaussian", self.variance.detach(), self.floor, normal=True)

    def solves_least_squares(self) -> bool:
        """Return whether one variance is learned for all values."""
        return self.learned and self.log_variance.ndim == 0

    def squared_residual(self, p: Distribution, x: Tensor) -> Tensor:
        """Return (x - h)^2."""
        return (x - p.mean).square()
