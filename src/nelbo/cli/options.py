"""The options of `nelbo fit`: names, defaults and help. What they may be is checked where they are
used.
"""

from __future__ import annotations

__all__ = ["FitOptions"]

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from .flags import WHOLE, check_seed

if TYPE_CHECKING:
    from ..estimator import VariationalAutoencoder

MODEL = Parameter(group=Group("Model", sort_key=1))
NOISE = Parameter(group=Group("Noise and scaling", sort_key=2))
TRAINING = Parameter(group=Group("Training", sort_key=3))
JUDGING = Parameter(group=Group("Held-out rows", sort_key=4))


HELD_OUT = 0.1
"""Share of the rows that is held out unless told."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """Everything that decides which model comes out; also the keys of a TOML file."""

    latent_dim: Annotated[int | Literal["auto"], MODEL, WHOLE] = 8
    """Number of latent dimensions; auto takes the fewest whose held-out log p(x) is as good as
    any's.
    """
    network: Annotated[str, MODEL] = "auto"
    """Networks of encoder and decoder: linear, mlp, residual (an MLP beside a linear path that
    starts at pPCA), conv (for images), or auto, which is residual."""
    encoder: Annotated[str | None, MODEL] = None
    """Network of the encoder, if it is to differ from --network."""
    decoder: Annotated[str | None, MODEL] = None
    """Network of the decoder, if it is to differ from --network."""
    hidden: Annotated[str | None, MODEL] = None
    """Widths of the dense hidden layers, separated by commas. By default 512,512 for fewer than
    10,000 rows and for conv; 256,256 for more rows; and 128,128 for tables of any length."""
    decoder_hidden: Annotated[str | None, MODEL] = None
    """Widths of the decoder's hidden layers, if they are to differ from --hidden. By default
    512,512,512 where --hidden is 256,256 by default."""
    channels: Annotated[str, MODEL] = "32,64"
    """Numbers of channels of the convolutional stages, separated by commas. Each stage halves the
    image.
    """
    activation: Annotated[str, MODEL] = "silu"
    """Activation of the hidden layers: silu, relu, gelu, tanh and others."""
    prior: Annotated[str, MODEL] = "auto"
    """Prior p(z): standard_normal, mixture (of normals, fitted to z of the training rows after
    training), hierarchical (two layers of latents), or auto (a mixture for tables where it is
    better on held-out rows)."""
    prior_options: Annotated[str | None, MODEL] = None
    """Further options of the prior, such as components=8. With any a mixture is learned with the
    rest of the model, from the start."""
    posterior: Annotated[str, MODEL] = "diagonal_normal"
    """Approximate posterior q(z|x): diagonal_normal, full_normal (with correlations), or
    hierarchical (two layers of latents)."""
    posterior_options: Annotated[str | None, MODEL] = None
    """Further options of the posterior, as name=value, separated by commas."""
    network_options: Annotated[str | None, MODEL] = None
    """Further options of both networks, as name=value, separated by commas."""
    likelihood: Annotated[str, NOISE] = "gaussian"
    """Observation model p(x|z): gaussian; heteroscedastic_gaussian, whose noise depends on z;
    student_t, whose tails are heavy; discretized_gaussian, the probability of whole numbers from 0
    to 255; or bernoulli, for zeros and ones."""
    likelihood_options: Annotated[str | None, NOISE] = None
    """Further options of the likelihood, such as df=4."""
    variance: Annotated[str, NOISE] = "auto"
    """Noise variance beta^2: learned; per_feature; heteroscedastic (it depends on z); a number,
    which fixes it, in squared units of the data; or auto: heteroscedastic for tables, else
    learned."""
    scale: Annotated[str, NOISE] = "auto"
    """How the data are scaled inside: global (one number for all features), standard (one for
    each), whitened (standard and uncorrelated), none, or auto. Results are in the units of the data
    in any case."""
    dequantize: Annotated[bool | None, NOISE] = None
    """Whether to take 8-bit values u as x = (u + U) / 256 with U uniform in [0, 1). By default for
    images of uint8; a table holds numbers."""
    objective: Annotated[str, TRAINING] = "auto"
    """What training maximises: elbo, stl, kl_warm_up, free_bits, beta_vae or capacity; iwae, dreg,
    miwae, piwae or ciwae, which take several samples; autoencoder; or auto: dreg for tables, else
    elbo."""
    objective_samples: Annotated[int | None, TRAINING, WHOLE] = None
    """Samples of z per row in the objective. By default 4 for tables, else 1."""
    objective_options: Annotated[str | None, TRAINING] = None
    """Further numbers that the objective takes, such as beta=4 or capacity=10,gamma=100."""
    max_epochs: Annotated[int | None, TRAINING, WHOLE] = None
    """Maximum number of passes over the data. Without any of these limits, training is the longer
    the more data.
    """
    max_steps: Annotated[int | None, TRAINING, WHOLE] = None
    """Maximum number of optimiser steps."""
    max_seconds: Annotated[float | None, TRAINING] = None
    """Time limit of the fit, in seconds."""
    batch_size: Annotated[int | None, TRAINING, WHOLE] = None
    """Rows per step. By default from 32 to 256, growing with the data."""
    learning_rate: Annotated[float | None, TRAINING] = None
    """Peak learning rate of AdamW. By default chosen by the length of training."""
    weight_decay: Annotated[float, TRAINING] = 0.0
    """Weight decay of AdamW."""
    validation_fraction: Annotated[float, TRAINING] = 0.1
    """Share of the training rows that decides when to stop and which weights to keep; 0 trains on
    all of them.
    """
    early_stopping: Annotated[bool, TRAINING] = True
    """Stop when the validation bound no longer improves, and keep the best weights."""
    init: Annotated[str, TRAINING] = "auto"
    """Where training starts: ppca, random, or auto, which is pPCA where the networks have a linear
    path.
    """
    device: Annotated[str, TRAINING] = "auto"
    """Where to compute: cpu, cuda, or auto, which is a GPU if there is one."""
    precision: Annotated[str, TRAINING] = "auto"
    """Precision of training: bf16, float32, or auto, which is bf16 where that is faster and costs
    nothing.
    """
    seed: Annotated[int, TRAINING, WHOLE] = 0
    """Seed of everything random."""
    held_out: Annotated[float | None, JUDGING] = None
    """Share of the rows that are split off first and never trained on, to measure log p(x) on. By
    default 0.1 unless there is a --test; 0 holds out none."""
    test: Annotated[str | None, JUDGING] = None
    """Other DATA to measure log p(x) on; then every row of DATA is trained on."""
    samples: Annotated[int, JUDGING, WHOLE] = 200
    """Importance samples per held-out row."""

    def estimator(self, **process: Any) -> VariationalAutoencoder:
        """Return the unfitted estimator of these options.

        Raises:
            ValueError: An option cannot be read.
        """
        from ..estimator import VariationalAutoencoder

        return VariationalAutoencoder(
            latent_dim=self.latent_dim,
            network=self.network,
            encoder=self.encoder,
            decoder=self.decoder,
            hidden=None if self.hidden is None else _widths("hidden", self.hidden),
            decoder_hidden=None
            if self.decoder_hidden is None
            else _widths("decoder-hidden", self.decoder_hidden),
            channels=_widths("channels", self.channels),
            activation=self.activation,
            likelihood=self.likelihood,
            likelihood_options=_options("likelihood-options", self.likelihood_options),
            variance=_number_or_word(self.variance),
            prior=self.prior,
            prior_options=_options("prior-options", self.prior_options),
            posterior=self.posterior,
            posterior_options=_options("posterior-options", self.posterior_options),
            network_options=_options("network-options", self.network_options),
            objective=self.objective,
            objective_samples=self.objective_samples,
            objective_options=None
            if self.objective_options is None
            else _numbers(self.objective_options),
            scale=None if self.scale == "none" else self.scale,
            dequantize="auto" if self.dequantize is None else self.dequantize,
            max_epochs=self.max_epochs,
            max_steps=self.max_steps,
            max_seconds=self.max_seconds,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            validation_fraction=self.validation_fraction,
            early_stopping=self.early_stopping,
            init=self.init,
            device=self.device,
            precision=self.precision,
            random_state=self.seed,
            score_samples_k=self.samples,
            **process,
        )

    def resolved(self) -> FitOptions:
        """Return the options with the share of held-out rows that is used."""
        if self.held_out is not None or self.test is not None:
            return self
        return dataclasses.replace(self, held_out=HELD_OUT)

    def check(self) -> None:
        """Refuse what only the command line takes.

        Raises:
            ValueError: A value is out of range.
        """
        if self.held_out is not None and self.test is not None:
            raise ValueError(
                f"--held-out {self.held_out:g} and --test {self.test} both say which rows to "
                "measure log p(x) on. "
                "Keep one of them."
            )
        if self.held_out is not None and not 0 <= self.held_out < 1:
            raise ValueError(
                f"--held-out must be in [0, 1), got {self.held_out:g}. 0 trains on every row."
            )
        if self.samples < 1:
            raise ValueError(f"--samples must be at least 1, got {self.samples}.")
        check_seed(self.seed)


def _widths(name: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise ValueError(
            f"--{name} must be integers separated by commas, such as 512,512, got {text!r}."
        ) from None


def _number_or_word(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def _options(flag: str, text: str | None) -> dict[str, Any] | None:
    """Read name=value, separated by commas; a value is true, false, a number or a word."""
    if text is None:
        return None
    found: dict[str, Any] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value):
            raise ValueError(
                f"--{flag} must be name=value, separated by commas, such as df=4, got {text!r}."
            )
        found[name.replace("-", "_")] = _value(value)
    return found


def _value(text: str) -> bool | int | float | str:
    if text in ("true", "false"):
        return text == "true"
    return int(text) if text.isdigit() else _number_or_word(text)


def _numbers(text: str) -> dict[str, int | float]:
    found: dict[str, int | float] = {}
    for part in text.split(","):
        name, _, number = (piece.strip() for piece in part.partition("="))
        try:
            found[name] = int(number) if number.isdigit() else float(number)
        except ValueError:
            raise ValueError(
                "--objective-options must be name=number, separated by commas, such as "
                f"beta=4,share=0.5, got {text!r}."
            ) from None
    return found
