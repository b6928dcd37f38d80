"""Weights of a graph stored with 16 bits, for half the size."""

from __future__ import annotations

__all__ = ["halved"]

import numpy as np


def halved(graph: bytes, fewest: int = 1024) -> bytes:
    """Return a graph whose large weights are stored as float16; it computes in float32 as before.

    Arguments:
        graph: A graph in ONNX's format.
        fewest: Tensors of fewer numbers stay as they are, and so do those beyond float16's range.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load_from_string(graph)
    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(weight)
        if values.size < fewest or np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    found: bytes = model.SerializeToString()
    return found
