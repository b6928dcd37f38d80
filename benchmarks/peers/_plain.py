r"""A plain VAE in PyTorch, as examples write it: ReLU, one learned beta, a sum of squares and a KL.

beta is a parameter (its logarithm) that starts at the data's standard deviation. ``torch._dynamo``
is what the first use of ``torch.optim`` imports; it is imported here, so that the clock does not
count it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch._dynamo
from torch import Tensor, nn
from torch.nn import functional as F


class PlainVAE(nn.Module):
    """features-hidden-latent-hidden-features."""

    def __init__(
        self, features: int, hidden: Sequence[int], latent: int, start_std: float = 1.0
    ) -> None:
        super().__init__()
        self.encoder = mlp([features, *hidden, 2 * latent])
        self.decoder = mlp([latent, *reversed(hidden), features])
        self.log_beta = nn.Parameter(torch.tensor(float(start_std)).log())

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.encoder(x).chunk(2, -1)
        return mean, (0.5 * log_variance).exp()

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)

    def loss(self, x: Tensor) -> Tensor:
        """Return the mean negative ELBO, up to a constant."""
        mean, log_variance = self.encoder(x).float().chunk(2, -1)
        z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        square = F.mse_loss(self.decoder(z).float(), x, reduction="sum") / len(x)
        kl = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum() / len(x)
        return 0.5 * square * (-2 * self.log_beta).exp() + x.shape[1] * self.log_beta + kl


def mlp(widths: Sequence[int]) -> nn.Sequential:
    """Return linear layers with ReLU between them."""
    layers = [
        layer for a, b in itertools.pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())
    ]
    return nn.Sequential(*layers[:-1])
