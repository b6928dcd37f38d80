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
    try:
        found = from_npm(PACKAGE, {f"dist/{name}": digest for name, digest in FILES.items()})
    except FileNotFoundError as error:
        return f"{error}: built without the browser's runtime (nelbo explore needs it)."
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return f"Built without the browser's runtime (nelbo explore needs it): {error}"
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        part = folder / f".{name}.part"
        part.write_bytes(gzip.compress(found[f"dist/{name}"], 9, mtime=0))
        part.replace(folder / f"{name}.gz")
    return f"The browser's runtime was taken from {PACKAGE}."


def from_npm(package: str, files: dict[str, str]) -> dict[str, bytes]:
    """Return files of an npm package, each with the SHA-256 that is expected of it.

    Arguments:
        package: Name and version, as "mathjax@3.2.2".
        files: The SHA-256 of each file, by its path in the package.

    Raises:
        FileNotFoundError: There is no npm.
        OSError, subprocess.SubprocessError: npm could not get the package.
        ValueError: A file is missing, or not the one that is meant.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm was not found")
    with tempfile.TemporaryDirectory() as name:
        command = [npm, "pack", "--silent", "--pack-destination", name, package]
        subprocess.run(command, check=True, timeout=300, capture_output=True, cwd=name)
        archives = list(Path(name).glob("*.tgz"))
        if not archives:
            raise ValueError(f"npm packed nothing for {package}.")
        return taken(archives[0], package, files)


def taken(archive: Path, package: str, files: dict[str, str]) -> dict[str, bytes]:
    """Take files out of an archive.

    Raises:
        ValueError: One is missing, or not the one that is meant.
    """
    found = {}
    with tarfile.open(archive) as tar:
        names = set(tar.getnames())
        for name, digest in files.items():
            file = tar.extractfile(f"package/{name}") if f"package/{name}" in names else None
            data = b"" if file is None else file.read()
            if hashlib.sha256(data).hexdigest() != digest:
                raise ValueError(f"{name} of {package} is not the file that was expected.")
            found[name] = data
    return found


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
