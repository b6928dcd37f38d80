r"""The model: two factors generate, one infers.

.. math:: p(x, z) = p(z) \, p(x \mid z), \qquad q(z \mid x) \approx p(z \mid x)

`VAE.terms` is the only place where the three log-densities are computed. Objectives, evaluation
and diagnosis are reductions of what it returns.
"""

from __future__ import annotations

__all__ = ["UNCONDITIONAL", "VAE", "Terms", "check_content"]

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from .brief import Brief
from .data.rows import Rows
from .distributions import closed_form_kl, draw, of_observed
from .likelihood import Likelihood
from .posterior import Posterior
from .prior import Prior


@dataclass(frozen=True, eq=False, repr=False)
class Terms(Brief):
    r"""The log-densities that every bound is made of, at z ~ q(z|x).

    They unpack to ``log_lik, log_prior, log_post``.

    Each has shape (samples, *batch) and is in nats. What is not asked for is not computed.
    """

    log_lik: Tensor
    """:math:`\\log p(x \\mid z)`."""
    z: Tensor
    """The samples, of shape (samples, *batch, latent_dim)."""
    p: Distribution
    """The prior p(z)."""
    q: Distribution
    """The posterior q(z|x)."""

    @cached_property
    def log_prior(self) -> Tensor:
        r""":math:`\log p(z)`."""
        return self.p.log_prob(self.z)

    @cached_property
    def log_post(self) -> Tensor:
        r""":math:`\log q(z \mid x)`."""
        return self.q.log_prob(self.z)

    @cached_property
    def log_joint(self) -> Tensor:
        r""":math:`\log p(x, z)`."""
        return self.log_lik + self.log_prior

    @cached_property
    def log_weight(self) -> Tensor:
        r""":math:`\log p(x, z) - \log q(z \mid x)`."""
        return self.log_joint - self.log_post

    @cached_property
    def kl(self) -> Tensor | None:
        r""":math:`KL(q(z \mid x) \| p(z))`, (*batch,), where it has a closed form, else None."""
        return closed_form_kl(self.q, self.p)

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.log_lik, self.log_prior, self.log_post))


