"""A frozen configuration and its model: the only place where a *name* becomes a *class*.

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
    "check_options",
    "check_variance",
    "choices",
    "resolve",
    "variance_of",
    "weights",
]

import dataclasses
import difflib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import nn

from . import likelihood, networks, objective, posterior, prior
from .brief import Brief
from .likelihood import VARIANCE_FLOOR
from .naming import snake
from .options import NetworkFactory
from .vae import VAE

GIVEN: dict[str, frozenset[str]] = {
    "prior": frozenset({"latent_dim", "shape", "generator"}),
    "likelihood": frozenset({"shape", "variance", "floor", "low", "width", "bins"}),
    "posterior": frozenset({"latent_dim", "generator"}),
    "network": frozenset({"in_shape", "out_shape", "generator"}),
    "objective": frozenset({"vae", "samples"}),
}
"""Parameters of each kind that are no options: the model or its data say what they are, or an
argument of their own does.
"""


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
        likelihood_options, prior_options, posterior_options, network_options: Further options of
            each, such as ``{"components": 4}``; those of networks go to encoder and decoder.
        variance: "learned", "per_feature", "heteroscedastic", a fixed beta^2, or one for each
            feature; in model units.
        floor: The smallest variance that may be learned, in model units.
        low, width: Of a discretised likelihood: the lower edge of the first bin and the width of
            all, in model units.
        condition: The number of values of c, for a model of p(x|c); 0 for one of p(x).
        masked: Whether the encoder reads a mask beside x, of which values may be missing.
        missingness: "ignorable", or "self_masking": a model of which values are missing.
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
    posterior: str = "diagonal_normal"
    floor: float = VARIANCE_FLOOR
    low: float | tuple[float, ...] = 0.0
    width: float | tuple[float, ...] = 1 / 256
    likelihood_options: Mapping[str, Any] = field(default_factory=dict)
    prior_options: Mapping[str, Any] = field(default_factory=dict)
    posterior_options: Mapping[str, Any] = field(default_factory=dict)
    network_options: Mapping[str, Any] = field(default_factory=dict)
    condition: int = 0
    masked: bool = False
    missingness: str = "ignorable"

    def __setstate__(self, values: dict[str, Any]) -> None:
        """Take the fields of a pickle, which an older version may have made."""
        vars(self).update(vars(self.from_dict(values)))

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
        values = _of_today(values)
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := set(values) - known:
            raise ValueError(
                f"The model's configuration has unknown fields: {', '.join(sorted(unknown))}."
            )
        if missing := {"shape", "latent_dim"} - set(values):
            raise ValueError(f"The model's configuration lacks {', '.join(sorted(missing))}.")
        return cls(**{name: _hashable(value) for name, value in values.items()})


def _hashable(value: Any) -> Any:
    """Return what JSON read, with tuples for lists, at any depth."""
    if isinstance(value, list):
        return tuple(map(_hashable, value))
    if isinstance(value, dict):
        return {name: _hashable(inner) for name, inner in value.items()}
    return value


def _of_today(values: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration in today's fields: older versions had one for the components of a
    mixture, and let a likelihood ignore a variance that it has no use for.
    """
    values = dict(values)
    components = values.pop("components", None)
    if values.get("prior") == "mixture" and components is not None:
        values["prior_options"] = {"components": components, "learned": False}
    head = _classes("likelihood").get(values.get("likelihood", "gaussian"))
    if head is not None and not _has_variance(head):
        values["variance"] = "learned"
    return values


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
        known = choices(kind)
        hint = _meant(name, known)
        raise ValueError(f"{kind} {name!r} is unknown.{hint} Known: {', '.join(known)}.")
    return classes[name]


def fewest_latents(options: Any) -> int:
    """Return the fewest latent dimensions that prior and posterior can have.

    Arguments:
        options: What holds their names and options, such as a `Spec`.
    """
    fewest = 1
    for kind in ("prior", "posterior"):
        name = getattr(options, kind)
        if name != "auto":
            given = getattr(options, f"{kind}_options") or {}
            fewest = max(fewest, resolve(kind, name).fewest(given))
    return fewest


def build(spec: Spec, generator: torch.Generator | None = None) -> VAE:
    """Return the model with fresh weights, drawn from ``generator``.

    Raises:
        ValueError: A name is unknown or a number is out of range.
    """
    return _assemble(spec, _likelihood(spec), generator)


