"""Names and classes: `__all__` is the registry, JSON is the form, and a typing error is answered
with what is known.
"""

from __future__ import annotations

import inspect
import json

import pytest
import torch
from torch import nn

from helpers import build, equal_bits, normal, rng, weights
from nelbo import likelihood, networks, objective, posterior, prior, spec


@pytest.mark.parametrize(
    ("kind", "module", "names"),
    [
        ("prior", prior, {"standard_normal"}),
        ("likelihood", likelihood, {"gaussian", "bernoulli", "heteroscedastic_gaussian"}),
        ("posterior", posterior, {"diagonal_normal"}),
        ("network", networks, {"linear", "mlp", "residual", "conv"}),
        ("objective", objective, {"elbo", "iwae", "autoencoder"}),
    ],
)
def test_choices_are_the_concrete_classes_in_all(
    kind: str, module: object, names: set[str]
) -> None:
    assert names <= set(spec.choices(kind))
    found = {spec.resolve(kind, name) for name in spec.choices(kind)}
    members = [getattr(module, name) for name in module.__all__]
    concrete = {c for c in members if inspect.isclass(c) and not inspect.isabstract(c)}
    wrap_another = {
        networks.Conditioned,
        networks.Filled,
        networks.Masked,
        networks.ReadColumns,
    }
    need_levels = {likelihood.Categorical, likelihood.Ordinal}
    assert found == concrete - wrap_another - need_levels


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        (
            "network",
            "residul",
            "'residul' is unknown. Did you mean 'residual'.*conv, factor_encoder, linear, mlp",
        ),
        ("objective", "Elbo", "'elbo'"),
        (
            "likelihood",
            "xyz",
            "Known: bernoulli, clustered_gaussian, columns, discretized_gaussian",
        ),
    ],
)
def test_unknown_names_are_refused_with_those_known(kind: str, name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        spec.resolve(kind, name)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"encoder": "mlp", "decoder": "linear", "hidden": (3, 2), "activation": "tanh"},
        {"variance": 0.25},
        {"variance": "per_feature"},
        {"variance": "heteroscedastic"},
        {"variance": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)},
        {"likelihood": "bernoulli"},
        {"shape": (1, 2, 3), "encoder": "conv", "decoder": "conv", "channels": (2,), "hidden": ()},
    ],
    ids=str,
)
def test_json_out_json_in_is_the_identity_and_builds_the_same_model(changes: dict) -> None:
    made = spec.Spec(**({"shape": (6,), "latent_dim": 2, "hidden": (4,)} | changes))
    again = spec.Spec.from_dict(json.loads(json.dumps(made.to_dict())))
    assert again == made
    assert equal_bits(weights(spec.build(made, rng(1))), weights(spec.build(again, rng(1))))
    assert not equal_bits(weights(spec.build(made, rng(1))), weights(spec.build(again, rng(2))))


def test_every_option_reaches_the_model() -> None:
    vae = build(
        (1, 4, 3), 5, "conv", hidden=(7,), channels=(2, 3), activation="tanh", variance=0.25
    )
    assert vae.latent_dim == 5
    assert vae.shape == (1, 4, 3)
    assert sum(isinstance(layer, nn.Tanh) for layer in vae.encoder.body) == 3
    assert [layer.out_channels for layer in vae.encoder.body if isinstance(layer, nn.Conv2d)] == [
        2,
        3,
    ]
    assert [layer.out_features for layer in vae.encoder.body if isinstance(layer, nn.Linear)] == [
        7,
        10,
    ]
    assert float(vae.likelihood.variance) == pytest.approx(0.25)
    per_feature = build((2, 3), 2, "mlp", variance=(1.0, 2.0, 3.0, 4.0, 5.0, 6.0))
    torch.testing.assert_close(
        per_feature.likelihood.variance, torch.arange(1.0, 7.0).double().reshape(2, 3)
    )


def test_encoder_and_decoder_can_differ_and_can_be_factories() -> None:
    asked = []

    def factory(in_shape: tuple[int, ...], out_shape: tuple[int, ...]) -> nn.Module:
        asked.append((in_shape, out_shape))
        return nn.Linear(*in_shape, *out_shape)

    made = spec.Spec((6,), 2, encoder=factory, decoder="mlp", hidden=(4,))
    vae = spec.build(made, rng())
    assert asked == [((6,), (4,))]
    assert vae.encode(normal(3, 6, dtype=torch.float32)).mean.shape == (3, 2)
    assert isinstance(vae.decoder, networks.MLP)
    with pytest.raises(TypeError, match="encoder is a factory"):
        made.to_dict()


@pytest.mark.usefixtures("untouched_random_state")
def test_building_with_a_generator_spares_the_global_random_state() -> None:
    for network in spec.choices("network"):
        build((1, 4, 3), 2, network)


def test_wrong_fields_are_named() -> None:
    with pytest.raises(ValueError, match="unknown fields: colour, size"):
        spec.Spec.from_dict({"shape": [2], "latent_dim": 1, "size": 1, "colour": 2})
    with pytest.raises(ValueError, match="lacks latent_dim, shape"):
        spec.Spec.from_dict({"hidden": [2]})
    with pytest.raises(ValueError, match="latent_dim must be at least 1, got 0"):
        build(latent_dim=0)
    with pytest.raises(ValueError, match="'sulu' is unknown"):
        build(activation="sulu")
