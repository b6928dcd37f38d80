"""What the noise of a likelihood is:
one small value, which others read instead of asking for a class.
"""

from __future__ import annotations

__all__ = ["Noise"]

from dataclasses import dataclass

from torch import Tensor

WORDS = {
    "fixed": "fixed",
    "learned": "learned",
    "per feature": "per_feature",
    "from z": "heteroscedastic",
    "none": "none",
}
"""How the option ``variance`` calls each kind."""


@dataclass(frozen=True, eq=False)
class Noise:
    r"""The noise of p(x|z): where it comes from, and how wide it is where that is one for every z.

    Attributes:
        kind: "fixed", "learned", "per feature", "from z" (the variance of p(x|z) says how much) or
            "none" (x has no noise besides the coin flips that it is).
        family: The kind of distribution in words.
        variance: The square of the noise's width, of shape () or that of an example, in squared
            model units: of normal noise its variance, of Student's t the square of its scale; None
            where it depends on z, or there is none.
        floor: The smallest variance that may be learned, where reaching it means that values are
            predicted exactly; None where it means nothing.
        normal: Whether x is its mean plus normal noise, seen as it is.
    """

    kind: str
    family: str
    variance: Tensor | None = None
    floor: float | None = None
    normal: bool = False

    @property
    def option(self) -> str:
        """What the option ``variance`` calls it."""
        return WORDS[self.kind]

    @property
    def is_one_number(self) -> bool:
        """Whether all features share one variance."""
        return self.variance is not None and self.variance.ndim == 0
