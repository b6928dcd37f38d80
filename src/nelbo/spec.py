"""A frozen configuration and the model it stands for: the only place where a *name* becomes a
*class*.

The names are the classes in each module's ``__all__``, in snake case: adding a class there is all
it takes.
"""

from __future__ import annotations

__all__ = [
    "NetworkFactory",
    "Spec",
    "build",
    "build_objective",
    "check_objective",
    "choices",
    "resolve",
    "weights",
]

import dataclasses
import difflib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import nn

from . import likelihood, networks, objective, posterior, prior
from .brief import Brief
from .likelihood import VARIANCE_FLOOR
from .vae import VAE

NetworkFactory = Callable[[tuple[int, ...], tuple[int, ...]], nn.Module]
"""Called with the shapes of one input and one output."""

KINDS: dict[str, ModuleType] = {
    "prior": prior,
    "likelihood": likelihood,
    "posterior": posterior,
    "network": networks,
    "objective": objective,
}
SPELT = {"DReG": "dreg"}
"""Names that snake case would tear apart."""


@dataclass(frozen=True, repr=False)
class Spec(Brief):
    """All that is needed to rebuild a model but its weights; JSON in, JSON out.

    Attributes:
        shape: Shape of one example.
        latent_dim: Number of latent dimensions.
        encoder, decoder: Names of networks, or factories.
        hidden: Widths of dense hidden layers.
        decoder_hidden: Of the decoder's, where these differ.
        channels: Widths of convolutional stages.
        activation: Name of the activation.
        likelihood, prior, posterior: Names of heads.
        components: Of a mixture prior.
        variance: "learned", "per_feature", "heteroscedastic", a fixed beta^2, or one for each
            feature; in model units.
        floor: The smallest variance that may be learned, in model units.
        low, width: Of a discretised likelihood: the lower edge of the first bin and the width of
            all, in model units.
    """

    shape: tuple[int, ...]
    latent_dim: int
    encoder: str | NetworkFactory = "residual"
    decoder: str | NetworkFactory = "residual"
    hidden: tuple[int, ...] = (512, 512)
    decoder_hidden: tuple[int, ...] | None = None
    channels: tuple[int, ...] = (32, 64)
    activation: str = "silu"
    likelihood: str = "gaussian"
    variance: str | float | tuple[float, ...] = "learned"
    prior: str = "standard_normal"
    components: int = 1
    posterior: str = "diagonal_normal"
    floor: float = VARIANCE_FLOOR
    low: float | tuple[float, ...] = 0.0
    width: float | tuple[float, ...] = 1 / 256

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values.

        Raises:
            TypeError: A network is a factory, which a file cannot hold.
        """
        for name in ("encoder", "decoder"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(
                    f"{name} is a factory, and a model file holds no code. Save the weights with "
                    "safetensors.torch.save_model(model.model_, path), or use a network by name."
                )
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Spec:
        """Undo `to_dict`.

        Raises:
            ValueError: A field is unknown or missing.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := set(values) - known:
            raise ValueError(
                f"The model's configuration has unknown fields: {', '.join(sorted(unknown))}."
            )
        if missing := {"shape", "latent_dim"} - set(values):
            raise ValueError(f"The model's configuration lacks {', '.join(sorted(missing))}.")
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return cls(**fields)


def choices(kind: str) -> tuple[str, ...]:
    """Return the names known for "prior", "likelihood", "posterior", "network" or "objective"."""
    return tuple(sorted(_classes(kind)))


