"""Networks: tensor to tensor, shape in, shape out. They know nothing of probability.

Each is built as ``Network(in_shape, out_shape, ...)``, where the shapes are those of one example,
maps (*batch, *in_shape) to (*batch, *out_shape), and takes its initial weights from an explicit
``generator``. A network with a linear path holds it as ``linear``, so that it can start at a closed
form.
"""

from __future__ import annotations

from .conditioned import Conditioned
from .conv import Conv
from .factor_encoder import FactorEncoder
from .filled import Filled
from .linear import Linear
from .masked import Masked
from .mlp import MLP
from .quadratic import Quadratic
from .read_columns import ReadColumns
from .residual import Residual

__all__ = [
    "MLP",
    "Conditioned",
    "Conv",
    "FactorEncoder",
    "Filled",
    "Linear",
    "Masked",
    "Quadratic",
    "ReadColumns",
    "Residual",
]
