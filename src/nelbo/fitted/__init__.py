"""A fitted model in the units of its data: what `fit` makes, and what every face shows.

`Fitted` joins the VAE, which knows only model units, with the `nelbo.data.Schema` between both.
The estimator of scikit-learn, the command line and the report are faces of it.
"""

from __future__ import annotations

from .choice import Chosen, RowCounts
from .fitted import Fitted

__all__ = ["Chosen", "Fitted", "RowCounts"]