def weights(spec: Spec) -> dict[str, torch.Tensor]:
    """Return the weights of a model by name as tensors without memory: their shapes and types.

    Raises:
        ValueError: A name is unknown or a number is out of range.
    """
    head = _likelihood(spec)
    with torch.device("meta"):
        return _assemble(spec, head, None).state_dict()


def _assemble(spec: Spec, head: likelihood.Likelihood, generator: torch.Generator | None) -> VAE:
    """Put a model together around its likelihood."""
    _check_networks(spec)
    posterior_head = _latent_part("posterior", spec, generator)
    own = spec
    if spec.decoder_hidden is not None:
        own = dataclasses.replace(spec, hidden=spec.decoder_hidden)
    decoder = _read_by(own, own.decoder, (own.latent_dim,), head.in_shape, generator)
    encoder = _encoder(spec, head, posterior_head.in_shape, generator)
    return VAE(_latent_part("prior", spec, generator), decoder, head, encoder, posterior_head)


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
    check_options("objective", name, options)


def check_options(kind: str, name: str, options: Mapping[str, Any] | None) -> None:
    """Refuse options that a part does not know.

    Arguments:
        kind: "prior", "likelihood", "posterior", "network" or "objective".
        name: Of the part.
        options: Option -> value.

    Raises:
        ValueError: The name or an option is unknown; the message lists those known.
    """
    known = _options(kind, name)
    for option in options or {}:
        if option not in known:
            _refuse(f"{kind} {name!r}", option, known)


def _refuse(part: str, option: str, known: list[str]) -> None:
    """Say which options there are, and which may have been meant."""
    if not known:
        raise ValueError(f"{part} has no option {option!r}. It has none.")
    hint = _meant(option, known)
    raise ValueError(f"{part} has no option {option!r}.{hint} Known: {', '.join(known)}.")


def _meant(name: str, known: Sequence[str]) -> str:
    """Say which of those known may have been meant; nothing where none is near."""
    close = difflib.get_close_matches(str(name), known, n=1)
    return "".join(f" Did you mean {one!r}?" for one in close)


def _options(kind: str, name: str) -> list[str]:
    """Return the names of the options that a part has."""
    parameters = inspect.signature(resolve(kind, name)).parameters
    return [option for option in parameters if option not in GIVEN[kind]]


def _check_networks(spec: Spec) -> None:
    """Refuse options that neither network knows."""
    if not spec.network_options:
        return
    names = [name for name in (spec.encoder, spec.decoder) if isinstance(name, str)]
    if not names:
        raise ValueError("network_options are for networks by name; a factory has its own.")
    known = sorted({option for name in names for option in _options("network", name)})
    for option in spec.network_options:
        if option not in known:
            _refuse("network " + " and ".join(map(repr, dict.fromkeys(names))), option, known)


def _latent_part(kind: str, spec: Spec, generator: torch.Generator | None) -> Any:
    """Build a prior or a posterior; one that has weights to draw takes them from ``generator``,
    and one of rows their shape.
    """
    name, options = getattr(spec, kind), getattr(spec, f"{kind}_options")
    check_options(kind, name, options)
    cls = resolve(kind, name)
    known = inspect.signature(cls).parameters
    given = {"shape": spec.shape, "generator": generator}
    taken = {option: value for option, value in given.items() if option in known}
    return cls(spec.latent_dim, **options, **taken)


def _likelihood(spec: Spec) -> likelihood.Likelihood:
    """Build a likelihood, giving it those of the spec's fields that it knows."""
    together = {("gaussian", "heteroscedastic"): "heteroscedastic_gaussian"}
    name = together.get((spec.likelihood, str(spec.variance)), spec.likelihood)
    cls = resolve("likelihood", name)
    check_options("likelihood", name, spec.likelihood_options)
    check_variance(name, spec.variance)
    known = inspect.signature(cls).parameters
    fields = {
        option: getattr(spec, option)
        for option in ("variance", "floor", "low", "width")
        if option in known
    }
    shaped = {option: _shaped(value, spec.shape) for option, value in fields.items()}
    head: likelihood.Likelihood = cls(spec.shape, **shaped, **spec.likelihood_options)
    if spec.missingness == "self_masking":
        return likelihood.SelfMasking(head)
    return head


