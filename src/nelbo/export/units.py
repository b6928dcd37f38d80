"""Between the units of the data and those of a model, as modules that can be traced.

.. math:: x = m + s \\odot (R t)
"""

from __future__ import annotations

__all__ = ["FromModel", "ToModel"]

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ..data import Schema
from ..data.steps.layout import to_event, to_user
from ..distributions import DiscretizedNormal


class Affine(nn.Module):
    """The numbers of a schema, as buffers."""

    shift: Tensor
    scale: Tensor
    kept: Tensor

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.shape, self.layout = schema.shape, schema.layout
        self.data_shape = schema.data_shape
        self.mixed = schema.mixing is not None
        self.partly = bool(schema.left_out)
        self.register_buffer("shift", torch.tensor(schema.shift))
        self.register_buffer("scale", torch.tensor(schema.scale))
        self.register_buffer("kept", torch.tensor(schema.kept))
        if schema.mixing is not None:
            self.register_buffer("mixing", torch.tensor(schema.mixing))
            self.register_buffer("inverse", torch.tensor(np.linalg.inv(schema.mixing)))
        constant = torch.zeros(schema.n_features, dtype=torch.float64)
        for index, value in schema.left_out:
            constant[index] = value
        self.register_buffer("constant", constant)


class ToModel(Affine):
    """Map x (n, *data_shape), in data units, to t (n, *shape)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return t."""
        flat = x.flatten(1)
        if self.partly:
            flat = flat[:, self.kept]
        t = to_event(flat, self.shape, self.layout)
        t = (t - self.shift) / self.scale
        if self.mixed:
            return t @ self.get_buffer("inverse")
        return t


class FromModel(Affine):
    """Map t (n, *shape) to x (n, *data_shape), in data units."""

    def forward(self, t: Tensor) -> Tensor:
        """Return x."""
        if self.mixed:
            t = t @ self.get_buffer("mixing")
        return self._whole(t * self.scale + self.shift, self.get_buffer("constant"))

    def deviations(self, p: Distribution, beta: Tensor | None) -> Tensor:
        """Return the standard deviation of each value of x given z, (n, *data_shape).

        Arguments:
            p: p(t|z).
            beta: The width of the noise of each value of t, where the likelihood tells it.
        """
        if beta is None and self.mixed and hasattr(p, "variance_along"):
            spread = p.variance_along(self.get_buffer("mixing")).sqrt()
        else:
            spread = _width(p) if beta is None else beta.expand(p.mean.shape)
            if self.mixed:
                spread = (spread.square() @ self.get_buffer("mixing").square()).sqrt()
        return self._whole(spread * self.scale, torch.zeros_like(self.get_buffer("constant")))

    def whole(self, values: Tensor, of_others: float) -> Tensor:
        """Return numbers of the values of t in the user's layout, and another one in the places
        that are left out.
        """
        return self._whole(values, torch.full_like(self.get_buffer("constant"), of_others))

    def _whole(self, values: Tensor, constant: Tensor) -> Tensor:
        """Return values in the user's layout, constants in the places that are left out."""
        x = to_user(values, self.layout)
        if not self.partly:
            return x
        whole = constant.expand(x.shape[0], -1)
        return whole.index_copy(1, self.kept, x)


def _width(p: Distribution) -> Tensor:
    """Return the standard deviation of each value; of rounded ones that of the normal before."""
    if isinstance(p, DiscretizedNormal):
        return p.scale.expand(p.mean.shape)
    return p.variance.sqrt()
