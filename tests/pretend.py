"""A device that computes on the CPU but keeps its tensors apart, as a GPU does.

Where there is no GPU, tests put models on it: an operation of its tensors with those of the CPU
fails as it would with CUDA's, and so do a generator of the other device, ``numpy()`` and whatever
else reads memory. CUDA's exceptions hold: tensors without dimensions mix freely, the index of an
indexing operation may be on the CPU, and ``copy_`` copies.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

NAME = "lazy"
"""A device type that torch knows and has no code for: nothing can run there by accident."""
PLACE = torch.device(NAME, 0)
ATEN = torch.ops.aten
COPYING = {ATEN.copy_.default, ATEN._to_copy.default}
"""Operations from one device to another."""
INDEXING = {
    ATEN.index.Tensor,
    ATEN.index_put_.default,
    ATEN.index_put.default,
    ATEN._index_put_impl_.default,
}
"""Operations of which the second argument, indices, may be on the CPU."""
Generator = torch.Generator


class Pretended(torch.Tensor):
    """A tensor that says it is on the device, around one of the CPU.

    Arguments:
        inner: The tensor of the CPU.
    """

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Pretended:
        made: Pretended = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=PLACE,
        )
        made.inner = inner
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        """Name the tensor inside: modules then swap such weights whole when they are moved."""
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, torch.Tensor], *_: Any) -> Pretended:
        return Pretended(inner["inner"])

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return computed(function, args, kwargs or {})

    def __repr__(self, **_: Any) -> str:
        return f"pretended {self.inner!r}"


class OnDevice(Generator):
    """A generator that says where it is."""

    def __new__(cls, device: Any = "cpu") -> OnDevice:
        made: OnDevice = super().__new__(cls, "cpu")
        return made

    def __init__(self, device: Any = "cpu") -> None:
        self.place = torch.device(device)

    @property
    def device(self) -> torch.device:
        """Where it says it is."""
        if self.place.type == NAME:
            return PLACE
        return self.place


class Watching(TorchFunctionMode):
    """Refuses generators of the other device."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = dict(kwargs or {})
        if function in (torch.tensor, torch.as_tensor) and given.get("device") is not None:
            # these read Python's numbers, and would do so on the device
            place = given.pop("device")
            return function(*args, **given).to(place)
        if function is torch.Tensor.tolist and isinstance(args[0], Pretended):
            return args[0].inner.tolist()
        if isinstance(given.get("generator"), OnDevice):
            tensors = [t for t in pytree.tree_leaves(args) if isinstance(t, torch.Tensor)]
            place = torch.device(given.get("device") or (tensors[0].device if tensors else "cpu"))
            if place.type != given["generator"].device.type:
                raise RuntimeError(
                    f"Expected a generator on {place}, found {given['generator'].device}"
                )
        return function(*args, **given)


class Pretending(TorchDispatchMode):
    """Takes what is made on the device."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return computed(function, args, kwargs or {})


def computed(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Compute on the CPU, and wrap what belongs to the device."""
    flat = [t for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
    there = [t for t in flat if isinstance(t, Pretended)]
    asked = kwargs.get("device")
    if asked is not None and torch.device(asked).type == NAME:
        kwargs = {**kwargs, "device": torch.device("cpu")}
        goes = True
    else:
        goes = bool(there) and asked is None
    if there and function not in COPYING:
        apart = flat
        if function in INDEXING and isinstance(args[0], Pretended):
            apart = [t for t in pytree.tree_leaves(args[2:]) if isinstance(t, torch.Tensor)]
        if any(t.ndim and not isinstance(t, Pretended) for t in apart):
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"cuda:0 and cpu! (pretended, {function})"
            )
    if function is ATEN.copy_.default:
        goes = isinstance(args[0], Pretended)
    plain_args, plain_kwargs = pytree.tree_map_only(Pretended, lambda t: t.inner, (args, kwargs))
    found = function(*plain_args, **plain_kwargs)
    if not goes:
        return found
    wrapped = pytree.tree_map_only(torch.Tensor, Pretended, found)
    if not there:
        return wrapped
    return return_and_correct_aliasing(function, args, kwargs, wrapped)


class Autocast(torch.autocast):
    """Does nothing on the device."""

    def __new__(cls, device_type: str, *args: Any, **kwargs: Any) -> Any:
        if device_type == NAME:
            return contextlib.nullcontext()
        return super().__new__(cls)


@contextlib.contextmanager
def pretended() -> Iterator[str]:
    """Give the name of the device, which exists within the context."""
    whole = torch.autocast
    torch.Generator = OnDevice  # type: ignore[misc]
    torch.autocast = Autocast  # type: ignore[misc]
    try:
        with Watching(), Pretending():
            yield NAME
    finally:
        torch.Generator, torch.autocast = Generator, whole  # type: ignore[misc]
