"""The one latent-variable model that can be solved exactly: `x = W z + b + noise`.

    z ~ N(0, I),    x | z ~ N(W z + b, Psi),    p(x) = N(b, W W^T + Psi),    Psi diagonal

With `Psi = beta^2 I` this is probabilistic PCA, whose maximum likelihood is an eigendecomposition;
with one variance per feature it is factor analysis, whose maximum likelihood is a smooth problem in
`Psi` alone. It is both the yardstick (a linear VAE can be no better) and the starting point of the
networks (they begin here).

Rows of several kinds have a linear model each: a mixture of factor analysers, whose parts and
shares are found by expectation maximisation.

References: Tipping & Bishop 1999, "Probabilistic principal component analysis"; Joreskog 1967,
"Some contributions to maximum likelihood factor analysis"; Ghahramani & Hinton 1996, "The EM
algorithm for mixtures of factor analyzers"; Lucas et al. 2019, "Don't blame the
ELBO!".
"""

from __future__ import annotations

from .closed_form import factor_analysis, ppca
from .covariance import Chunks, moments
from .expectation import mixture_of_factor_analysers
from .mixture import MixtureOfFactorAnalysers
from .model import LinearGaussian
from .regression import Regression, Residuals
from .robust import without_outliers

__all__ = [
    "Chunks",
    "LinearGaussian",
    "MixtureOfFactorAnalysers",
    "Regression",
    "Residuals",
    "factor_analysis",
    "mixture_of_factor_analysers",
    "moments",
    "ppca",
    "without_outliers",
]
