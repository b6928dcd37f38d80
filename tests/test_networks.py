"""Networks: any shape in, any shape out, seeded, and the linear path alone at the start."""

from __future__ import annotations

import inspect
import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import softplus

from helpers import equal_bits, normal, rng, weights
from nelbo import networks
from nelbo.linear import LinearGaussian
from nelbo.networks.activation import ACTIVATIONS
from nelbo.networks.residual import soft_clip
from nelbo.networks.sub_pixel import quickened

IMAGES = [
    (1, 28, 28),
    (1, 28, 20),
    (1, 25, 25),
    (3, 32, 32),
    (2, 1, 17),
    (2, 17, 1),
    (1, 1, 1),
    (4, 3, 2),
]
SHAPES = [(5,), (1,), (2, 3), (1, 4, 5)]
DENSE = ["Linear", "MLP", "Quadratic", "Residual"]


def make(
    name: str,
    in_shape: tuple[int, ...],
    out_shape: tuple[int, ...],
    seed: int = 0,
    **options: object,
) -> nn.Module:
    cls = getattr(networks, name)
    known = inspect.signature(cls).parameters
    small = {"hidden": (7,), "channels": (3, 4), "activation": "tanh"} | options
    return cls(
        in_shape, out_shape, generator=rng(seed), **{k: v for k, v in small.items() if k in known}
    )


