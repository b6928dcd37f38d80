"""Small models with known answers, real rows that every machine has, and stores for training,
shared by the tests.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from nelbo import VAE, VariationalAutoencoder, initialize, spec
from nelbo.cli import main
from nelbo.linear import LinearGaussian


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=rng(seed), dtype=dtype)


def build(
    shape: tuple[int, ...] = (6,),
    latent_dim: int = 2,
    network: str = "residual",
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    hidden: tuple[int, ...] = (8,),
    channels: tuple[int, ...] = (3,),
    **options: Any,
) -> VAE:
    """A small model; its weights depend on the seed alone."""
    made = spec.Spec(
        shape, latent_dim, network, network, hidden=hidden, channels=channels, **options
    )
    return spec.build(made, rng(seed)).to(dtype)


def linear_gaussian(
    features: int = 6,
    latent_dim: int = 2,
    *,
    seed: int = 0,
    orthogonal: bool = True,
    variance: float | Tensor = 0.3,
) -> LinearGaussian:
    """A model that can be solved;
    with orthogonal columns its posterior is diagonal, else it is not.
    """
    weight = normal(features, latent_dim, seed=seed)
    if orthogonal:
        weight = torch.linalg.qr(weight).Q * torch.linspace(
            2.0, 0.7, latent_dim, dtype=torch.float64
        )
    return LinearGaussian(
        weight, normal(features, seed=seed + 1), torch.as_tensor(variance, dtype=torch.float64)
    )


def draw(model: LinearGaussian, n: int, seed: int = 0) -> Tensor:
    """n rows of the model itself."""
    features, latent_dim = model.weight.shape
    noise = normal(n, features, seed=seed + 101) * model.variance.sqrt()
    return normal(n, latent_dim, seed=seed + 100) @ model.weight.T + model.bias + noise


def started(
    model: LinearGaussian, network: str = "linear", variance: str = "learned", **options: Any
) -> VAE:
    """The VAE that is this linear model,
    with its posterior (the nearest diagonal one where it is not diagonal).
    """
    features, latent_dim = model.weight.shape
    vae = build((features,), latent_dim, network, variance=variance, **options)
    initialize.start_at(vae, model)
    return vae


def loosen(vae: VAE, factor: float = 1.3, shift: float = 0.1) -> VAE:
    """The same p(x, z) with a worse q(z|x): wider by a factor, its mean moved."""
    layer, q = vae.encoder.linear, vae.latent_dim
    with torch.no_grad():
        std = torch.nn.functional.softplus(layer.bias[q:]) * factor
        layer.bias[q:] = std + torch.log(-torch.expm1(-std))
        layer.bias[:q] += shift
    return vae


@functools.cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's digits, split at random into 1,400 rows to train on and 397 to test on."""
    from sklearn.datasets import load_digits

    rows = load_digits().data.astype(np.float32)
    order = np.random.default_rng(0).permutation(len(rows))
    return rows[order[:1400]], rows[order[1400:]]


def weights(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def equal_bits(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(
        torch.equal(left[name], right[name]) for name in left
    )


class Memory:
    """A store in memory that keeps every state it was given;
    it can interrupt the run at one of them.
    """

    def __init__(self, interrupt_at_step: int | None = None) -> None:
        self.states: list[tuple[dict[str, Any], dict[str, Tensor]]] = []
        self.interrupt_at_step = interrupt_at_step

    def load(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        return copy.deepcopy(self.states[-1]) if self.states else None

    def save(self, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self.states.append((copy.deepcopy(config), copy.deepcopy(tensors)))
        if config["step"] == self.interrupt_at_step:
            self.interrupt_at_step = None
            raise KeyboardInterrupt


class Bytes(Memory):
    """A store that holds what a disk would: JSON and safetensors."""

    def load(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        if not self.states:
            return None
        config, tensors = self.states[-1]
        text, data = json.dumps(config, allow_nan=False), safetensors.torch.save(tensors)
        return json.loads(text), safetensors.torch.load(data)


def ring(n: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Rows around a circle: far from Gaussian, so that training has something to win."""
    generator = np.random.default_rng(seed)
    angle = generator.uniform(0, 2 * np.pi, n)
    x = np.stack([np.cos(angle), np.sin(angle), 0.3 * np.cos(2 * angle)], axis=1)
    return np.asarray(x + 0.03 * generator.normal(size=x.shape))


def small_estimator(**options: Any) -> VariationalAutoencoder:
    """An estimator that is fitted in no time; the options replace its own."""
    plain: dict[str, Any] = {"latent_dim": 2, "hidden": (16,), "max_steps": 60, "random_state": 0}
    return VariationalAutoencoder(**(plain | options))


def flat_weights(model: VariationalAutoencoder) -> np.ndarray[Any, Any]:
    """All weights of a fitted estimator, one after another."""
    return np.concatenate([p.detach().numpy().ravel() for p in model.model_.parameters()])


PEAK = """
import pathlib, resource, sys
def peak():
    # In bytes. On Linux ru_maxrss begins with what the parent had, and would hide all that is less.
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        return 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
"""
"""For scripts of their own: the most memory that the process has held so far."""


def without_pages(arguments: Sequence[str]) -> tuple[str, ...]:
    """A command, which if it is a fit leaves out report and picture: they take longer than it."""
    if arguments[:1] == ("fit",) and "--explain" not in arguments:
        return (*arguments, "--no-report")
    return tuple(arguments)


def in_process(arguments: Sequence[str]) -> tuple[int, str, str]:
    """Run a command of the shell in this process; return its code, and what both streams got."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    return code, out.getvalue(), err.getvalue()


def serious_faults(page: Any) -> list[tuple[str, str]]:
    """Return what axe finds serious or critical in a page: the rule, and where it is broken."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    return [
        (fault["id"], fault["nodes"][0]["html"])
        for fault in axe.run(page).response["violations"]
        if fault["impact"] in ("serious", "critical")
    ]
