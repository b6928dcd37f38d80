"""nelbo fit | evaluate | diagnose | score | ...: arguments, printing and exit codes, nothing else.

Exit codes: 0; 1 for a defect of nelbo; 2 for wrong use, with one line that says what and how to
mend it; 130 and 143 when Ctrl-C or SIGTERM ended a fit. Commands are imported when they are used,
so that ``--help`` is quick.
"""

from __future__ import annotations

__all__ = ["main"]

import contextlib
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import __version__
from . import stdin
from .interrupt import Terminated, restored

if TYPE_CHECKING:
    from cyclopts import App

COMMANDS = {
    "fit": (
        "fit:fit",
        "Fit a model to data, save it, and compare it with exact pPCA on held-out rows.",
    ),
    "evaluate": ("apply:evaluate", "Estimate log p(x) of data, with its standard error."),
    "diagnose": (
        "diagnose:diagnose",
        "Say what is wrong with a model: a table of verdicts, a diagnosis and its cure.",
    ),
    "report": (
        "report:report",
        "Write what there is to see of a model as one page that needs no network.",
    ),
    "score": ("apply:score", "Write log p(x) of every row, in nats."),
    "detect": (
        "detect:detect",
        "Find improbable rows, the most improbable first, and which columns make them so.",
    ),
    "encode": ("apply:encode", "Write the latent means of every row."),
    "reconstruct": (
        "apply:reconstruct",
        "Encode and decode every row, and write the result in data units.",
    ),
    "impute": ("impute:impute", "Fill in what is missing from every row."),
    "sample": ("apply:sample", "Draw new rows from a model."),
    "explore": (
        "explore:explore",
        "Write a page on which one walks through the latent space, its decoder inside.",
    ),
    "export": (
        "export:export",
        "Write encoder, decoder and score as ONNX graphs, which run without Python.",
    ),
    "doctor": (
        "doctor:doctor",
        "Say what nelbo runs on: versions, processors, threads, device, precision, free disk.",
    ),
}
"""Where each command is, and what the list of commands says of it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; errors of use are one line on standard error."""
    if arguments is None:
        arguments = sys.argv[1:]
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without ± or × shows ? in their place
    try:
        with restored(), warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = _note
            code = _run([*arguments])
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Terminated as stop:
        return _say(str(stop) or "Terminated.", 143)
    except KeyboardInterrupt as stop:
        return _say(str(stop) or "Interrupted.", 130)
    except Exception as error:
        if os.environ.get("NELBO_DEBUG"):
            raise
        return _failed(error)


def _failed(error: Exception) -> int:
    """Tell what went wrong, and return 2 for what the user can mend, 1 for a defect of nelbo."""
    if "allocate memory" in str(error) or "out of memory" in str(error).lower():
        error = MemoryError()  # torch has its own kinds
    wrong_use = (ValueError, TypeError, OSError, ImportError, MemoryError, FloatingPointError)
    if isinstance(error, wrong_use) and not _slipped(error):
        return _say(_for_the_shell(_one_line(error)), 2)
    return _say(
        f"{type(error).__name__}: {_one_line(error)} (This is a bug; run with NELBO_DEBUG=1 for "
        "the traceback.)",
        1,
    )


def _run(tokens: list[str]) -> int:
    """Run the command that the tokens name, and return its exit code."""
    from cyclopts.exceptions import CycloptsError

    app = _app()
    # "-" would be taken for an option
    tokens = [stdin.NAME if token == stdin.STANDARD_INPUT else token for token in tokens]
    if tokens[:1] == ["help"]:
        tokens = [*tokens[1:], "--help"]
    if tokens[:1] == ["fit"]:
        from . import config

        app.config = config.sources(tokens[1:])
    try:
        result = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        from .wrong_use import told

        raise ValueError(told(error, tokens, [*COMMANDS])) from error
    if isinstance(result, int):
        return result
    return 0


def _app() -> App:
    """Return the commands with their help, none of them imported yet."""
    from cyclopts import App

    from .help import Paragraphs

    app = App(
        name="nelbo",
        version=f"nelbo {__version__}",
        help="Variational autoencoders with Gaussian noise, and log-likelihoods that can "
        "be trusted.\n\n"
        "DATA is a built-in name (digits), an .npy, .npz, .csv or .parquet file, a folder of "
        "images, or - for standard input. RUN is the folder that fit writes.",
        help_format="plaintext",
        help_formatter=Paragraphs(),
        suppress_keyboard_interrupt=False,
    )
    for order, (name, (place, help_text)) in enumerate(COMMANDS.items()):
        app.command(f"nelbo.cli.{place}", name=name, help=help_text, sort_key=order)
    return app


def _slipped(error: Exception) -> bool:
    """Return whether Python itself raised a TypeError, which is a defect of nelbo.

    Those meant for users come from a line with ``raise``.
    """
    frames = traceback.extract_tb(error.__traceback__)
    if not isinstance(error, TypeError) or not frames:
        return False
    line = frames[-1].line or "raise"
    return not line.startswith("raise")


def _one_line(error: BaseException) -> str:
    """Tell an error in one line, with the file it is about and a cure."""
    if isinstance(error, MemoryError):
        return (
            f"Out of memory. {error} Use fewer rows, a smaller --batch-size or --hidden, "
            "or a larger machine."
        ).replace("  ", " ")
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}. Check the path and its permissions."
    return " ".join(str(error).split()) or type(error).__name__


def _for_the_shell(message: str) -> str:
    """Return a message in which options of Python are written as flags."""
    from .flags import in_flags
    from .options import FitOptions

    return in_flags(message, FitOptions)


def _note(message: Warning | str, *_: object, **__: object) -> None:
    """Show a warning without the place in the code that it comes from."""
    from .flags import visible

    sys.stderr.write(visible(f"nelbo: {_for_the_shell(' '.join(str(message).split()))}\n"))


def _say(message: str, code: int) -> int:
    """Write a line on standard error, if it can be written to, and return the exit code."""
    from .flags import visible

    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(visible(f"nelbo: {message}\n"))
        sys.stderr.flush()
    return code
