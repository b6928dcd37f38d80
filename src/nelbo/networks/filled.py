"""An encoder of complete rows that is asked about incomplete ones."""

from __future__ import annotations

__all__ = ["Filled"]

from torch import Tensor, nn


class Filled(nn.Module):
    """Give a network zeros, the mean of scaled columns, in place of missing values (NaN).

    It makes a model that was fitted to complete rows one that takes others. Its q(z|x) is then not
    that of the values that are there: whoever scores rows draws from proposals that are. A network
    that reads missing values as such, as `ReadColumns` does, is given them.

    Arguments:
        network: A network of complete rows; it may read a condition, too.
        unmixing: A matrix (d, d) by which rows (n, d) are multiplied once they are filled, where
            the network reads whitened rows; None leaves them as they are.
    """

    takes_missing = True
    unmixing: Tensor | None

    def __init__(self, network: nn.Module, unmixing: Tensor | None = None) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("unmixing", unmixing)
        self.fills = not any(getattr(part, "reads_missing", False) for part in network.modules())

    @property
    def takes_condition(self) -> bool:
        """Whether the network reads a condition."""
        return bool(getattr(self.network, "takes_condition", False))

    def forward(self, x: Tensor, *c: Tensor) -> Tensor:
        """Map rows (n, ...), and their conditions where it reads such, to what the network does."""
        filled = x
        if self.fills:
            filled = x.nan_to_num(0.0)
        if self.unmixing is not None:
            filled = filled @ self.unmixing.to(x.dtype).T
        h: Tensor = self.network(filled, *c)
        return h
