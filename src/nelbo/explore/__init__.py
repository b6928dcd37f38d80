"""A page on which one walks through the latent space: the decoder runs in the browser."""

from __future__ import annotations

from .content import Content, Limits, content_of
from .page import LARGEST, explore
from .server import serve

__all__ = ["LARGEST", "Content", "Limits", "content_of", "explore", "serve"]
