"""The options of a fit: their names, types, defaults and what they mean, in one place.

`nelbo.VariationalAutoencoder` writes the same names in its signature, as scikit-learn wants it;
its documentation, its checks, the flags of `nelbo fit`, what a saved model keeps and what ties a
resumed run to its options are made from what is written here. The first paragraph of an
option's text is for both, a second one for Python alone. Other options stand in double backticks
and words in quotes, which become flags and bare words on the shell.
"""

from __future__ import annotations

__all__ = ["MODEL", "NOISE", "FITTING", "NetworkFactory", "Options", "parameters"]

import dataclasses
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

NetworkFactory = Callable[[tuple[int, ...], tuple[int, ...]], "nn.Module"]
"""Is called with the shapes of one input and one output, and returns a module."""

MODEL, NOISE, FITTING = "Model", "Noise and scaling", "Training"
"""Groups of options on the shell; those in no group are Python's alone."""


def _option(
    default: Any,
    group: str | None,
    text: str,
    *,
    limits: str | None = None,
    flag: str | None = None,
    kept: bool = True,
    tied: int | None = None,
) -> Any:
    """Declare one option.

    Arguments:
        default: What it is by default.
        group: Its group on the shell.
        text: What it means.
        limits: What it may be, where its type does not say so: see `nelbo.recipe.check`.
        flag: Its name on the shell, where that is another.
        kept: Whether it is saved with the model; else it belongs to one process.
        tied: Its place in the digest that ties the state of a run to its options; None where a run
            that is resumed may have another, or where the configuration of the model holds it.
    """
    metadata = {
        "group": group,
        "text": textwrap.dedent(text).strip(),
        "limits": limits,
        "flag": flag,
        "kept": kept,
        "tied": tied,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, eq=False)
