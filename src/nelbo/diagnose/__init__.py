"""What is wrong with a model, in numbers.

Each measurement is a function of its own, which returns a dataclass; `diagnose` makes all of them
and returns a table of verdicts. Every measurement is in nats or without unit, has a standard error
over rows, and is a function of the model, the rows and a seed alone. `Judge` holds the limits from
which on a number is a warning or a problem, and `Cure` is what may be changed.
"""

from __future__ import annotations

from .amortised import Amortised, amortised
from .calibration import Calibration, calibration
from .column_calibration import ColumnCalibration, column_calibration
from .comparison import Baseline, Memorisation, PriorMatch, baseline, memorisation, prior_match
from .cures import Cure, Spell, in_python
from .diagnosis import LEAST_ROWS, diagnose
from .effort import Effort, operations
from .explained import Explained, explained
from .finding import Diagnosis, Finding, Value
from .gap import InferenceGap, best_normal, inference_gap
from .information import MutualInformation, RateDistortion, mutual_information, rate_distortion
from .latent import ActiveUnits, Collapse, active_units, collapse
from .rare import RareValue, rare_values
from .standard_error import Estimate
from .two_sample import TwoSample, classifier_auc, two_sample
from .verdicts import Judge

__all__ = [
    "LEAST_ROWS",
    "ActiveUnits",
    "Amortised",
    "Baseline",
    "Calibration",
    "Collapse",
    "ColumnCalibration",
    "Cure",
    "Diagnosis",
    "Effort",
    "Estimate",
    "Explained",
    "Finding",
    "InferenceGap",
    "Judge",
    "Memorisation",
    "MutualInformation",
    "PriorMatch",
    "RareValue",
    "RateDistortion",
    "Spell",
    "TwoSample",
    "Value",
    "active_units",
    "amortised",
    "baseline",
    "best_normal",
    "calibration",
    "classifier_auc",
    "collapse",
    "column_calibration",
    "diagnose",
    "explained",
    "in_python",
    "inference_gap",
    "memorisation",
    "mutual_information",
    "operations",
    "prior_match",
    "rare_values",
    "rate_distortion",
    "two_sample",
]
