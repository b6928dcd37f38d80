r"""`VariationalAutoencoder`: a VAE with the manners of scikit-learn, in the units of the user's
data.

.. math:: p(x) = \int \mathcal{N}(x \mid f(z), \beta^2 I) \, \mathcal{N}(z \mid 0, I) \, dz
"""

from __future__ import annotations

__all__ = ["VariationalAutoencoder"]

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .. import evaluate, spec
from ..baseline import ProbabilisticPCA
from ..data import Schema
from ..data.known import KnownRows
from ..fitted import Fitted
from ..fitted.state import of_one_model
from ..training import History, Record
from ..vae import VAE
from . import fitting, options, output, state

Array = npt.NDArray[Any]


class VariationalAutoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""A variational autoencoder (Kingma & Welling, 2014) with a learned noise level.

    It accepts tables (n, d), images (n, h, w), (n, h, w, c) or (n, c, h, w), uint8 or float, torch
    tensors and data frames. Everything it returns is in the units of the data: log-densities in
    nats with the Jacobian of any scaling counted, :math:`\beta^2` in squared units. 8-bit images
    are dequantised, ``x = (u8 + U) / 256``; their unit is full scale.

    Parameters
    ----------
    latent_dim : int or "auto", default=8
        Number of latent dimensions. "auto" fits 1, 2, 4, 8, ... for a short while each, up to the
        number of columns and at most 64, and takes the smallest whose held-out log p(x) is within
        one standard error of the best; what and why is in `recipe_`.
    network : {"auto", "linear", "mlp", "residual", "conv"} or callable, default="auto"
        "mlp" is the plain net; "residual" is an MLP beside a linear path that starts at the
        closed-form pPCA solution; "conv" has convolutions beside such a path, for images; "linear"
        makes the model probabilistic PCA; "auto" is "residual". A callable gets the shapes of one
        input and one output, and returns a module.
    encoder, decoder : as network, default=None
        Set them apart; None is ``network``.
    hidden : sequence of int or None, default=None
        Widths of dense hidden layers; the length is the depth. None is (128, 128) for tables and
        (512, 512) for other data; with 10,000 rows or more of these, and no convolutions, (256,
        256) for the encoder and (512, 512, 512) for the decoder.
    decoder_hidden : sequence of int or None, default=None
        Those of the decoder, if they are to differ from ``hidden``.
    channels : sequence of int, default=(32, 64)
        Widths of convolutional stages, each halving the image; the length is the depth.
    activation : str, default="silu"
        Such as "relu", "tanh", "gelu".
    likelihood : str, default="gaussian"
        p(x|z): "gaussian"; "heteroscedastic_gaussian", whose noise depends on z;
        "student_t", whose tails are heavy; "discretized_gaussian", the probability of 8-bit data
        as they are, in units of 0 to 255; or "bernoulli", for zeros and ones.
    likelihood_options : dict or None, default=None
        Its further arguments, such as ``{"df": 4}``.
    variance : {"auto", "learned", "per_feature", "heteroscedastic"} or float, default="auto"
        :math:`\beta^2`: one number learned, one per feature, a function of z, or fixed, in squared
        data units; "auto" is a function of z for tables (``docs/defaults.md``), else learned.
    prior : {"auto", "standard_normal", "mixture"}, default="auto"
        p(z). Training has N(0, I). "mixture" fits a mixture of normals to z of the training rows
        afterwards; it is then p(z), of samples as of log p(x). "auto" does so for tables, where log
        p(x) of held-out rows bears it out.
    prior_options : dict or None, default=None
        Its further arguments, such as ``{"components": 8}``. With any a mixture is learned with the
        rest of the model, from the start.
    posterior : str, default="diagonal_normal"
        q(z|x).
    posterior_options : dict or None, default=None
        Its further arguments.
    network_options : dict or None, default=None
        Further arguments of encoder and decoder.
    objective : str, default="auto"
        What training maximises: "elbo", "iwae", "dreg", "stl", "miwae", "piwae", "ciwae",
        "kl_warm_up", "free_bits", "beta_vae", "capacity" or "autoencoder" (`nelbo.objective`);
        "auto" is "dreg" for tables, else "elbo".
    objective_samples : int or None, default=None
        Samples of z per example in the objective; None is 1, and 4 where "auto" is "dreg".
    objective_options : dict or None, default=None
        Its further arguments, such as ``{"beta": 4}``.
    scale : {"auto", "global", "standard", "whitened"} or None, default="auto"
        How data are scaled inside. "global": one number for all features, so that :math:`\beta^2 I`
        is isotropic in data units; "standard": one per feature; "whitened": uncorrelated, too, so
        that noise may be correlated in data units; "auto": global for images (by channel, or by
        sensor, where their scales differ much); for tables whitened where held-out rows bear it
        out, else standard.
    dequantize : {"auto"} or bool, default="auto"
        Add uniform noise to 8-bit data; "auto" does to images of uint8. A table of uint8 holds
        numbers, as of any type.
    max_epochs, max_steps : int or None, default=None
        Limits. Without any limit, the number of steps grows with the number of rows.
    max_seconds : float or None, default=None
        Limit on the whole of ``fit``.
    batch_size : int or None, default=None
        None grows from 32 to 256 with the data.
    learning_rate : float or None, default=None
        Peak rate of AdamW; None is 0.0015, more in runs of under 4,000 steps, and 0.01 for random
        linear networks.
    weight_decay : float, default=0.0
        Of AdamW.
    validation_fraction : float, default=0.1
        Share of rows, up to 2,048 of them, held out to stop early and to keep the best weights; 0
        trains on every row and turns both off.
    early_stopping : bool, default=True
        Stop when the validation bound no longer improves and restore the best weights. Training
        that does not beat its closed-form start beyond doubt on the validation rows is undone, and
        the start kept (`kept_start_`).
    init : {"auto", "ppca", "random"}, default="auto"
        Where training starts; "auto" is pPCA (factor analysis for per-feature noise) where the
        network allows.
    score_samples_k : int or None, default=None
        Importance samples per row of `score_samples`; None is 100, 1,000 for tables.
    device : str, default="auto"
        "auto", "cpu", "cuda".
    precision : {"auto", "bf16", "float32"}, default="auto"
        Of training; everything else is computed in float32, or float64 for float64 input.
    random_state : int, RandomState instance or None, default=None
        Seed of split, weights, data order and noise. numpy's and torch's global states are never
        touched.
    warm_start : bool, default=False
        Go on from the last fit, in its scaling and with its seed: the same rows stay held out.
    callbacks : sequence of callables or None, default=None
        Called with a `Record` at each validation; training stops if one returns True.
    progress : bool, default=False
        Show a progress bar on standard error.
    checkpoint_dir : path or None, default=None
        Where the state of training is saved every 30 seconds, on Ctrl-C and at the end; ``fit``
        resumes from a state found there, or takes up what it came to, and `save` removes it
        (``docs/safety.md``). With it, a random_state of None is a seed made from data and options,
        which the next process finds again.

    Attributes
    ----------
    fitted_ : Fitted
        The fitted model in the units of its data (`nelbo.Fitted`), to which this class delegates.
    model_ : VAE
        The torch model, in scaled units.
    schema_ : Schema
        Between the user's units and the model's.
    baseline_ : ProbabilisticPCA or None
        Exact pPCA of the rows fitted, with as many latents, in the units of the data
        (`nelbo.baseline`). None where p(x) is a probability, and for fits so large that it would
        take a while: there only `nelbo fit` finds it.
    known_rows_ : KnownRows or None
        64 bits of each row fitted, which is how `trained_on` knows it again; None for models saved
        before rows were remembered.
    history_ : History
        Records of training.
    n_iter_ : int
        Epochs trained, rounded up.
    kept_start_ : bool
        Whether the closed-form start was kept.
    recipe_ : dict
        What was decided about the data, by name: ``{"value": what, "reason": why}``.
    n_features_in_ : int
        Values per example.
    dtype_ : str
        Floating type of samples: "float64" if X was, else "float32".

    References
    ----------
    Kingma & Welling (2014), Auto-encoding variational Bayes. Tipping & Bishop (1999), Probabilistic
    principal component analysis. Burda, Grosse & Salakhutdinov (2016), Importance weighted
    autoencoders.
    """

    def __init__(
        self,
        latent_dim: int | Literal["auto"] = 8,
        *,
        network: str | spec.NetworkFactory = "auto",
        encoder: str | spec.NetworkFactory | None = None,
        decoder: str | spec.NetworkFactory | None = None,
        hidden: Sequence[int] | None = None,
        decoder_hidden: Sequence[int] | None = None,
        channels: Sequence[int] = (32, 64),
        activation: str = "silu",
        likelihood: str = "gaussian",
        likelihood_options: Mapping[str, Any] | None = None,
        variance: str | float = "auto",
        prior: str = "auto",
        prior_options: Mapping[str, Any] | None = None,
        posterior: str = "diagonal_normal",
        posterior_options: Mapping[str, Any] | None = None,
        network_options: Mapping[str, Any] | None = None,
        objective: str = "auto",
        objective_samples: int | None = None,
        objective_options: Mapping[str, Any] | None = None,
        scale: str | None = "auto",
        dequantize: bool | Literal["auto"] = "auto",
        max_epochs: int | None = None,
        max_steps: int | None = None,
        max_seconds: float | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        weight_decay: float = 0.0,
        validation_fraction: float = 0.1,
        early_stopping: bool = True,
        init: str = "auto",
        score_samples_k: int | None = None,
        device: str = "auto",
        precision: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        callbacks: Sequence[Callable[[Record], object]] | None = None,
        progress: bool = False,
        checkpoint_dir: str | PathLike[str] | None = None,
    ) -> None:
        self.latent_dim = latent_dim
        self.network = network
        self.encoder = encoder
        self.decoder = decoder
        self.hidden = hidden
        self.decoder_hidden = decoder_hidden
        self.channels = channels
        self.activation = activation
        self.likelihood = likelihood
        self.likelihood_options = likelihood_options
        self.variance = variance
        self.prior = prior
        self.prior_options = prior_options
        self.posterior = posterior
        self.posterior_options = posterior_options
        self.network_options = network_options
        self.objective = objective
        self.objective_samples = objective_samples
        self.objective_options = objective_options
        self.scale = scale
        self.dequantize = dequantize
        self.max_epochs = max_epochs
        self.max_steps = max_steps
        self.max_seconds = max_seconds
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.init = init
        self.score_samples_k = score_samples_k
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.progress = progress
        self.checkpoint_dir = checkpoint_dir

    fitted_: Fitted

    # -- fit
    # -----------------------------------------------------------------------------------------

    def fit(self, X: Any, y: object = None) -> VariationalAutoencoder:
        """Fit the model to X: (n, d), (n, h, w), (n, h, w, c) or (n, c, h, w). y is ignored.

        Raises:
            ValueError: X is not a set of at least two finite numeric examples, or an option is out
                of range.
        """
        fitting.run(self, X)
        return self

    # -- embed and decode
    # ----------------------------------------------------------------------------

    def transform(self, X: Any, return_std: bool = False) -> Any:
        """Return the posterior means E_q[z|x], of shape (n, latent_dim).

        Arguments:
            X: Rows.
            return_std: Whether to return the posterior's standard deviations as well, of the same
                shape: (Z, S).

        `set_output` says whether arrays or data frames are returned, here and by
        `inverse_transform`, `reconstruct` and `sample`, which give the columns the names that were
        fitted. Images stay arrays.
        """
        means, deviations = self._fitted(X).encode(X)
        if not return_std:
            return means  # scikit-learn wraps what transform returns first
        return means, output.framed(self, deviations, self.get_feature_names_out(), X)

    def inverse_transform(self, Z: Any) -> Any:
        """Return the decoder's means ``x_hat = f(z)`` for Z of shape (n, latent_dim), in data units
        and layout.
        """
        return self._named(self._fitted().decode(Z), Z)

    def reconstruct(
        self, X: Any, noise: bool = False, random_state: int | np.random.RandomState | None = None
    ) -> Any:
        """Return ``inverse_transform(transform(X))``, in data units and layout; ``noise`` adds N(0,
        beta^2).
        """
        model = self._fitted(X)
        seed = self._seed(random_state) if noise else 0
        return self._named(model.reconstruct(X, noise, seed), X)

    def sample(
        self,
        n_samples: int = 1,
        noise: bool = True,
        random_state: int | np.random.RandomState | None = None,
    ) -> Any:
        """Draw new examples, in data units and layout, and in the floating type of the data fitted.

        First ``x_hat = f(z)`` with z ~ p(z), then, with ``noise``, ``x_tilde ~ N(x_hat, beta^2)``.

        Arguments:
            n_samples: How many.
            noise: Whether to draw x_tilde rather than return its mean x_hat.
            random_state: Seed; None takes the estimator's.

        Raises:
            ValueError: n_samples is less than 1.
            TypeError: n_samples is not an integer.
        """
        model = self._fitted()
        options.integer("n_samples", n_samples)
        return self._named(model.sample(int(n_samples), noise, self._seed(random_state)))

    # -- judge
    # ---------------------------------------------------------------------------------------

    def score_samples(self, X: Any) -> Array:
        """Return log p(x) of each row, in nats in the units of the data, of shape (n,); it depends
        on the row alone.

        Exact for a linear model; else by `score_samples_k` importance samples, a quarter of them
        from q(z|x) and the rest from a normal fitted to the row's posterior: a stochastic lower
        bound. Which rows that bound is unreliable for, and which the model was fitted to,
        `log_likelihood` says.
        """
        return self._fitted(X).score_samples(X, self.score_samples_k)

    def log_likelihood(
        self,
        X: Any,
        method: str = "auto",
        samples: int | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> evaluate.Scores:
        """Return log p(x) of each row with its standard error and how far to trust it, in nats in
        the data's units.

        What is returned holds numpy arrays (``value``, ``standard_error``, ``ess``, ``khat``,
        ``unreliable``, and ``trained``, the rows that the model was fitted to), their ``mean`` and
        ``mean_standard_error``, and prints as a short table.

        Arguments:
            X: Rows.
            method: "auto", "exact", "quadrature", "importance" or "ais", as in
                `evaluate.log_likelihood`.
            samples: Importance samples per row (None is `score_samples_k`), or AIS chains (None is
                16).
            seed: Seed of those samples.
            settings: Further arguments of `evaluate.log_likelihood`, such as ``memory`` and
                ``temperatures``.
        """
        if samples is None and method != "ais":
            samples = self.score_samples_k
        return self._fitted(X).log_likelihood(X, method, samples, seed, **settings)

    def trained_on(self, X: Any) -> npt.NDArray[np.bool_]:
        """Return which rows of X this model was fitted to, those for validation included: of shape
        (n,).

        A row is known by its values, in whatever order and floating type; what `score_samples` says
        of it is not what it says of new rows.

        Raises:
            ValueError: X does not fit, or the model was saved before rows were remembered.
        """
        return self._fitted().trained_on(X)

    def score(self, X: Any, y: object = None) -> float:
        """Return the mean of `score_samples`: log p(x) in nats per example; larger is better.

        It is held-out log p(x) only where no row is one that `trained_on` knows.
        """
        return float(np.mean(self.score_samples(X), dtype=np.float64))

    def elbo(self, X: Any) -> Array:
        """Return the evidence lower bound of each row, in nats in the units of the data, of shape
        (n,).
        """
        return self._fitted(X).elbo(X)

    # -- what was fitted
    # -----------------------------------------------------------------------------

    @property
    def model_(self) -> VAE:
        """The torch model, in scaled units."""
        return self.fitted_.vae

    @property
    def schema_(self) -> Schema:
        """What lies between the units of the data and those of the model."""
        return self.fitted_.schema

    @property
    def spec_(self) -> spec.Spec:
        """The configuration of the model."""
        return self.fitted_.spec

    @property
    def recipe_(self) -> dict[str, dict[str, Any]]:
        """What was decided, by name: ``{"value": what, "reason": why}``."""
        return self.fitted_.recipe

    @property
    def baseline_(self) -> ProbabilisticPCA | None:
        """Exact pPCA of the rows fitted, in data units."""
        return self.fitted_.linear

    @property
    def known_rows_(self) -> KnownRows | None:
        """64 bits of each row fitted."""
        return self.fitted_.known

    @property
    def history_(self) -> History:
        """Records of training."""
        return self.fitted_.history

    @property
    def seed_(self) -> int:
        """The seed that random_state came to."""
        return self.fitted_.seed

    @property
    def kept_start_(self) -> bool:
        """Whether the closed-form start was kept."""
        return self.fitted_.kept_start

    @property
    def n_iter_(self) -> int:
        """Epochs trained, rounded up."""
        return self.fitted_.n_iter

    @property
    def dtype_(self) -> str:
        """Floating type of samples."""
        return self.fitted_.dtype

    @property
    def n_features_in_(self) -> int:
        """Values per example."""
        return self.fitted_.schema.n_features

    @property
    def feature_names_in_(self) -> npt.NDArray[Any]:
        """Names of the columns fitted, where these are strings."""
        names = self.fitted_.names
        if names is None:
            raise AttributeError("feature_names_in_ does not exist: the columns had no names.")
        return np.array(names, dtype=object)

    @property
    def noise_variance_(self) -> float | Array:
        r""":math:`\beta^2` in squared data units: a number, or one per feature, of shape
        (n_features_in_,).

        Of noise that depends on z it is the mean over z ~ p(z): the variance that x_tilde has
        beyond x_hat's.
        """
        return self._fitted().noise

    # -- keep
    # ----------------------------------------------------------------------------------------

    def save(
        self,
        path: str | PathLike[str],
        overwrite: bool = False,
        extra_text: Mapping[str, str] | None = None,
    ) -> None:
        """Write the model to a folder: JSON, safetensors and checksums, whole or not at all.

        Arguments:
            path: The folder.
            overwrite: Whether to replace a model that is there.
            extra_text: Further files of text, name -> text.

        Raises:
            CheckpointError: The folder exists and ``overwrite`` is False, or it is not a model's.
            TypeError: A network is a factory, which a file cannot hold.
        """
        model = dataclasses.replace(self._fitted(), asked=options.asked(self.get_params(False)))
        model.save(path, overwrite, extra_text)
        state.forget(self.checkpoint_dir, vars(self).get("_fingerprint"))

    @classmethod
    def load(cls, path: str | PathLike[str]) -> VariationalAutoencoder:
        """Read a model that `save` wrote. No code is run from the file.

        Raises:
            CheckpointError: The folder is missing, incomplete, changed since it was written, or
                from a newer version.
        """
        model = Fitted.load(path)
        with of_one_model(path):
            loaded = cls(**model.asked)
            options.check(loaded)
        loaded.fitted_ = model
        return loaded

    def __setstate__(self, values: dict[str, Any]) -> None:
        super().__setstate__(state.brought_up(values))

    def __sklearn_is_fitted__(self) -> bool:
        return "fitted_" in vars(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.sparse = True  # it is made dense
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    _n_features_out = property(lambda self: self.model_.latent_dim)

    # -- helpers
    # -------------------------------------------------------------------------------------

    def _fitted(self, X: Any = None) -> Fitted:
        """Return the fitted model, once scikit-learn has compared the names of X's columns."""
        check_is_fitted(self)
        if X is not None:
            options.check_names(self, X, self.fitted_.names, self.n_features_in_)
        return self.fitted_

    def _named(self, rows: Array, like: Any = None) -> Any:
        """Return rows in data units as `set_output` asks for them."""
        names = self.fitted_.names or self.schema_.columns
        return output.framed(self, rows, names, like)

    def _seed(self, random_state: int | np.random.RandomState | None) -> int:
        return options.seed_from(self.random_state if random_state is None else random_state)
