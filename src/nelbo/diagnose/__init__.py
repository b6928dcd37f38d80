"""What is wrong with a model, in numbers: each measurement by itself, and `diagnose`, a table of
verdicts.

Every measurement is in nats or without unit, has a standard error over rows, and is a function of
the model, the rows and a seed alone.
"""

from __future__ import annotations

from .calibration import Calibration, calibration
from .comparison import Baseline, Memorisation, PriorMatch, baseline, memorisation, prior_match
from .diagnosis import diagnose
from .explained import Explained, explained
from .finding import Diagnosis, Finding, Value
from .gap import InferenceGap, best_normal, inference_gap
from .information import MutualInformation, RateDistortion, mutual_information, rate_distortion
from .latent import ActiveUnits, Collapse, active_units, collapse
from .rare import RareValue, rare_values
from .standard_error import Estimate
from .verdicts import judge_explained, judge_rare

__all__ = [
    "ActiveUnits",
    "Baseline",
    "Calibration",
    "Collapse",
    "Diagnosis",
    "Estimate",
    "Explained",
    "Finding",
    "InferenceGap",
    "Memorisation",
    "MutualInformation",
    "PriorMatch",
    "RareValue",
    "RateDistortion",
    "Value",
    "active_units",
    "baseline",
    "best_normal",
    "calibration",
    "collapse",
    "diagnose",
    "explained",
    "inference_gap",
    "judge_explained",
    "judge_rare",
    "memorisation",
    "mutual_information",
    "prior_match",
    "rare_values",
    "rate_distortion",
]
