r"""How good a model is: log p(x) and its bounds, in nats per example, at full precision.

.. math:: \log p(x) = \log \int p(x \mid z) \, p(z) \, dz

It is estimated by importance sampling (`importance`), by annealed importance sampling
(`annealing`) or on a grid (`quadrature`), computed in closed form (`exact`), and bounded from both
sides on simulated data (`bidirectional`). The noise behind every estimate is a function of (seed,
the row's content): a row gets the same number whatever stands beside it, in whatever order and in
chunks of whatever size.

Users call `log_likelihood`, `elbo` and `bidirectional`, which return `LogLikelihood` and `Bracket`.
Whoever measures something else about a model, as `nelbo.diagnose` does, builds it from these:

* `judged` yields the model and the `Examples`, rows and their conditions, in one precision and in
  evaluation mode; `rows_at_once` says how many of them fit a memory budget.
* `Examples.keys` and `normals` give each row noise of its own, `BLOCK` samples at a time.
* `encoder_source` returns q(z|x) as a `Source`, whose draws belong to the row; `from_encoder` and
  `refined` return one `Normal` per row: q(z|x), or its moments, and one fitted to p(z|x).
* `sampled_terms` and `elbo_and_rate` draw z from such a source and return the log-densities there.
* `without_sampling` returns log p(x) where it takes no random numbers; `mean_error` is the standard
  error of a mean over rows.
"""

from __future__ import annotations

from .annealing import Settings
from .auto import without_sampling
from .bidirectional import Bracket
from .bounds import elbo
from .by_column import of_each_column
from .exact import affine_decoder
from .examples import Examples
from .given_others import given_others
from .importance import elbo_and_rate, pareto_shape, sampled_terms
from .judging import MEMORY, decoded_bytes, in_precision, judged, rows_at_once
from .laplace import refined
from .marginal import bidirectional, log_likelihood, methods, plain_method
from .proposal import Normal, Source, encoder_source, from_encoder
from .result import UNRELIABLE, Cost, LogLikelihood, Rung, Scores, interleaved, listed, mean_error
from .row_noise import BLOCK, normals

__all__ = [
    "BLOCK",
    "MEMORY",
    "UNRELIABLE",
    "Bracket",
    "Cost",
    "Examples",
    "LogLikelihood",
    "Normal",
    "Rung",
    "Scores",
    "Settings",
    "Source",
    "affine_decoder",
    "bidirectional",
    "decoded_bytes",
    "elbo",
    "elbo_and_rate",
    "encoder_source",
    "from_encoder",
    "given_others",
    "in_precision",
    "interleaved",
    "judged",
    "listed",
    "log_likelihood",
    "mean_error",
    "methods",
    "normals",
    "of_each_column",
    "pareto_shape",
    "plain_method",
    "refined",
    "rows_at_once",
    "sampled_terms",
    "without_sampling",
]
