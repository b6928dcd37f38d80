"""Puts ONNX Runtime Web into the package when it is built: two files, by which explorers decode.

They come from the npm package, by npm, and must have the hashes that are written here. Without npm
the package is built without them, and `nelbo explore` says so. By itself, ``python hatch_build.py``
does the same for a checkout.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "onnxruntime-web@1.30.0"
FILES = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": (
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
    ),
}
FOLDER = Path(__file__).parent / "src" / "nelbo" / "explore" / "runtime"


def put(folder: Path = FOLDER) -> str:
    """Put the files into a folder, gzipped, where they are not there already.

    Returns:
        What was done, or why nothing was.
    """
    if all(is_right(folder / f"{name}.gz", digest) for name, digest in FILES.items()):
        return "The browser's runtime is there."
    npm = shutil.which("npm")
    if npm is None:
        return "npm was not found: built without the browser's runtime (nelbo explore needs it)."
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        command = [npm, "pack", "--silent", "--pack-destination", name, PACKAGE]
        try:
            subprocess.run(command, check=True, timeout=300, capture_output=True, cwd=name)
            archive = next(place.glob("*.tgz"))
            taken(archive, folder)
        except (OSError, subprocess.SubprocessError, StopIteration, ValueError) as error:
            return f"Built without the browser's runtime (nelbo explore needs it): {error}"
    return f"The browser's runtime was taken from {PACKAGE}."


def taken(archive: Path, folder: Path) -> None:
    """Take the files out of the package.

    Raises:
        ValueError: One is missing, or not the one that is meant.
    """
    found = {}
    with tarfile.open(archive) as tar:
        for name, digest in FILES.items():
            file = tar.extractfile(f"package/dist/{name}")
            data = b"" if file is None else file.read()
            if hashlib.sha256(data).hexdigest() != digest:
                raise ValueError(f"{name} of {PACKAGE} is not the file that was expected.")
            found[name] = gzip.compress(data, 9, mtime=0)
    folder.mkdir(parents=True, exist_ok=True)
    for name, packed in found.items():
        part = folder / f".{name}.part"
        part.write_bytes(packed)
        part.replace(folder / f"{name}.gz")


def is_right(path: Path, digest: str) -> bool:
    """Return whether a file is there whole."""
    try:
        return hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest() == digest
    except (OSError, EOFError, ValueError):
        return False


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by itself
    pass
else:

    class RuntimeHook(BuildHookInterface):
        """Is called by hatchling before a wheel is built, editable or not."""

        def initialize(self, version: str, build_data: dict[str, object]) -> None:
            """Put the files into the tree."""
            self.app.display_info(put())


if __name__ == "__main__":
    print(put())
    sys.exit(0 if all(is_right(FOLDER / f"{n}.gz", d) for n, d in FILES.items()) else 1)