class Options:
    """What may be asked of a fit; "auto" and None leave it to `nelbo.recipe`."""

    latent_dim: int | Literal["auto"] = _option(
        8,
        MODEL,
        """
        Number of latent dimensions; "auto" takes the fewest with which held-out log p(x) is as good
        as with any.

        It fits 1, 2, 4, 8, ... for a short while each, up to the number of columns and at most 64,
        and takes the smallest whose held-out log p(x) is within one standard error of the best.
        """,
    )
    schema: Any = _option(
        "auto",
        MODEL,
        """
        What the columns of a table are: "auto" finds out the kind of each, such as categorical or
        count, where some hold text, dates or booleans, and takes columns that all are numbers as
        such; "infer" finds out the kinds in any case; or the path of a TOML file that says them.

        A dict such as ``{"age": "poisson", "id": "left_out"}``, which says some of them, or a
        `nelbo.data.TableSchema`, may be passed, too.
        """,
        limits="schema",
    )
    unknown: str = _option(
        "error",
        None,
        """
        What to make of a category that was not there at the fit: "error", or "missing", which reads
        such a cell as one that is missing.
        """,
        limits="unknown",
    )
    condition: Sequence[str | int] | None = _option(
        None,
        MODEL,
        """
        Columns to condition on: the model is then one of p(x|c), where c are these columns and x
        all others. Text, and whole numbers with at most 20 different values, are labels; other
        numbers are standardised.

        Names of columns of a data frame, or places from 0. Conditions that are no columns of X are
        passed as ``c=`` instead.
        """,
    )
    network: str | NetworkFactory = _option(
        "auto",
        MODEL,
        """
        Networks of encoder and decoder: "linear", which makes the model probabilistic PCA; "mlp";
        "residual" (an MLP beside a linear path that starts at pPCA); "quadratic" (products of
        pairs of inputs); "conv" (for images); or "auto", which is "residual".

        A callable gets the shapes of one input and one output, and returns a module.
        """,
    )
    encoder: str | NetworkFactory | None = _option(
        None,
        MODEL,
        "Network of the encoder, if it is to differ from ``network``; factor_encoder is that of "
        "factor analysis, by the values that are there.",
    )
    decoder: str | NetworkFactory | None = _option(
        None, MODEL, "Network of the decoder, if it is to differ from ``network``."
    )
    hidden: Sequence[int] | None = _option(
        None,
        MODEL,
        """
        Widths of the dense hidden layers, from the first to the last. By default (512, 512) for
        fewer than 10,000 rows and for "conv"; (256, 256) for more rows, and where there is
        ``input_noise`` by default; and (128, 128) for tables of any length.
        """,
    )
    decoder_hidden: Sequence[int] | None = _option(
        None,
        MODEL,
        """
        Widths of the decoder's hidden layers, if they are to differ from ``hidden``. By default
        (512, 512, 512) for 10,000 rows or more, (512, 512, 1024) where these have ``input_noise``
        by default, and (512, 512) for fewer.
        """,
    )
    channels: Sequence[int] = _option(
        (32, 64),
        MODEL,
        "Numbers of channels of the convolutional stages, each of which halves the image.",
    )
    activation: str = _option(
        "silu", MODEL, 'Activation of the hidden layers: "silu", "relu", "gelu", "tanh" and others.'
    )
    likelihood: str = _option(
        "gaussian",
        NOISE,
        """
        Observation model p(x|z): "gaussian"; "heteroscedastic_gaussian", whose noise depends on z;
        "student_t", whose tails are heavy; "clustered_gaussian", a mixture of normals with
        correlated noise; "discretized_gaussian", the probability of whole numbers from 0 to 255; or
        "bernoulli", for zeros and ones.
        """,
    )
    likelihood_options: Mapping[str, Any] | None = _option(
        None, NOISE, 'Further options of the likelihood, such as {"df": 4}.'
    )
    variance: str | float = _option(
        "auto",
        NOISE,
        """
        Noise variance beta^2: "learned"; "per_feature"; "heteroscedastic" (it depends on z); a
        number, which fixes it, in squared units of the data; or "auto": "heteroscedastic" for
        tables, else "learned".
        """,
        limits="noise",
    )
    prior: str = _option(
        "auto",
        MODEL,
        """
        Prior p(z): "standard_normal", "mixture" (of normals, fitted to z of the training rows after
        training), "hierarchical" (two layers of latents), "vamp" (the mean of q(z|u) of learned
        pseudo-inputs u), "flow" (a neural spline flow, which needs zuko), or "auto" (for tables,
        images and wide arrays a mixture where it is better on held-out rows).
        """,
    )
    prior_options: Mapping[str, Any] | None = _option(
        None,
        MODEL,
        """
        Further options of the prior, such as {"components": 8}. With any of these, a mixture is
        learned together with the model, from the start. {"learned": False} of a flow fits it after
        training, and keeps it where held-out log p(x) improves.
        """,
    )
    posterior: str = _option(
        "diagonal_normal",
        MODEL,
        """
        Approximate posterior q(z|x): "diagonal_normal", "full_normal" (with correlations),
        "hierarchical" (two layers of latents), or "flow" (a neural spline flow, which needs zuko).
        """,
    )
    posterior_options: Mapping[str, Any] | None = _option(
        None, MODEL, 'Further options of the posterior, such as {"top": 2}.'
    )
    network_options: Mapping[str, Any] | None = _option(
        None, MODEL, 'Further options of both networks, such as {"activation": "tanh"}.'
    )
    objective: str = _option(
        "auto",
        FITTING,
        """
        What training maximises: "elbo", "stl", "kl_warm_up", "free_bits", "beta_vae" or "capacity";
        "iwae", "dreg", "miwae", "piwae" or "ciwae", which take several samples; "autoencoder"; or
        "auto": "dreg" for tables, else "elbo".
        """,
        tied=12,
    )
    objective_samples: int | None = _option(
        None,
        FITTING,
        """
        Samples of z per row in the objective. By default 4 for tables and for an objective that
        takes several, else 1.
        """,
        tied=13,
    )
    objective_options: Mapping[str, Any] | None = _option(
        None,
        FITTING,
        'Further numbers that the objective takes, such as {"beta": 4}.',
        tied=14,
    )
    input_noise: float | None = _option(
        None,
        FITTING,
        """
        Standard deviation of normal noise that the ELBO puts on what the encoder sees in training,
        against overfitting; in units of the scaled data, whose standard deviation is about 1. By
        default, in long runs, 0.4 for fewer than 10,000 images, or rows of more than 256 numbers,
        and 0.3 for more images with 8 latents or more; else 0.
        """,
        limits="zero or more",
        tied=16,
    )
    scale: str | None = _option(
        "auto",
        NOISE,
        """
        How the data are scaled for the model: "global" (one number for all features), "standard"
        (one for each), "whitened" (standardised and uncorrelated), None, or "auto". Results are in
        the units of the data in any case.

        With "global" :math:`\\beta^2 I` is isotropic in data units. "auto" is global for images (by
        channel, or by sensor, where their scales differ much); for tables it is whitened where
        held-out rows are predicted better so, else standard.
        """,
        limits="scaling",
        tied=15,
    )
    dequantize: bool | Literal["auto"] = _option(
        "auto",
        NOISE,
        """
        Whether to take 8-bit values u as x = (u + U) / 256 with U uniform in [0, 1). By default for
        images of uint8; a table holds numbers.
        """,
        tied=7,
    )
    missing: str = _option(
        "auto",
        None,
        """
        What to make of values of X that are missing (NaN, None): "auto" leaves them out of the
        likelihood, and gives the encoder a mask; "refuse" makes them an error.
        """,
        limits="missing",
        flag="missing_values",
    )
    missingness: str = _option(
        "ignorable",
        NOISE,
        """
        Why values are missing: "ignorable", for reasons that have nothing to do with them once the
        others are known; or "self_masking", because of the values themselves, each by a logistic
        function of it that is learned with the model (not-MIWAE).
        """,
        limits="missingness",
    )
    max_epochs: int | None = _option(
        None,
        FITTING,
        """
        Maximum number of passes over the data. Without any of these limits, training takes longer
        the more data there are.
        """,
        tied=0,
    )
    max_steps: int | None = _option(None, FITTING, "Maximum number of optimiser steps.", tied=1)
    max_seconds: float | None = _option(None, FITTING, "Time limit of the fit, in seconds.", tied=8)
    batch_size: int | None = _option(
        None,
        FITTING,
        "Rows per step. By default from 32 to 256, growing with the data.",
        tied=2,
    )
    learning_rate: float | None = _option(
        None,
        FITTING,
        "Peak learning rate of AdamW. By default it depends on the length of training.",
        tied=3,
    )
    weight_decay: float | None = _option(
        None,
        FITTING,
        "Weight decay of AdamW. By default 0.1, of many images 0.05, where ``input_noise`` is by "
        "default, too, else 0.",
        limits="zero or more",
        tied=4,
    )
    validation_fraction: float = _option(
        0.1,
        FITTING,
        """
        Share of the training rows that decides when to stop and which weights to keep; 0 trains on
        all of them.

        At most 2,048 rows are held out so.
        """,
        limits="share",
        tied=9,
    )
    early_stopping: bool = _option(
        True,
        FITTING,
        """
        Stop when the validation bound no longer improves, and keep the best weights.

        Training that does not clearly beat its closed-form start on the validation rows is undone,
        and the start kept (`kept_start_`).
        """,
        tied=10,
    )
    init: str = _option(
        "auto",
        FITTING,
        """
        Where training starts: "ppca", "random", or "auto", which is pPCA where the networks have a
        linear path.

        For noise per feature it is factor analysis.
        """,
        tied=11,
    )
    score_samples_k: int | None = _option(
        None,
        None,
        "Importance samples per row of `score_samples`; None is 100, and 1,000 for tables.",
        flag="samples",
    )
    device: str = _option(
        "auto",
        FITTING,
        'Where to compute: "cpu", "cuda", or "auto", which is a GPU if there is one.',
        kept=False,
        tied=5,
    )
    precision: str = _option(
        "auto",
        FITTING,
        """
        Precision of training: "bf16", "float32", or "auto", which is "bf16" where that is faster
        and costs nothing.

        Everything else is computed in float32, or in float64 for float64 input.
        """,
        tied=6,
    )
    random_state: int | np.random.RandomState | None = _option(
        None,
        None,
        """
        Seed of the split, the weights, the order of the data and the noise. numpy's and torch's
        global states are never touched.
        """,
        flag="seed",
    )
    warm_start: bool = _option(
        False,
        None,
        """
        Go on from the last fit, in its scaling and with its seed: the same rows stay held out.
        """,
        kept=False,
    )
    callbacks: Sequence[Callable[[Any], object]] | None = _option(
        None,
        None,
        "Called with a `Record` at each validation; training stops if one returns True.",
        kept=False,
    )
    progress: bool = _option(False, None, "Show a progress bar on standard error.", kept=False)
    checkpoint_dir: str | PathLike[str] | None = _option(
        None,
        None,
        """
        Where the state of training is saved every 30 seconds, on Ctrl-C and at the end; ``fit``
        resumes from a state found there, or takes up what it came to, and `save` removes it
        (``docs/safety.md``). With it, a ``random_state`` of None is a seed made from data and
        options, which the next process finds again.
        """,
        kept=False,
    )

    def having(self, **changed: Any) -> Options:
        """Return the same options but for some."""
        return dataclasses.replace(self, **changed)


def parameters() -> str:
    """Return the section "Parameters" of a docstring, in numpy's form."""
    lines: list[str] = ["Parameters", "----------"]
    for field in dataclasses.fields(Options):
        lines.append(f"{field.name} : {field.type}, default={field.default!r}")
        text = re.sub(r"\s+", " ", field.metadata["text"])
        lines += textwrap.wrap(text, 92, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)
