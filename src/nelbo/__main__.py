"""The command `nelbo`, and ``python -m nelbo``: the process that `nelbo.cli` runs in."""

from __future__ import annotations

__all__ = ["main"]

import sys

try:
    import os
    import signal
except KeyboardInterrupt:  # a traceback of the interpreter's own start would tell nobody anything
    raise SystemExit(130) from None


def main() -> int:
    """Run the command line; from the first moment on, Ctrl-C and SIGTERM end it in one line."""
    try:
        for number, default in (
            (signal.SIGINT, signal.default_int_handler),
            (signal.SIGTERM, signal.SIG_DFL),
        ):
            # else it is ignored, as in the background of a shell
            if signal.getsignal(number) == default:
                signal.signal(number, _end)
    except KeyboardInterrupt:
        return 130
    from .cli import main as run  # whose imports take a moment

    code = run()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # all is done and said
    return code


def _end(number: int, frame: object) -> None:
    how = "Terminated" if number == signal.SIGTERM else "Interrupted"
    what = " before there was anything to save" if sys.argv[1:2] == ["fit"] else ""
    os.write(2, f"nelbo: {how}{what}.\n".encode())
    os._exit(128 + number)


if __name__ == "__main__":
    raise SystemExit(main())
