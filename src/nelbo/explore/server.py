"""The explorer of a decoder that is too large for a page: served to this machine alone."""

from __future__ import annotations

__all__ = ["serve"]

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch

from ..fitted import Fitted
from .content import Content
from .draws import Drawing
from .page import to_html

HOST = "127.0.0.1"


def serve(
    model: Fitted,
    content: Content,
    port: int = 0,
    told: Callable[[str], object] = lambda url: None,
    largest: int = 2**20,
) -> None:
    """Serve the page on 127.0.0.1 until it is interrupted; the decoder runs in this process.

    Arguments:
        model: The model.
        content: What the page shows.
        port: The port; 0 takes one that is free.
        told: Is called with the address, once it can be opened.
        largest: Bytes of a request, at most.

    Raises:
        OSError: The port is taken.
    """
    page = to_html(content).encode(errors="backslashreplace")
    drawing = Drawing(model).eval()

    class Handler(BaseHTTPRequestHandler):
        """Answers with the page, and with what a z is decoded to."""

        def do_GET(self) -> None:
            """Send the page."""
            if self._from_elsewhere():
                return
            if self.path not in ("/", "/index.html"):
                self._send(404, b"There is only one page, at /.", "text/plain")
                return
            self._send(200, page, "text/html; charset=utf-8")

        def do_POST(self) -> None:
            """Decode."""
            if self._from_elsewhere():
                return
            try:
                size = int(self.headers.get("Content-Length", "0"))
                if self.path != "/decode" or not 0 < size <= largest:
                    raise ValueError("A request must be for /decode, and small.")
                found = decoded(drawing, json.loads(self.rfile.read(size)))
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                self._send(400, str(error).encode(), "text/plain; charset=utf-8")
                return
            self._send(200, json.dumps(found).encode(), "application/json")

        def _from_elsewhere(self) -> bool:
            """Refuse requests by another name: a page of another site may have made them."""
            name = self.headers.get("Host", "").rpartition(":")[0]
            if name in (HOST, "localhost"):
                return False
            self._send(403, b"Open the page as http://127.0.0.1.", "text/plain")
            return True

        def _send(self, code: int, body: bytes, kind: str) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing of single requests."""

    with ThreadingHTTPServer((HOST, port), Handler) as server:
        told(f"http://{HOST}:{server.server_address[1]}/")
        server.serve_forever()


def decoded(drawing: Drawing, asked: Any) -> dict[str, list[float]]:
    """Return what the inputs of a request are decoded to.

    Arguments:
        drawing: The decoder.
        asked: The inputs by name, each a list of numbers.

    Raises:
        ValueError: An input is missing, or has another size.
    """
    if not isinstance(asked, dict):
        raise ValueError("A request must be an object of lists of numbers.")
    inputs = []
    for name, like in zip(drawing.inputs, drawing.example(1), strict=True):
        value = torch.tensor(asked.get(name), dtype=torch.float32)
        if value.shape != like.shape[1:]:
            raise ValueError(f"{name} must be {like.shape[1]} numbers.")
        inputs.append(value[None])
    with torch.no_grad():
        found = drawing(*inputs)
    return {
        name: value.flatten().tolist() for name, value in zip(drawing.names, found, strict=True)
    }