class VAE(nn.Module):
    r"""A variational autoencoder (Kingma & Welling, 2014; Rezende et al., 2014).

    Both networks are always given exactly one leading axis: those of x or z are flattened before
    and put back after, so that a network may end in ``.view(-1, c, h, w)``, hold ``Unflatten(1,
    ...)``, convolutions or BatchNorm.

    Arguments:
        prior: p(z).
        decoder: A network from (n, latent_dim) to (n, *likelihood.in_shape).
        likelihood: The head of p(x|z).
        encoder: A network from (n, *likelihood.shape) to (n, *posterior.in_shape).
        posterior: The head of q(z|x).

    Raises:
        TypeError: A part is of another kind, as where two were swapped.
        ValueError: Two parts have latent spaces of different sizes.
    """

    def __init__(
        self,
        prior: Prior,
        decoder: nn.Module,
        likelihood: Likelihood,
        encoder: nn.Module,
        posterior: Posterior,
    ) -> None:
        super().__init__()
        parts = {
            "prior": (prior, Prior),
            "decoder": (decoder, nn.Module),
            "likelihood": (likelihood, Likelihood),
            "encoder": (encoder, nn.Module),
            "posterior": (posterior, Posterior),
        }
        for name, (part, kind) in parts.items():
            if not isinstance(part, kind) or (
                kind is nn.Module and isinstance(part, Prior | Likelihood | Posterior)
            ):
                wanted = f"a nelbo.{name}.{kind.__name__}"
                if kind is nn.Module:
                    wanted = "a network (torch.nn.Module)"
                raise TypeError(
                    f"{name} must be {wanted}, got {type(part).__name__}. "
                    "The order is VAE(prior, decoder, likelihood, encoder, posterior)."
                )
        if getattr(posterior, "latent_dim", prior.latent_dim) != prior.latent_dim:
            raise ValueError(
                f"The prior has latent_dim={prior.latent_dim}, but the posterior has "
                f"{posterior.latent_dim}. "
                "Give both the same."
            )
        self.prior = prior
        self.decoder = decoder
        self.likelihood = likelihood
        self.encoder = encoder
        self.posterior = posterior
        prior.join(_Encoding(self))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example x."""
        return self.likelihood.shape

    @property
    def latent_dim(self) -> int:
        """The number of latent dimensions."""
        return self.prior.latent_dim

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self._weight().device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return self._weight().dtype

    def _weight(self) -> Tensor:
        """Return any weight, or, where nothing is learned, any buffer."""
        for tensor in (*self.parameters(), *self.buffers()):
            return tensor
        return torch.empty(0)

    @property
    def takes_missing(self) -> bool:
        """Whether values of x may be missing (NaN): the encoder says so (`networks.Masked`)."""
        return _says(self.encoder, "takes_missing")

    @property
    def takes_condition(self) -> bool:
        """Whether this is a model of p(x|c): a part says so (`networks.Conditioned`)."""
        parts = (self.prior, self.decoder, self.encoder)
        return any(_says(part, "takes_condition") for part in parts)

    def check_rows(self, name: str, rows: object) -> None:
        """Refuse what is not some finite rows of floats, (n, *shape), by the name that the caller
        knows it by; values may be missing where the model takes such.

        Raises:
            TypeError: It is no tensor of floats.
            ValueError: It has another shape, no rows, or values that are not finite.
        """
        floats = _floats(name, rows)
        if floats.shape[1:] != self.shape or floats.ndim == 0:
            raise ValueError(
                f"{name} has shape {tuple(floats.shape)}, but the model needs {('n', *self.shape)}."
            )
        check_content(name, floats, self.takes_missing)

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        """Return q(z|x) for x of shape (*batch, *shape), or q(z|x,c) for c of shape (*batch, k).

        Raises:
            TypeError: x is no tensor of floats.
            ValueError: The trailing dimensions of x are not the model's, its device or dtype is
                another than that of the weights, or what the encoder or the posterior returns does
                not fit.
        """
        batch = _leading("x", x, self.shape)
        h = _through("encoder", self.encoder, x, batch, self.shape, self.posterior, c)
        q: Distribution = self.posterior(h)
        _check_shapes("posterior", q, batch, (self.latent_dim,))
        return q

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        """Return p(x|z) for z of shape (*batch, latent_dim). Its mean is ``x_hat = f(z)``, a sample
        is ``x_tilde``; with c, of shape (*batch, k) or one that broadcasts to it, it is p(x|z,c).

        Raises:
            TypeError: z is no tensor of floats.
            ValueError: The last dimension of z is not latent_dim, its device or dtype is another
                than that of the weights, or what the decoder or the likelihood returns does not
                fit.
        """
        shape = (self.latent_dim,)
        batch = _leading("z", z, shape)
        h = _through("decoder", self.decoder, z, batch, shape, self.likelihood, c)
        p: Distribution = self.likelihood(h)
        _check_shapes("likelihood", p, batch, self.shape)
        return of_observed(p) if self.takes_missing else p

    def terms(
        self,
        x: Tensor,
        samples: int = 1,
        generator: torch.Generator | None = None,
        c: Tensor | None = None,
    ) -> Terms:
        """Return the log-densities at ``samples`` draws z ~ q(z|x), for x of shape
        (*batch, *shape), given c of shape (*batch, k) where the model is one of p(x|c).

        Draws come from ``generator``, or from torch's global one where it is None.
        """
        given = () if c is None else (c,)
        q = self.encode(x, *given)
        return self.terms_at(x, draw(q, (samples,), generator), q, *given)

    def terms_at(self, x: Tensor, z: Tensor, q: Distribution, c: Tensor | None = None) -> Terms:
        """Return the log-densities at given z (samples, *batch, latent_dim), for a given q(z|x)."""
        given = () if c is None else (c,)
        return Terms(self.decode(z, *given).log_prob(x), z, self._prior(c), q)

    def posterior_and_prior(
        self, x: Tensor, c: Tensor | None = None
    ) -> tuple[Distribution, Distribution]:
        """Return q(z|x) and p(z), or q(z|x,c) and p(z|c)."""
        return self.encode(x, c), self._prior(c)

    def _prior(self, c: Tensor | None) -> Distribution:
        """Return p(z), or p(z|c) where the prior reads conditions."""
        if c is None or not _says(self.prior, "takes_condition"):
            p: Distribution = self.prior()
            _check_shapes("prior", p, (), (self.latent_dim,))
            return p
        p = self.prior(c)
        _check_shapes("prior", p, c.shape[:-1], (self.latent_dim,))
        return p

    def prior_given(self, c: Tensor | None) -> Prior:
        """Return the prior; one that reads conditions is bound to c, of shape (*batch, k)."""
        if c is None or not _says(self.prior, "takes_condition"):
            prior: Prior = self.prior
            return prior
        return _GivenPrior(self.prior, c)

    def given(self, c: Tensor) -> VAE:
        """Return the model of p(x|c) for one condition c, (k,): a VAE that needs none any more.

        It shares its weights with this one, and all that can be done with a VAE can be done with
        it.
        """
        if not self.takes_condition:
            raise ValueError(UNCONDITIONAL)
        if c.ndim != 1:
            raise ValueError(f"c must be one condition, of shape (k,), got {tuple(c.shape)}.")
        c = c.to(self.device)
        encoder, decoder = _Given.of(self.encoder, c), _Given.of(self.decoder, c)
        found = VAE(self.prior_given(c), decoder, self.likelihood, encoder, self.posterior)
        return found.train(self.training)

    @torch.no_grad()
    def sample(
        self, n: int, noise: bool = True, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw n examples: z ~ p(z), then ``x_tilde ~ p(x|z)``, or its mean ``x_hat`` without
        ``noise``. Of a model of p(x|c), draw from ``vae.given(c)``.
        """
        p = self.decode(draw(self.prior(), (n,), generator))
        return draw(p, (), generator, gradients=False) if noise else p.mean


