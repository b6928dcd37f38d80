r"""Start where linear algebra ends: the closed-form probabilistic PCA, encoder included.

With a linear decoder and one :math:`\beta^2` the model is probabilistic PCA, whose maximum
likelihood is an eigendecomposition (Tipping & Bishop, 1999). Its columns are orthogonal, so the
diagonal q(z|x) is the exact posterior (Lucas et al., 2019) and the ELBO equals log p(x): training
starts at the best linear model and can only improve on it.

One step further is still linear algebra: a decoder whose hidden layers keep their random weights is
linear in its last one, so that its best last layer for a given q(z|x), and the best :math:`\beta^2`
with it, solve a least-squares problem (random features: Rahimi & Recht, 2007). It is the M step of
the EM algorithm for these parameters.
"""

from __future__ import annotations

from .clusters import clustered
from .features import quick_model, random_features
from .judge import Comparison, ahead, beats
from .rows import Readable, enough_rows, regressed
from .scores import start_at_scores, start_at_scores_of
from .solution import (
    check_init,
    closed_form,
    closed_form_start,
    has_closed_form,
    has_linear_paths,
    place_prior,
    start_at,
    start_prior,
)

__all__ = [
    "Comparison",
    "Readable",
    "ahead",
    "beats",
    "check_init",
    "closed_form",
    "closed_form_start",
    "clustered",
    "enough_rows",
    "has_closed_form",
    "has_linear_paths",
    "place_prior",
    "quick_model",
    "random_features",
    "regressed",
    "start_at",
    "start_at_scores",
    "start_at_scores_of",
    "start_prior",
]
