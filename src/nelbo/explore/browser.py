"""ONNX Runtime Web: two files of the npm package onnxruntime-web, which the wheel holds.

`hatch_build.py` puts them here when the package is built. Their licence is beside them.
"""

from __future__ import annotations

__all__ = ["VERSION", "module", "wasm"]

from importlib.resources import files

VERSION = "1.30.0"
MODULE = "ort.wasm.bundle.min.mjs.gz"
WASM = "ort-wasm-simd-threaded.wasm.gz"


def module() -> bytes:
    """Return the JavaScript module, gzipped.

    Raises:
        ImportError: It is not part of this installation.
    """
    return _read(MODULE)


def wasm() -> bytes:
    """Return the WebAssembly that it runs, gzipped.

    Raises:
        ImportError: It is not part of this installation.
    """
    return _read(WASM)


def _read(name: str) -> bytes:
    file = files(__package__) / "runtime" / name
    if not file.is_file():
        raise ImportError(
            "The runtime that runs decoders in the browser (onnxruntime-web) is not part of this "
            "installation: npm was not there when it was built. Install npm and then nelbo again, "
            "run `make runtime` in a checkout, or use --serve, which needs none."
        )
    return file.read_bytes()
