"""A fitted model as graphs that run without Python: encoder, decoder and score, in data units."""

from __future__ import annotations

from .graphs import Decoder, Encoder, Score
from .halves import halved
from .onnx import Exported, Graph, export, to_onnx

__all__ = ["Decoder", "Encoder", "Exported", "Graph", "Score", "export", "halved", "to_onnx"]
