"""Small fits of all kinds and their results, run as ``python -m benchmarks._fits NAME``.

`benchmarks.unchanged` runs this file with an older checkout's nelbo and with this one's, so it
uses nothing but the public surface that both have. The results of a fit are printed as JSON,
``{"score_samples": [digest, number], ...}``: the digest is the SHA-256 of type, shape and bytes,
and the number is the mean, which shows how far apart two results are.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nelbo import (
    VAE,
    VariationalAutoencoder,
    evaluate,
    fit,
    likelihood,
    networks,
    objective,
    posterior,
    prior,
)
from nelbo.cli import main as command

from ._small import SEED, binary, channels, constant_column, grey, images, levels, table

Results = dict[str, Any]


# -- estimators ------------------------------------------------------------------------------------


def fitted(make: Callable[[], np.ndarray], *methods: str, **options: Any) -> Results:
    """Fit an estimator; return its results, and estimates of log p(x) by these methods."""
    x = make()
    model = VariationalAutoencoder(**small(options)).fit(x)
    rows = model.schema_.to_model(x[:20], noise="hash")
    return said(model, x) | estimated(model.model_, rows, *methods)


def small(options: dict[str, Any]) -> dict[str, Any]:
    """Return options of a fit that takes a second."""
    quick = {"latent_dim": 2, "hidden": (16,), "channels": (3,), "max_steps": 150}
    return quick | {"random_state": SEED, "device": "cpu"} | options


def said(model: VariationalAutoencoder, x: Any) -> Results:
    """Return the results of a fitted estimator."""
    return {
        "score_samples": summed(model.score_samples(x)),
        "elbo": summed(model.elbo(x)),
        "transform": summed(model.transform(x)),
        "sample": summed(model.sample(5, random_state=1)),
        "noise_variance": summed(getattr(model, "noise_variance_", np.nan)),
        "weights": weights(model.model_),
        "history": summed([record.step for record in model.history_.records]),
    }


def warm() -> Results:
    """Fit, and go on from there."""
    x = table()
    options = {"warm_start": True, "network": "mlp", "init": "random"}
    model = VariationalAutoencoder(**small(options))
    return said(model.fit(x).fit(x), x)


def resumed() -> Results:
    """Fit, interrupt it in the middle, and go on from its checkpoint."""
    x = table()

    def stop(record: Any) -> None:
        if record.step >= 40:
            raise KeyboardInterrupt

    with tempfile.TemporaryDirectory() as folder:
        options = small(
            {
                "checkpoint_dir": f"{folder}/state",
                "max_steps": 100,
                "network": "mlp",
                "init": "random",
            }
        )
        try:
            VariationalAutoencoder(**options, callbacks=[stop]).fit(x)
        except KeyboardInterrupt:
            return said(VariationalAutoencoder(**options).fit(x), x)
    raise RuntimeError("The fit was not interrupted.")


def shell(*flags: str) -> Results:
    """Fit from a CSV file by the command, and read the run."""
    x = table(600)
    with tempfile.TemporaryDirectory() as folder:
        data, run = f"{folder}/data.csv", f"{folder}/run"
        np.savetxt(data, x, "%.9g", ",", header="a,b,c,d,e,f", comments="")
        if command(["fit", data, "--out", run, "--max-steps", "60", "--quiet", *flags]):
            raise RuntimeError("The command failed.")
        told = json.loads(Path(run, "results.json").read_text())
        held_out, baseline = told["density"]["mean"], told["baseline"]["density"]["mean"]
        found = said(VariationalAutoencoder.load(run), x)
    return found | {"held_out": summed(held_out), "baseline": summed(baseline)}


# -- torch -----------------------------------------------------------------------------------------


def built(head: likelihood.Likelihood, network: str, latent_dim: int = 2) -> VAE:
    """Put a VAE together from parts."""
    q, random = posterior.DiagonalNormal(latent_dim), torch.Generator().manual_seed(SEED)
    sizes: dict[str, dict[str, Any]] = {"Linear": {}, "Conv": {"channels": (3,)}}
    layers = sizes.get(network, {"hidden": (16,)}) | {"generator": random}
    net = getattr(networks, network)
    decoder = net((latent_dim,), head.in_shape, **layers)
    encoder = net(head.shape, q.in_shape, **layers)
    return VAE(prior.StandardNormal(latent_dim), decoder, head, encoder, q)


def trained(
    make: Callable[[], np.ndarray],
    head: Callable[[tuple[int, ...]], likelihood.Likelihood],
    network: str,
    goal: str,
    methods: str,
    **options: Any,
) -> Results:
    """Train a VAE of parts with `nelbo.fit`, and return what the torch surface says of it."""
    rows = torch.from_numpy(make())
    vae = built(head(tuple(rows.shape[1:])), network)
    samples = {"samples": 3} if goal in ("IWAE", "DReG") else {}
    settings = {"max_steps": 60, "seed": SEED, "device": "cpu", "precision": "float32"} | options
    maximised = getattr(objective, goal)(vae, **samples)
    history = fit(maximised, rows[:-40], validation=rows[-40:], **settings)
    drawn = vae.sample(5, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        terms = vae.terms(rows[:10], samples=3, generator=torch.Generator().manual_seed(1))
        found = {"encode": summed(vae.encode(rows).mean), "terms": summed(terms.log_weight)}
    found |= {
        "sample": summed(drawn),
        "elbo": summed(evaluate.elbo(vae, rows)),
        "weights": weights(vae),
    }
    bounds = [record.validation for record in history.records if record.validation is not None]
    return found | {"history": summed(bounds)} | estimated(vae, rows[:20], *methods.split())


def estimated(vae: VAE, x: torch.Tensor, *methods: str) -> Results:
    """Return log p(x) by these methods."""
    short: dict[str, dict[str, Any]] = {
        "ais": {"samples": 3, "temperatures": 20},
        "importance": {"samples": 20, "proposal": "mixture"},
    }
    found = {}
    for method in methods:
        settings = short.get(method, {})
        found[method] = summed(evaluate.log_likelihood(vae, x, method, seed=SEED, **settings).value)
    return found


# -- digests ---------------------------------------------------------------------------------------


def summed(values: Any) -> list[Any]:
    """Return a digest and the mean of numbers."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    array = np.ascontiguousarray(values)
    kind = f"{array.dtype} {array.shape}".encode()
    return [digest(kind + array.tobytes()), float(np.mean(array, dtype=np.float64))]