class _Encoding:
    """What a prior may ask of its model (`nelbo.prior.base.Encoding`).

    It is no module: the prior would own the model that owns it.
    """

    def __init__(self, vae: VAE) -> None:
        self.vae = vae

    @property
    def takes_condition(self) -> bool:
        return _says(self.vae.encoder, "takes_condition")

    @property
    def is_normal(self) -> bool:
        head = self.vae.posterior
        weight = self.vae._weight()
        with torch.no_grad():
            return head.as_normal(head(weight.new_zeros(1, *head.in_shape))) is not None

    def normal(self, x: Tensor) -> tuple[Tensor, Tensor]:
        found = self.vae.posterior.as_normal(self.vae.encode(x))
        if found is None:
            raise ValueError("q(z|x) is no normal any more: another posterior was put in.")
        return found


def _says(part: object, name: str) -> bool:
    """Return whether a part says yes; most have no such attribute: their class tells fastest."""
    return bool(getattr(type(part), name, False) and getattr(part, name))


class _Given(nn.Module):
    """A network that reads a condition, with one condition for all rows."""

    def __init__(self, network: nn.Module, c: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("c", c)

    c: Tensor

    @classmethod
    def of(cls, network: nn.Module, c: Tensor) -> nn.Module:
        return cls(network, c) if _says(network, "takes_condition") else network

    @property
    def takes_missing(self) -> bool:
        return _says(self.network, "takes_missing")

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.network(x, self.c.expand(len(x), -1))
        return h


class _GivenPrior(Prior):
    """A prior that reads conditions, with its conditions."""

    def __init__(self, prior: Prior, c: Tensor) -> None:
        super().__init__()
        self.prior, self.latent_dim = prior, prior.latent_dim
        self.register_buffer("c", c)

    def forward(self) -> Distribution:
        p: Distribution = self.prior(self.c)
        return p


UNCONDITIONAL = (
    "c was passed, but no part of this model reads a condition. Build its encoder and decoder with "
    "nelbo.networks.Conditioned, or leave c out."
)


def check_content(name: str, rows: Tensor, missing: bool = False) -> None:
    """Refuse no rows, and what is not finite; NaN is a missing value where there may be such.

    Raises:
        ValueError: It is so.
    """
    if len(rows) == 0:
        raise ValueError(f"{name} has no rows.")
    # A sum of finite values may overflow; only then is every one of them looked at.
    if bool(rows.sum().isfinite()):
        return
    odd, what = ~rows.isfinite(), "NaN or infinite values"
    if missing:
        odd, what = rows.isinf(), "infinite values"
    if not bool(odd.any()):
        return
    where = ""
    if rows.ndim > 1:
        bad = odd.flatten(1).any(1).nonzero()[:, 0].tolist()
        where = f" in {len(bad)} of {len(rows)} rows, the first of them row {bad[0]}"
        where += " (counting from 0)"
    raise ValueError(f"{name} contains {what}{where}; remove or impute them first.")


def _floats(name: str, rows: object) -> Tensor:
    """Return what is a tensor of floats."""
    if isinstance(rows, Tensor) and rows.dtype.is_floating_point:
        return rows
    kind, cure = type(rows).__name__, f"torch.as_tensor({name}).float()"
    if isinstance(rows, Rows):
        kind = f"nelbo.data.Rows ({kind})"
        cure = f"{name}.read(), and {name}.conditions() as c where there are any"
    if isinstance(rows, Tensor):
        kind = f"{rows.dtype}"
    raise TypeError(f"{name} must be a tensor of floats, got {kind}. Pass {cure}.")


def _leading(name: str, tensor: Tensor, shape: tuple[int, ...]) -> torch.Size:
    """Return the leading axes of a tensor whose trailing ones are to be ``shape``."""
    _floats(name, tensor)
    split = tensor.ndim - len(shape)
    if tensor.shape[max(split, 0) :] != shape:
        expected = ", ".join(["*batch", *map(str, shape)])
        raise ValueError(
            f"{name} has shape {tuple(tensor.shape)}, but this model needs ({expected})."
        )
    return tensor.shape[:split]


def _through(
    name: str,
    network: nn.Module,
    tensor: Tensor,
    batch: torch.Size,
    shape: tuple[int, ...],
    head: Posterior | Likelihood,
    c: Tensor | None = None,
) -> Tensor:
    """Return what a network makes of a tensor (*batch, *shape): (*batch, *head.in_shape).

    It is in at least float32: autocast stops at the networks' ends.
    """
    rows = math.prod(batch)
    inputs = [tensor if len(batch) == 1 else tensor.reshape(rows, *shape)]
    if _says(network, "takes_condition"):
        inputs.append(_condition(name, c, batch))
    try:
        h: Tensor = network(*inputs)
    except RuntimeError as error:
        _explain(name, network, inputs, shape, head, error)
        raise
    if h.shape != (rows, *head.in_shape):
        expected = ", ".join(["*batch", *map(str, head.in_shape)])
        raise ValueError(
            f"the {name}'s output has shape {tuple(h.shape)} for {rows} rows, but this model needs "
            f"({expected}): "
            f"{type(head).__name__} reads {tuple(head.in_shape)} for each row."
        )
    if h.dtype in (torch.bfloat16, torch.float16):
        h = h.float()
    if len(batch) == 1:
        return h
    return h.reshape(*batch, *head.in_shape)


def _condition(name: str, c: Tensor | None, batch: torch.Size) -> Tensor:
    """Return the condition of each row, of shape (rows, k)."""
    if c is None:
        raise ValueError(
            f"The {name} reads a condition, but there is none. Pass c, of shape (*batch, k), or "
            "take vae.given(c)."
        )
    try:
        return c.expand(*batch, c.shape[-1]).reshape(math.prod(batch), c.shape[-1])
    except RuntimeError as error:
        raise ValueError(
            f"c has shape {tuple(c.shape)}, but there are rows of shape {tuple(batch)}. Pass one "
            "condition (k,) for each row."
        ) from error


def _explain(
    name: str,
    network: nn.Module,
    inputs: Sequence[Tensor],
    shape: tuple[int, ...],
    head: Posterior | Likelihood,
    error: RuntimeError,
) -> None:
    """Raise what says why a network failed, where that is known: torch's text names no cure."""
    x = {"encoder": "x"}.get(name, "z")
    tensor, *conditions = inputs
    weight = next(network.parameters(), None)
    if weight is not None and weight.device != tensor.device:
        raise ValueError(
            f"{x} is on {tensor.device}, but the {name} is on {weight.device}. Pass "
            f"{x}.to({str(weight.device)!r})."
        ) from error
    if (
        weight is not None
        and weight.dtype != tensor.dtype
        and not torch.is_autocast_enabled(tensor.device.type)
    ):
        raise ValueError(
            f"{x} is {tensor.dtype}, but the {name}'s weights are {weight.dtype}. Pass "
            f"{x}.to({weight.dtype})."
        ) from error
    if type(error) is RuntimeError:  # its subclasses say that memory ran out, say
        takes, gives = (", ".join(["n", *map(str, sizes)]) for sizes in (shape, head.in_shape))
        for c in conditions:
            raise ValueError(
                f"The {name} must map {x} ({takes}) and c (n, {c.shape[-1]}) to ({gives}), but it "
                f"failed: {error}. Check that its network takes the values of both, side by side."
            ) from error
        raise ValueError(
            f"The {name} must map ({takes}) to ({gives}), but it failed: {error}. Check its "
            "layers, and whether "
            "encoder and decoder were swapped: the order is VAE(prior, decoder, likelihood, "
            "encoder, posterior)."
        ) from error


def _check_shapes(
    name: str, p: Distribution, batch: tuple[int, ...], event: tuple[int, ...]
) -> None:
    """Refuse a distribution whose log-density would not be one number for each example."""
    if p.event_shape == event and p.batch_shape == batch:
        return
    raise ValueError(
        f"The {name} returned a {type(p).__name__} with batch shape {tuple(p.batch_shape)} and "
        "event shape "
        f"{tuple(p.event_shape)}, but one example has shape {tuple(event)}, so these must be "
        f"{tuple(batch)} and "
        f"{tuple(event)}. Wrap it: torch.distributions.Independent(p, "
        f"{max(1, len(event) - len(p.event_shape))})."
    )
