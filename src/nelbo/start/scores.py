r"""The start of a table whose columns are of several kinds: factors of their scores.

Where columns are independent, the decoder's features h are the same for every row, and the score
:math:`s_j = \partial \log p(x_j) / \partial h_j` says in which direction a row would have them
moved. Whitened within each column, :math:`y_j = A_j s_j` with :math:`A_j = E[s_j s_j^\top]^{-1/2}`
is a number standardised, and for categories what correspondence analysis looks at. Between columns
their covariance is fitted by low rank,

.. math:: E[y_j y_k^\top] \approx W_j W_k^\top \quad (j \ne k), \qquad h_j = h_{j,0} + A_j W_j z,

which is joint correspondence analysis (Greenacre, 1988), and factor analysis of numbers alone.
"""

from __future__ import annotations

__all__ = ["Scores", "start_at_scores", "start_at_scores_of"]

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..distributions import of_observed
from ..likelihood import Likelihood
from ..linear import LinearGaussian
from ..networks.paths import linear_path, silence, standardise
from ..vae import VAE
from .rows import Effort, Readable


@dataclass(frozen=True)
class Scores:
    """How factors of scores are found.

    Attributes:
        numbers: How many scores are taken, of rows that are evenly spaced.
        widest: Columns of more features have no part in it: z does not move them at first.
        features: How many features have a part in it, those of narrow columns first.
        few: A level that so few rows hold counts half of what its frequency would make it count.
        steps: Steps of principal factor analysis, each one of subspace iteration.
        beside: Directions beside the factors in that: they make it converge faster.
        most: The share of a column's variance that factors may take, at most.
        ridge: Of the regression of scores on what the encoder reads, in units of its mean variance.
    """

    numbers: int = 2**21
    widest: int = 200
    features: int = 4000
    few: int = 5
    steps: int = 60
    beside: int = 8
    most: float = 0.99
    ridge: float = 1e-3

    def taking_part(self, column: Tensor) -> Tensor:
        """Return the numbers of the features that have a part in it, in order.

        Arguments:
            column: Which column each feature is of, (features,).
        """
        width = column.bincount()
        order = width.argsort(stable=True)
        fits = (width[order] <= self.widest) & (width[order].cumsum(0) <= self.features)
        chosen = torch.zeros_like(width, dtype=torch.bool)
        chosen[order] = fits
        return chosen[column].nonzero()[:, 0]

    def whitening(self, score: Tensor, column: Tensor, there: Tensor) -> Tensor:
        """Return the matrix A that whitens scores within each column, (features, features).

        Arguments:
            score: Scores of some features (n, features), 0 where a value is missing.
            column: Which column each is of.
            there: Which values are there, (n, columns).
        """
        found = score.new_zeros(len(column), len(column))
        for j in column.unique():
            mine = (column == j).nonzero()[:, 0]
            s, n = score[:, mine], there[:, j].sum().clamp_min(1)
            second = s.T @ s / n
            if len(mine) > 1:
                second.diagonal().add_(self.few / n * second.diagonal().max())
            values, vectors = torch.linalg.eigh(second)
            root = torch.where(values > 0, values, torch.inf).rsqrt()
            found[mine[:, None], mine] = vectors * root @ vectors.T
        return found

    def factors(self, y: Tensor, column: Tensor, there: Tensor, latent_dim: int) -> Tensor:
        """Return the loadings W of whitened scores, (features, latent_dim).

        Arguments:
            y: Whitened scores (n, features), 0 where a value is missing.
            column: Which column each feature is of.
            there: Which values are there, (n, columns).
            latent_dim: How many factors.
        """
        seen = there.to(y)
        together = (seen.T @ seen).clamp_min(1)[column[:, None], column]
        between = (y.T @ y / together).masked_fill(column[:, None] == column, 0.0)
        loading = y.new_zeros(y.shape[1], latent_dim)
        top = min(latent_dim, y.shape[1])
        first = torch.randn(y.shape[1], min(top + self.beside, y.shape[1]),
                            generator=torch.Generator().manual_seed(0)).to(y)  # fmt: skip
        basis = torch.linalg.qr(first).Q
        for _ in range(self.steps):
            # Moved up by 1, as no eigenvalue is below -1, or else iteration could find those.
            image = between @ basis + _within(loading, basis, column) + basis
            values, vectors = torch.linalg.eigh(basis.T @ image)
            scale = (values.flip(0)[:top] - 1).clamp_min(0).sqrt()
            loading[:, :top] = basis @ vectors.flip(1)[:, :top] * scale
            loading = self._possible(loading, column)
            basis = torch.linalg.qr(image).Q
        return loading

    def _possible(self, loading: Tensor, column: Tensor) -> Tensor:
        """Return loadings that leave each column some variance of its own."""
        largest = torch.linalg.eigvalsh(_by_column(loading, loading, column))[:, -1]
        shrunk: Tensor = loading * (self.most / largest.clamp_min(self.most)).sqrt()[column, None]
        return shrunk


def _by_column(left: Tensor, right: Tensor, column: Tensor) -> Tensor:
    """Return each column's product of (features, d) and (features, k): (columns, d, k)."""
    total = left.new_zeros(int(column.max()) + 1, left.shape[1], right.shape[1])
    return total.index_add_(0, column, left[:, :, None] * right[:, None])


