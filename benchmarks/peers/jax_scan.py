"""The same plain VAE in JAX:
many steps at a time in one jitted ``lax.scan``, data on the device, Adam at 1e-3.

With ``bf16`` the matrix products take bfloat16 and give float32. Compilation is part of the time to
a quality, as a user waits for it, but not of the speed.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from ._contest import Done, Watch, read, write
from ._plain import PlainVAE

RATE, BETAS, EPSILON = 1e-3, (0.9, 0.999), 1e-8


def main() -> None:
    job, train, test = read()
    watch = Watch(job, train, test)
    random = np.random.default_rng(job["seed"])
    x = jnp.asarray(train.reshape(len(train), -1))
    latent, hidden, features = job["latent"], job["hidden"], x.shape[1]
    weights = {
        "encoder": start(random, [features, *hidden, 2 * latent]),
        "decoder": start(random, [latent, *reversed(hidden), features]),
        "log_beta": jnp.log(x.std()),
    }
    state = (weights, *(jax.tree.map(jnp.zeros_like, weights) for _ in range(2)), jnp.zeros(()))
    judged = Judged(features, hidden, latent)
    per_epoch = len(x) // job["batch"]
    chunk = math.gcd(per_epoch, job["chunk"]) if job["task"] == "speed" else job["chunk"]
    run = jax.jit(functools.partial(many, bf16=job.get("bf16", False)), donate_argnums=0)
    order = batches(random, len(x), job["batch"])
    key = jax.random.key(job["seed"])
    with contextlib.suppress(Done):
        for number in itertools.count():
            rows = np.stack([next(order) for _ in range(chunk)])
            state, loss = run(state, x, rows, jax.random.fold_in(key, number))
            loss.block_until_ready()
            judged.weights = state[0]
            watch.step(judged, chunk)
    write(**watch.result(), version=jax.__version__)


def start(random: np.random.Generator, widths: list[int]) -> list[tuple[Any, Any]]:
    """Return weights and biases as ``torch.nn.Linear`` draws them."""
    layers = []
    for a, b in itertools.pairwise(widths):
        w, c = (
            random.uniform(-1, 1, shape).astype(np.float32) / math.sqrt(a)
            for shape in ((a, b), (b,))
        )
        layers.append((jnp.asarray(w), jnp.asarray(c)))
    return layers


def batches(random: np.random.Generator, rows: int, size: int) -> Any:
    """Yield the rows of one batch after another;
    what does not fill a batch is left for another epoch.
    """
    while True:
        yield from (
            random.permutation(rows)[: rows // size * size].reshape(-1, size).astype(np.int32)
        )


def apply(layers: list[tuple[Any, Any]], h: Any, bf16: bool) -> Any:
    for number, (w, c) in enumerate(layers):
        h = jax.nn.relu(h) if number else h
        if bf16:
            h = (
                jnp.dot(
                    h.astype(jnp.bfloat16),
                    w.astype(jnp.bfloat16),
                    preferred_element_type=jnp.float32,
                )
                + c
            )
        else:
            h = h @ w + c
    return h


def loss_of(weights: dict[str, Any], x: Any, key: Any, bf16: bool) -> Any:
    mean, log_variance = jnp.split(apply(weights["encoder"], x, bf16), 2, -1)
    z = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(key, mean.shape)
    square = jnp.square(apply(weights["decoder"], z, bf16) - x).sum() / len(x)
    kl = -0.5 * (1 + log_variance - jnp.square(mean) - jnp.exp(log_variance)).sum() / len(x)
    return 0.5 * square * jnp.exp(-2 * weights["log_beta"]) + x.shape[1] * weights["log_beta"] + kl


def many(state: Any, x: Any, rows: Any, key: Any, bf16: bool) -> tuple[Any, Any]:
    """Take one step of Adam for each batch."""

    def step(state: Any, one: Any) -> tuple[Any, Any]:
        weights, first, second, count = state
        batch, noise = one
        loss, gradient = jax.value_and_grad(loss_of)(weights, x[batch], noise, bf16)
        count = count + 1
        first = jax.tree.map(lambda m, g: BETAS[0] * m + (1 - BETAS[0]) * g, first, gradient)
        second = jax.tree.map(lambda v, g: BETAS[1] * v + (1 - BETAS[1]) * g * g, second, gradient)
        a, b = 1 / (1 - BETAS[0] ** count), 1 / (1 - BETAS[1] ** count)
        weights = jax.tree.map(
            lambda p, m, v: p - RATE * a * m / (jnp.sqrt(b * v) + EPSILON), weights, first, second
        )
        return (weights, first, second, count), loss

    state, losses = jax.lax.scan(step, state, (rows, jax.random.split(key, len(rows))))
    return state, losses[-1]


class Judged(PlainVAE):
    """The PyTorch module that is judged: it takes the weights of JAX when it is asked."""

    weights: dict[str, Any]

    @torch.no_grad()
    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        for name in ("encoder", "decoder"):
            linears = [part for part in getattr(self, name) if isinstance(part, torch.nn.Linear)]
            for linear, (w, c) in zip(linears, self.weights[name], strict=True):
                linear.weight.copy_(torch.from_numpy(np.array(w).T))
                linear.bias.copy_(torch.from_numpy(np.array(c)))
        return super().encode(x)


if __name__ == "__main__":
    main()