def weights(module: torch.nn.Module) -> list[Any]:
    """Return a digest and the root mean square of a module's state, in whatever order."""
    values = [np.ascontiguousarray(value.cpu().numpy()) for value in module.state_dict().values()]
    flat = np.concatenate([value.ravel().astype(np.float64) for value in values])
    together = b"".join(sorted(value.tobytes() for value in values))
    return [digest(together), float(np.sqrt(np.mean(flat**2)))]


def digest(data: bytes) -> str:
    """Return the beginning of a SHA-256."""
    return hashlib.sha256(data).hexdigest()[:16]


case = functools.partial
GAUSSIAN, GREY = likelihood.Gaussian, likelihood.DiscretizedGaussian
NOISY = likelihood.HeteroscedasticGaussian
FIXED = functools.partial(likelihood.Gaussian, variance=0.5)
BY_COLUMN = functools.partial(likelihood.Gaussian, variance="per_feature")
CASES: dict[str, Callable[[], Results]] = {
    "table": case(fitted, table, "importance", "ais", "quadrature"),
    "whitened": case(fitted, table, scale="whitened"),
    "standard": case(fitted, table, scale="standard"),
    "global": case(fitted, table, scale="global", network="mlp"),
    "unscaled": case(fitted, table, scale=None, network="mlp"),
    "kept_start": case(fitted, lambda: table(noise=1)),
    "few_rows": case(fitted, lambda: table(12, 4)),
    "constant_column": case(fitted, constant_column),
    "float64": case(fitted, lambda: table().astype(np.float64)),
    "mixture": case(fitted, table, "importance", prior="mixture"),
    "standard_normal": case(fitted, table, prior="standard_normal"),
    "linear": case(fitted, table, "exact", network="linear", variance="learned"),
    "mlp": case(fitted, table, network="mlp"),
    "fixed": case(fitted, table, variance=0.01, network="mlp"),
    "learned": case(fitted, table, variance="learned"),
    "per_feature": case(fitted, table, variance="per_feature"),
    "heteroscedastic": case(fitted, table, variance="heteroscedastic"),
    "iwae": case(fitted, table, objective="iwae", objective_samples=3),
    "dreg": case(fitted, table, objective="dreg", objective_samples=3),
    "miwae": case(fitted, table, objective="miwae", objective_samples=3),
    "kl_warm_up": case(fitted, table, objective="kl_warm_up"),
    "beta": case(fitted, images, objective="beta_vae", objective_options={"beta": 4}),
    "autoencoder": case(fitted, images, objective="autoencoder"),
    "all_rows": case(fitted, table, validation_fraction=0),
    "auto_latent": case(fitted, lambda: table(100, 4), latent_dim="auto"),
    "warm_start": warm,
    "resumed": resumed,
    "command": case(shell),
    "command_mlp": case(shell, "--network", "mlp", "--scale", "standard"),
    "images": case(fitted, images, "importance", "ais"),
    "bytes": case(fitted, grey),
    "byte_table": case(fitted, lambda: grey().reshape(150, 64), dequantize=True),
    "conv": case(fitted, grey, network="conv"),
    "heteroscedastic_images": case(fitted, images, likelihood="heteroscedastic_gaussian"),
    "bernoulli": case(fitted, binary, "importance", likelihood="bernoulli"),
    "discretised": case(fitted, grey, "importance", likelihood="discretized_gaussian"),
    "torch_linear": case(trained, table, GAUSSIAN, "Linear", "ELBO", "exact quadrature ais"),
    "torch_mlp": case(trained, table, NOISY, "MLP", "DReG", "importance"),
    "torch_fixed": case(trained, table, FIXED, "Residual", "IWAE", "quadrature", decay=None),
    "torch_muon": case(
        trained, table, BY_COLUMN, "MLP", "STL", "auto", optimizer="muon", average=0.1
    ),
    "torch_bernoulli": case(trained, binary, likelihood.Bernoulli, "MLP", "ELBO", "importance"),
    "torch_conv": case(trained, channels, GAUSSIAN, "Conv", "ELBO", "importance"),
    "torch_discretised": case(trained, levels, GREY, "Residual", "ELBO", "importance ais"),
}


def main() -> None:
    """Print what one fit comes to."""
    warnings.simplefilter("ignore")  # remarks on made-up data
    print(json.dumps(CASES[sys.argv[1]]()))


if __name__ == "__main__":
    main()
