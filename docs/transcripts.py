"""Make what the pages show: transcripts of commands, what Python blocks print, and pictures.

``make transcripts`` runs each page from top to bottom, in an empty folder of its own, and writes
into it whole what came out. ``--check`` changes nothing, and says where a page shows other words
than those. Numbers are not compared: they differ a little between machines, and so do times.

- A ``console`` block with lines that are no commands is a transcript: each command of it is shown
  with all that it prints, but for its progress, which depends on the time it takes. Other console
  blocks are run, for what later ones need, and stay as they are.
- A ``text`` block shows what the Python blocks since the last one have printed.
- `PICTURES` are copied from what the commands of a page wrote; `MADE` are made by a command of
  their own, those of Fashion-MNIST where the environment variable NELBO_DATA says where it is.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
FENCED = re.compile(r"^```(python|text|console)\n(.*?)^```", re.DOTALL | re.MULTILINE)
PROGRESS = re.compile(r"^ *\d+%  .*\n", re.MULTILINE)
WIDTH = 100
"""Columns of the terminal."""
PICTURES = {"README.md": {"runs/digits/picture.png": "digits.png"}}
"""page -> what a command of it wrote -> its name in docs/images."""
FASHION = "nelbo fit fashion_mnist --variance 1 --latent-dim 10 --max-seconds 15 --out run"
MADE = {
    "report.png": (f"python {ROOT}/docs/screenshot.py", "report.png"),
    "explorer.png": (f"python {ROOT}/docs/screenshot.py", "explorer.png"),
    "learned_noise.png": (f"python {ROOT}/examples/04_learned_noise.py", "runs/learned_noise.png"),
    "fashion_fixed_noise.png": (FASHION, "run/picture.png"),
}
"""name in docs/images -> the command that makes it, and what that writes."""


def main() -> int:
    """Rewrite all pages, or compare them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="change nothing, and end with 1 where a page differs"
    )
    parser.add_argument("--only", nargs="+", help="names of pages, such as README.md")
    options = parser.parse_args()
    status = 0
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if not shows(text) or (options.only and page.name not in options.only):
            continue
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            found = remade(text)
            if not options.check:
                for source, name in PICTURES.get(page.name, {}).items():
                    keep(source, name)
        for line in differences(text, found):
            status = 1
            print(f"{page.relative_to(ROOT)}: {line}")
        if found != text and not options.check:
            page.write_text(found, encoding="utf-8")
    if not options.check and not options.only:
        make_pictures()
    return status if options.check else 0


def make_pictures() -> None:
    """Make the pictures that no page's own commands make."""
    for name, (command, written) in MADE.items():
        if command == FASHION and not os.environ.get("NELBO_DATA"):
            print(f"docs/images/{name} stays as it is: it needs NELBO_DATA")
            continue
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            output(command)
            keep(written, name)


def keep(picture: str, name: str) -> None:
    """Keep a picture among those of the pages, in 256 colours: grey noise takes much room.

    They are chosen to span all that there are: thin lines and few dots keep a colour of their own.
    """
    with Image.open(picture) as image:
        kept = image.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1)
        kept.save(ROOT / "docs" / "images" / name, optimize=True)


def shows(text: str) -> bool:
    """Return whether a page shows what something printed."""
    return any(is_shown(language, block) for language, block in FENCED.findall(text))


def is_shown(language: str, block: str) -> bool:
    """Return whether a block is output, of whatever kind."""
    if language == "console":
        return any(not line.startswith("$ ") for line in block.splitlines())
    return language == "text" and not block.startswith("src/")


def remade(text: str) -> str:
    """Run a page in the folder it is called in, and return it with what came out."""
    session: dict[str, object] = {"__name__": "documentation"}
    printed = io.StringIO()

    def again(found: re.Match[str]) -> str:
        language, block = found[1], found[2]
        if language == "python":
            with contextlib.redirect_stdout(printed):
                exec(compile(block, "documentation", "exec"), session)
        elif language == "console":
            whole = "".join(transcript(block))
            block = whole if is_shown(language, block) else block
        elif is_shown(language, block):
            block = printed.getvalue()
            printed.seek(0)
            printed.truncate()
        return f"```{language}\n{block}```"

    return FENCED.sub(again, text)


def transcript(block: str) -> Iterator[str]:
    """Yield each command of a console block with all that it prints."""
    for command in re.findall(r"^\$ (.*)$", block, re.MULTILINE):
        yield f"$ {command}\n{PROGRESS.sub('', output(command))}"


def output(command: str) -> str:
    """Run a command as a terminal of 100 columns would, and return all that it prints.

    Raises:
        RuntimeError: The command failed.
    """
    environment = {**os.environ, "COLUMNS": str(WIDTH), "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}
    program, *words = shlex.split(command)
    own = {"nelbo": [sys.executable, "-m", "nelbo"], "python": [sys.executable]}
    done = subprocess.run(
        [*own.get(program, [program]), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"`{command}` ended with {done.returncode}: {done.stdout}")
    return done.stdout


def differences(shown: str, found: str) -> Iterator[str]:
    """Yield where two versions of a page differ in other things than numbers."""
    pairs = zip(FENCED.finditer(shown), FENCED.finditer(found), strict=True)
    for one, other in pairs:
        if worded(one[2]) != worded(other[2]):
            line = shown[: one.start()].count("\n") + 1
            yield f"line {line} shows\n{one[2]}where now there is\n{other[2]}"


def worded(text: str) -> str:
    """Return a text with # for each number, and without the widths that columns have for them."""
    return re.sub(r" +|-+", " ", re.sub(r"[-+]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?", "#", text))


if __name__ == "__main__":
    sys.exit(main())
