"""Pretend devices `pretend:0`, `pretend:1`, ...: tensors in host memory that refuse to meet those of another device.

They compute what the CPU computes, so a model spread over them can be compared with one in one place, token for token;
what would fail between two GPUs fails here as well. PyTorch can register such a backend once per process and shows it
to everybody as an accelerator, so this belongs in a process of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

KNOWN = hasattr(backend_registration, "_setup_privateuseone_for_python_backend")
"""Whether this PyTorch can pretend; older ones need C++ for it."""
aten = torch.ops.aten
CROSSING = {aten._to_copy.default, aten.copy_.default}
"""What may read from one device and write to another."""
INDEXING = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default}
"""What may be told by the CPU which elements are meant."""


class Pretender(Tensor):
    """A CPU tensor that says it is on a pretend device."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor, device: torch.device) -> Pretender:
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset()}
        made = Tensor._make_wrapper_subclass(cls, held.size(), dtype=held.dtype, device=device, **layout)
        made.held = held
        return made

    def tolist(self) -> Any:
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} was called outside `Pretending`")


class Literals(TorchFunctionMode):
    """Makes tensors of `torch.tensor(..., device=...)` and of lists of indices; the mode below is not asked there."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        device = kwargs.pop("device", None) if func is torch.tensor else None
        if func in (Tensor.__getitem__, Tensor.__setitem__):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            args = (args[0], tuple(torch.tensor(i) if isinstance(i, list) else i for i in index), *args[2:])
        made = func(*args, **kwargs)
        return made if device is None else made.to(device)


class Pretending(TorchDispatchMode):
    """While active, tensors can be made on pretend devices and computed with there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given, tree = tree_flatten([args, kwargs or {}])
        tensors = [value for value in given if isinstance(value, Tensor)]
        named = [value for value in given if isinstance(value, torch.device)]
        device = named[0] if named else common_device(func, tensors)
        args, kwargs = tree_unflatten([truth(value) for value in given], tree)
        known = {id(truth(tensor)): tensor for tensor in tensors}

        def told(value: Any) -> Any:
            if not isinstance(value, Tensor) or func is aten._local_scalar_dense.default:
                return value
            own = known.get(id(value))
            if own is not None and own.device == device:
                return own
            value = value if own is None else value.clone()
            return Pretender(value, device) if device.type == "pretend" else value

        with torch.inference_mode(False), torch.no_grad():  # a wrapper can't be both kinds of tensor
            return tree_map(told, func(*args, **kwargs))


def truth(value: Any) -> Any:
    """What the CPU is given instead."""
    if isinstance(value, torch.device):
        return torch.device("cpu")
    return value.held if isinstance(value, Pretender) else value


def common_device(func: Any, tensors: list[Tensor]) -> torch.device:
    """Where a result is; tensors of two devices may not meet, but for scalars and indices on the CPU."""
    if func in CROSSING:
        return tensors[0].device
    spared = [tensor.device.type == "cpu" and (func in INDEXING or not tensor.dim()) for tensor in tensors]
    devices = {tensor.device for tensor, spare in zip(tensors, spared, strict=True) if not spare}
    if len(devices) > 1:
        raise RuntimeError(f"{func} was given tensors on {' and '.join(sorted(map(str, devices)))}")
    return devices.pop() if devices else torch.device("cpu")


@contextmanager
def pretend_devices() -> Iterator[None]:
    """Makes `pretend` a device type of this process; within the block tensors can live there."""
    backend_registration._setup_privateuseone_for_python_backend("pretend")
    with Literals(), Pretending():
        yield