def check_variance(name: str, variance: object) -> None:
    """Refuse a variance for a likelihood that has none to set.

    Raises:
        ValueError: It is so, or the likelihood is unknown.
    """
    head = resolve("likelihood", name)
    if not _has_variance(head) and variance not in ("auto", "learned", "heteroscedastic"):
        raise ValueError(
            f"likelihood={name!r} takes no variance, got variance={variance!r}. {head.usual_noise} "
            "Leave variance out, or use likelihood='gaussian'."
        )


def variance_of(name: str, variance: Any) -> Any:
    """Return what a configuration holds as variance: "learned" for a likelihood that has none."""
    if _has_variance(resolve("likelihood", name)):
        return variance
    return "learned"


def _has_variance(head: type[Any]) -> bool:
    """Return whether a likelihood can be told its beta^2."""
    return "variance" in inspect.signature(head).parameters


def _shaped(value: Any, shape: tuple[int, ...]) -> Any:
    """Return numbers for each feature as a tensor of an example's shape, and all else as it is."""
    if not isinstance(value, tuple):
        return value
    return torch.tensor(value, dtype=torch.float64).reshape(shape)


def _encoder(
    spec: Spec,
    head: likelihood.Likelihood,
    out_shape: tuple[int, ...],
    generator: torch.Generator | None,
) -> nn.Module:
    """Build the encoder, one that reads each column as the likelihood says."""
    readings = head.readings()
    if not readings:
        return _read_by(spec, spec.encoder, head.shape, out_shape, generator, spec.masked)
    further = spec.condition
    if spec.masked:
        further *= 2  # a condition is always there, but its mask is read as well
    width = networks.ReadColumns.width(readings, spec.masked) + further
    built = _network(spec, spec.encoder, (width,), out_shape, generator)
    reader: nn.Module = networks.ReadColumns(built, readings, spec.masked, generator=generator)
    if spec.masked:
        reader = networks.Masked(reader)
    if spec.condition:
        return networks.Conditioned(reader)
    return reader


def _read_by(
    spec: Spec,
    network: str | NetworkFactory,
    in_shape: tuple[int, ...],
    out_shape: tuple[int, ...],
    generator: torch.Generator | None,
    masked: bool = False,
) -> nn.Module:
    """Build a network, one that reads c beside its input where there is such, and a mask of both
    where values may be missing.

    Convolutions, and factories, read c as further channels of an image.
    """
    channels = len(in_shape) == 3 and (network == "conv" or not isinstance(network, str))
    both = in_shape
    if spec.condition:
        both = networks.Conditioned.shape(in_shape, spec.condition, channels)
    read = both
    masked = masked and not _takes_missing(network)
    if masked:
        read = networks.Masked.shape(both)
    built = _network(spec, network, read, out_shape, generator)
    if masked:
        built = networks.Masked(built)
    if spec.condition:
        return networks.Conditioned(built, channels)
    return built


def _takes_missing(network: str | NetworkFactory) -> bool:
    """Return whether a network is one of ours that leaves out missing values by itself."""
    if not isinstance(network, str):
        return False
    return bool(getattr(resolve("network", network), "takes_missing", False))


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
    cls, known = resolve("network", network), _options("network", network)
    given = {"hidden": spec.hidden, "channels": spec.channels, "activation": spec.activation}
    given |= spec.network_options
    options = {name: value for name, value in given.items() if name in known}
    built: nn.Module = cls(in_shape, out_shape, generator=generator, **options)
    return built


def _classes(kind: str) -> dict[str, type[Any]]:
    """Return the classes in a module's ``__all__`` that can be built by name."""
    spelt = {"DReG": "dreg"}  # snake case would tear it apart
    modules: dict[str, ModuleType] = {
        "prior": prior,
        "likelihood": likelihood,
        "posterior": posterior,
        "network": networks,
        "objective": objective,
    }
    members = (getattr(modules[kind], name) for name in modules[kind].__all__)
    classes = (c for c in members if inspect.isclass(c) and not inspect.isabstract(c))
    return {
        spelt.get(c.__name__) or snake(c.__name__): c for c in classes if _needs(c) <= GIVEN[kind]
    }


def _needs(cls: type[Any]) -> set[str]:
    """Return what a class cannot be built without: one that wraps another part needs that."""
    parameters = inspect.signature(cls).parameters.values()
    return {parameter.name for parameter in parameters if parameter.default is parameter.empty}
