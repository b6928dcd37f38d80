"""What is seen of a fitted model, as one page of HTML that needs no network.

`nelbo.fitted.portrait` finds what is shown; here it is drawn, and nothing is computed.
"""

from __future__ import annotations

from .page import to_html, write_report
from .portrait import Absent, Portrait

__all__ = ["Absent", "Portrait", "to_html", "write_report"]
