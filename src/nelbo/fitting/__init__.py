"""From rows and options to a `nelbo.Fitted`: prepare, start, train, judge."""

from __future__ import annotations

from .fit import Outcome, explain, fit

__all__ = ["Outcome", "explain", "fit"]