def loud(network: nn.Module) -> nn.Module:
    """The network with every weight and bias away from zero."""
    with torch.no_grad():
        for index, parameter in enumerate(network.parameters()):
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=rng(index)))
    return network


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("shapes", list(itertools.product(SHAPES, repeat=2)), ids=str)
def test_dense_networks_map_any_shape_to_any_shape_for_any_batch(
    name: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    network = loud(make(name, *shapes)).double()
    x = normal(2, 3, *shapes[0])
    y = network(x)
    assert y.shape == (2, 3, *shapes[1])
    torch.testing.assert_close(y[1, 2], network(x[1, 2]), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(y[1], network(x[1]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("image", IMAGES, ids=str)
def test_convolutions_take_and_give_any_image_at_any_depth(
    image: tuple[int, ...], depth: int
) -> None:
    encoder = loud(make("Conv", image, (6,), channels=(2,) * depth)).double()
    decoder = loud(make("Conv", (3,), image, channels=(2,) * depth)).double()
    x, z = normal(2, 1, *image), normal(2, 2, 3)
    assert encoder(x).shape == (2, 1, 6)
    assert decoder(z).shape == (2, 2, *image)
    torch.testing.assert_close(encoder(x)[1, 0], encoder(x[1, 0]), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(decoder(z)[1, 1], decoder(z[1, 1]), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("image", [(1, 28, 28), (3, 9, 7), (2, 1, 17)], ids=str)
def test_every_pixel_is_seen_by_the_encoder_and_reached_by_the_decoder(
    image: tuple[int, ...],
) -> None:
    """Through the nonlinear path too: no row or column is cut off by strides or padding."""
    encoder, decoder = loud(make("Conv", image, (4,))), loud(make("Conv", (4,), image))
    for network in (encoder, decoder):
        nn.init.zeros_(network.linear.weight)
    x = normal(1, *image, dtype=torch.float32).requires_grad_()
    (seen,) = torch.autograd.grad(encoder(x).square().sum(), x)
    assert bool((seen != 0).all())
    moved = decoder(normal(1, 4, dtype=torch.float32)) - decoder(
        normal(1, 4, dtype=torch.float32, seed=1)
    )
    assert bool((moved != 0).all())


@pytest.mark.usefixtures("untouched_random_state")
@pytest.mark.parametrize(("name", "image"), [*((n, (5,)) for n in DENSE), ("Conv", (1, 6, 5))])
def test_weights_depend_on_the_generators_seed_alone(name: str, image: tuple[int, ...]) -> None:
    first, second, other = (make(name, image, (4,), seed=s) for s in (3, 3, 4))
    assert equal_bits(weights(first), weights(second))
    assert not equal_bits(weights(first), weights(other))


@pytest.mark.parametrize(("name", "image"), [*((n, (50,)) for n in DENSE), ("Conv", (2, 10, 9))])
def test_each_layer_starts_with_variance_one_over_fan_in_and_no_bias(
    name: str, image: tuple[int, ...]
) -> None:
    network = make(name, image, (60,), hidden=(70,), channels=(20, 20))
    outputs = list(network.body.parameters())[-2:][:1] if hasattr(network, "body") else []
    for key, value in network.named_parameters():
        if key.endswith("bias"):
            assert not bool(value.any()), key
        elif not any(value is output for output in outputs):
            fan_in = value[0].numel()
            spread = float(value.detach().square().mean()) * fan_in
            assert spread == pytest.approx(1, abs=5 * 0.9 / math.sqrt(value.numel())), key


@pytest.mark.parametrize("name", ["Residual", "Conv"])
@pytest.mark.parametrize("inwards", [True, False])
def test_networks_with_a_linear_path_start_exactly_on_it(name: str, inwards: bool) -> None:
    shapes = ((1, 6, 5), (4,)) if inwards else ((4,), (1, 6, 5))
    network = make(name, *shapes)
    x = normal(3, *shapes[0], dtype=torch.float32)
    assert torch.equal(network(x), network.linear(x.flatten(1)).reshape(3, *shapes[1]))
    assert bool(network.linear.weight.any())
    assert not torch.equal(loud(network)(x), network.linear(x.flatten(1)).reshape(3, *shapes[1]))


@pytest.mark.parametrize("name", ["Residual", "Conv"])
def test_the_nonlinear_path_can_learn_from_its_start(name: str) -> None:
    network = make(name, (4,), (1, 6, 5))
    network(normal(3, 4, dtype=torch.float32)).square().sum().backward()
    assert bool(list(network.body.parameters())[-2].grad.any())


@pytest.mark.parametrize(("name", "image"), [("Residual", (5,)), ("Conv", (1, 6, 5))])
def test_far_from_the_data_a_network_goes_on_as_its_linear_path(
    name: str, image: tuple[int, ...]
) -> None:
    network = loud(make(name, image, (4,), activation="relu")).double()
    x = normal(1, *image)
    beyond = [network(x * s) - network.linear((x * s).flatten(1)) for s in (1e6, 1e8)]
    torch.testing.assert_close(*beyond, rtol=1e-5, atol=1e-5)


def test_soft_clip_is_the_identity_near_zero_and_bounded_far_away() -> None:
    x = torch.tensor([1e-3, -1e-3, 1e9, -1e9], dtype=torch.float64)
    torch.testing.assert_close(
        soft_clip(x), torch.tensor([1e-3, -1e-3, 6.0, -6.0]).double(), rtol=1e-7, atol=0
    )
    steps = soft_clip(torch.linspace(-50, 50, 1001, dtype=torch.float64)).diff()
    assert bool((steps > 0).all())


def test_mlp_is_the_formula_of_theory_6() -> None:
    network = loud(make("MLP", (5,), (3,), hidden=(4, 6), activation="relu"))
    x = normal(2, 5, dtype=torch.float32)
    (w1, b1, w2, b2, w3, b3) = network.parameters()
    h = (x @ w1.T + b1).relu()
    h = (h @ w2.T + b2).relu()
    torch.testing.assert_close(network(x), h @ w3.T + b3)


def test_a_net_without_hidden_layers_is_affine() -> None:
    network = loud(make("MLP", (5,), (3,), hidden=())).double()
    x, y = normal(5), normal(5, seed=1)
    torch.testing.assert_close(
        network(x) + network(y), network(x + y) + network(torch.zeros_like(x))
    )


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_every_activation_acts(name: str) -> None:
    x = normal(1000, 5, dtype=torch.float32)
    outputs = [loud(make("MLP", (5,), (3,), activation=a))(x) for a in (name, "relu")]
    assert all(bool(y.isfinite().all()) for y in outputs)
    assert torch.equal(*outputs) == (name == "relu")


@pytest.mark.parametrize(
    ("name", "shapes", "options", "words"),
    [
        ("MLP", ((5,), (3,)), {"activation": "rleu"}, "'rleu' is unknown.*relu.*silu"),
        ("MLP", ((5,), (3,)), {"hidden": (4, 0)}, r"positive widths, got \(4, 0\)"),
        ("Residual", ((5,), (3,)), {"activation": "rleu"}, "'rleu' is unknown.*relu.*silu"),
        ("Conv", ((1, 6, 5), (3,)), {"activation": "rleu"}, "'rleu' is unknown.*relu.*silu"),
        ("Conv", ((1, 6, 5), (3,)), {"channels": ()}, "positive widths"),
        ("Conv", ((1, 6, 5), (3,)), {"channels": (2, -1)}, "positive widths"),
        ("Conv", ((5,), (3,)), {}, r"an image \(channels, height, width\).*mlp or residual"),
        ("Conv", ((1, 6, 5), (1, 6, 5)), {}, "an image"),
    ],
)
def test_impossible_networks_are_refused(
    name: str, shapes: tuple, options: dict, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        make(name, *shapes, **options)


def test_a_factor_encoder_is_the_posterior_of_what_is_there() -> None:
    w, b, psi = normal(5, 2), normal(5, seed=1), normal(5, seed=2).exp()
    network = networks.FactorEncoder((5,), (4,)).double()
    network.start_at(w, b, psi)
    x = normal(6, 5, seed=3)
    x[0, [1, 3]], x[1] = math.nan, math.nan
    loc, raw = network(x).chunk(2, -1)
    for row, mean, width in zip(x, loc, softplus(raw), strict=True):
        there = ~row.isnan()
        inner = torch.eye(2) + w[there].T @ (w[there] / psi[there, None])
        pull = w[there].T @ ((row - b)[there] / psi[there])
        torch.testing.assert_close(mean, torch.linalg.solve(inner, pull))
        torch.testing.assert_close(width, inner.diagonal().rsqrt())
    complete = LinearGaussian(w, b, psi).posterior(x[2:])[0]
    torch.testing.assert_close(loc[2:], complete)
    with pytest.raises(ValueError, match="got 3 numbers, which are no pairs"):
        networks.FactorEncoder((5,), (3,))


@pytest.mark.parametrize("image", [(1, 28, 28), (3, 7, 9), (2, 1, 6)])
def test_a_quickened_decoder_maps_alike(image: tuple[int, int, int]) -> None:
    slow = loud(make("Conv", (4,), image))
    quick = quickened(slow)
    kinds = [type(part) for part in quick.modules()]
    assert kinds.count(nn.Conv2d) == 2
    z = normal(5, 4).float().requires_grad_()
    found, expected = quick(z), slow(z)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
    slopes = [torch.autograd.grad(x.sum(), z)[0] for x in (found, expected)]
    assert torch.allclose(*slopes, rtol=1e-3, atol=1e-4)


def test_what_has_no_slow_layer_is_left_as_it_is() -> None:
    network = make("MLP", (4,), (3,))
    assert quickened(network) is network