def _within(loading: Tensor, basis: Tensor, column: Tensor) -> Tensor:
    """Return the product of what factors explain within columns, W_j W_j^T, and a basis."""
    return (loading[:, None] @ _by_column(loading, basis, column)[column])[:, 0]


def _scores(likelihood: Likelihood, h: Tensor, x: Tensor) -> Tensor:
    """Return the gradient of log p(x) of each row for the features h, which all rows share."""
    with torch.enable_grad():
        leaf = h.expand(len(x), *h.shape).clone().requires_grad_()
        p = likelihood(leaf)
        if bool(x.isnan().any()):
            p = of_observed(p)
        (score,) = torch.autograd.grad(p.log_prob(x).sum(), leaf)
    return score.flatten(1).double()


@torch.no_grad()
def start_at_scores(vae: VAE, x: Tensor, c: Tensor | None = None) -> None:
    """Start a model of a table at its marginals, and at factors of what columns have in common.

    Arguments:
        vae: A model whose networks have a linear path, and whose likelihood knows its marginals
            (`Likelihood.at_marginals`), such as `likelihood.Columns`.
        x: Training rows, of shape (n, *vae.shape), in which values may be missing.
        c: Their conditions (n, k), for a model of p(x|c); at the start nothing depends on them.

    Raises:
        TypeError: A network has no linear path, or a part does not start so.
    """
    how, likelihood = Scores(), vae.likelihood
    decoder, encoder = linear_path(vae.decoder), linear_path(_behind(vae.encoder))
    h = likelihood.at_marginals(x)
    if decoder is None or encoder is None or h is None or not vae.posterior.starts_linear:
        raise TypeError(
            "A start at scores needs networks with a linear path (linear, residual), and a "
            f"likelihood and a posterior that know it, got {type(vae.encoder).__name__}, "
            f"{type(vae.decoder).__name__}, {type(likelihood).__name__} and "
            f"{type(vae.posterior).__name__}."
        )
    standardise(vae.encoder, x)
    step = -(-len(x) * h.numel() // how.numbers)
    few, given = x[::step], () if c is None else (c[::step],)
    there = ~few.flatten(1).isnan()
    every = likelihood.features_of().to(x.device)
    mine = how.taking_part(every)
    column, score = every[mine], _scores(likelihood, h.to(x), few)[:, mine]
    whitening = how.whitening(score, column, there)
    loading = how.factors(score @ whitening, column, there, vae.latent_dim)
    noise = 1 - loading.square().sum(1)
    left = torch.ones(there.shape[1], dtype=noise.dtype, device=noise.device)
    left.scatter_reduce_(0, column, noise, "amin")
    bias = likelihood.at_marginals(x, left.reshape(x.shape[1:]))
    decoder.bias.copy_((h if bias is None else bias).flatten())
    decoder.weight.zero_()
    decoder.weight[mine, : vae.latent_dim] = (whitening @ loading).to(decoder.weight)
    for network in (_behind(vae.encoder), vae.decoder):
        silence(network)
    model = LinearGaussian(loading, torch.zeros_like(noise), noise)
    regression = _regression(_read_by(encoder, vae, few, *given), score @ whitening, how.ridge)
    _fill(encoder, *vae.posterior.start_at(model), *regression)
    vae.prior.restart()


def start_at_scores_of(vae: VAE, rows: Readable) -> None:
    """Start a model where `start_at_scores` does, of rows that are read when they are needed: of
    many, evenly spaced ones.
    """
    few = rows.every(math.ceil(math.prod(rows.shape) / Effort().numbers))
    c = few.conditions()
    if c is not None:
        c = c.to(vae.device, vae.dtype)
    start_at_scores(vae, few.read().to(vae.device, vae.dtype), c)


def _behind(network: nn.Module) -> nn.Module:
    """Return the network that is given values and a mask, or any other as it is."""
    while getattr(network, "takes_missing", False):
        network = network.get_submodule("network")
    return network


def _read_by(layer: nn.Linear, vae: VAE, x: Tensor, c: Tensor | None = None) -> Tensor:
    """Return what a layer inside the encoder is given for rows x, (n, inputs), in float64."""
    seen: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        vae.encode(x, c)
    finally:
        hook.remove()
    return seen[0].flatten(1).double()


def _regression(read: Tensor, y: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Return slope (features, inputs) and intercept (features,) of scores y given what is read."""
    middle = read.mean(0)
    centred = read - middle
    gram = centred.T @ centred / len(read)
    gram.diagonal().add_(ridge * gram.diagonal().mean().clamp_min(1e-12))
    slope = torch.linalg.solve(gram, centred.T @ y / len(read)).T
    return slope, y.mean(0) - slope @ middle


def _fill(layer: nn.Linear, weight: Tensor, bias: Tensor, slope: Tensor, offset: Tensor) -> None:
    """Set a layer to an affine map of scores, themselves affine in what it is given."""
    layer.weight.copy_(weight @ slope)
    layer.bias.copy_(bias + weight @ offset)