def resolve(kind: str, name: str) -> type[Any]:
    """Return the class that a name stands for.

    Raises:
        ValueError: The name is unknown; the message lists those known.
    """
    classes = _classes(kind)
    if name not in classes:
        close = difflib.get_close_matches(str(name), classes, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{kind} {name!r} is unknown.{hint} Known: {', '.join(choices(kind))}.")
    return classes[name]


def build(spec: Spec, generator: torch.Generator | None = None) -> VAE:
    """Return the model with fresh weights, drawn from ``generator``.

    Raises:
        ValueError: A name is unknown or a number is out of range.
    """
    return _assemble(spec, _likelihood(spec), generator)


def weights(spec: Spec) -> dict[str, torch.Tensor]:
    """Return the weights of a model by name as tensors without memory: their shapes and types,
    whatever the sizes.

    Raises:
        ValueError: A name is unknown or a number is out of range.
    """
    head = _likelihood(spec)
    with torch.device("meta"):
        return _assemble(spec, head, None).state_dict()


def _assemble(spec: Spec, head: likelihood.Likelihood, generator: torch.Generator | None) -> VAE:
    """Put a model together around its likelihood."""
    posterior_head = resolve("posterior", spec.posterior)(spec.latent_dim)
    own = (
        spec
        if spec.decoder_hidden is None
        else dataclasses.replace(spec, hidden=spec.decoder_hidden)
    )
    decoder = _network(own, own.decoder, (own.latent_dim,), head.in_shape, generator)
    encoder = _network(spec, spec.encoder, head.shape, posterior_head.in_shape, generator)
    return VAE(_prior(spec), decoder, head, encoder, posterior_head)


def build_objective(
    name: str, vae: VAE, samples: int = 1, options: Mapping[str, Any] | None = None
) -> objective.Objective:
    """Return the objective of this name for a model, with further options such as ``{"beta": 4}``.

    Raises:
        ValueError: The name or an option is unknown, or a number is out of range.
    """
    check_objective(name, options)
    built: objective.Objective = resolve("objective", name)(vae, samples, **(options or {}))
    return built


def check_objective(name: str, options: Mapping[str, Any] | None = None) -> None:
    """Refuse an objective or options that do not exist.

    Raises:
        ValueError: The name or an option is unknown; the message lists those known.
    """
    # after vae and samples
    known = list(inspect.signature(resolve("objective", name)).parameters)[2:]
    for option in options or {}:
        if option not in known:
            cure = f"Known: {', '.join(known)}." if known else "It has none."
            raise ValueError(f"objective {name!r} has no option {option!r}. {cure}")


def _prior(spec: Spec) -> prior.Prior:
    """Build a prior, giving it those of the spec's options that it knows."""
    cls = resolve("prior", spec.prior)
    known = inspect.signature(cls).parameters
    options = {"components": spec.components} if "components" in known else {}
    built: prior.Prior = cls(spec.latent_dim, **options)
    return built


def _likelihood(spec: Spec) -> likelihood.Likelihood:
    """Build a likelihood, giving it those of the spec's options that it knows."""
    cls = resolve("likelihood", spec.likelihood)
    if cls is likelihood.Gaussian and spec.variance == "heteroscedastic":
        cls = likelihood.HeteroscedasticGaussian
    known = inspect.signature(cls).parameters
    options = {
        name: getattr(spec, name) for name in ("variance", "floor", "low", "width") if name in known
    }
    shaped = {
        name: torch.tensor(value, dtype=torch.float64).reshape(spec.shape)
        if isinstance(value, tuple)
        else value
        for name, value in options.items()
    }
    head: likelihood.Likelihood = cls(spec.shape, **shaped)
    return head


def _network(
    spec: Spec,
    network: str | NetworkFactory,
    in_shape: tuple[int, ...],
    out_shape: tuple[int, ...],
    generator: torch.Generator | None,
) -> nn.Module:
    """Build a network, giving it those of the spec's options that it knows."""
    if not isinstance(network, str):
        return network(in_shape, out_shape)
    cls = resolve("network", network)
    known = inspect.signature(cls).parameters
    options = {
        name: getattr(spec, name) for name in ("hidden", "channels", "activation") if name in known
    }
    built: nn.Module = cls(in_shape, out_shape, generator=generator, **options)
    return built


def _classes(kind: str) -> dict[str, type[Any]]:
    """Return the concrete classes in a module's ``__all__`` by name."""
    members = (getattr(KINDS[kind], name) for name in KINDS[kind].__all__)
    return {
        SPELT.get(c.__name__) or _snake(c.__name__): c
        for c in members
        if inspect.isclass(c) and not inspect.isabstract(c)
    }


def _snake(name: str) -> str:
    """Turn DiagonalNormal into diagonal_normal, MLP into mlp and KLWarmUp into kl_warm_up."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z]{2})(?=[A-Z][a-z])", "_", name).lower()
