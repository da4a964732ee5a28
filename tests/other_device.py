"""A device beside the processor on a machine that has none: what torch refuses on CUDA and MPS is refused here.

Its tensors say that they lie on ``lazy``, a device of torch's own that asks for no hardware; what is computed with
them is computed by the processor. Refused are operations on tensors of both sides (a tensor without axes may be
anywhere unless tensors are joined, an index may be on the processor), float64, which MPS does not have, and what
torch 2.6, the oldest that is asked for, lacks on MPS; but for transposed 3-D convolutions, which came with 2.8.
Unlike torch's ``meta`` device it has values: they can be compared, and code that looks at numbers goes on.

Torch knows no autocast for the device: whoever turns it off there is heard, whoever turns it on is refused.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("lazy")
_CROSSES = {"aten::_to_copy", "aten::copy_"}
_INDEXES = {"aten::index.Tensor", "aten::index_put_", "aten::_index_put_impl_"}
_JOINS = {"aten::cat", "aten::stack"}
_LACKS = {
    "aten::_linalg_svd",
    "aten::_upsample_bicubic2d_aa",
    "aten::avg_pool3d",
    "aten::grid_sampler_3d",
    "aten::max_pool3d_with_indices",
    "aten::special_entr",
    "aten::upsample_trilinear3d",
}

_real_autocast, _real_is_enabled = torch.autocast, torch.is_autocast_enabled


class Elsewhere(Tensor):
    """A tensor on the other device: its values are kept by the processor."""

    here: Tensor
    has_float64 = False
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, here: Tensor) -> Elsewhere:
        if here.dtype == torch.float64 and not cls.has_float64:
            raise TypeError("the device has no float64")
        return torch.Tensor._make_wrapper_subclass(
            cls, here.shape, strides=here.stride(), dtype=here.dtype, device=DEVICE
        )

    def __init__(self, here: Tensor) -> None:
        self.here = here

    def data_ptr(self) -> int:
        return self.here.data_ptr()

    def tolist(self) -> list[Any]:
        return self.here.tolist()

    def __reduce_ex__(self, protocol: Any) -> Any:  # a checkpoint is read on the processor
        return self.here.__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, function: OpOverload, types: object, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


class OtherDevice(TorchDispatchMode):
    """While it lasts, the device is there, in the thread that entered it.

    Args:
        has_float64: As CUDA has, and MPS has not.
    """

    def __init__(self, *, has_float64: bool = False) -> None:
        super().__init__()
        self._has_float64 = has_float64

    def __enter__(self) -> OtherDevice:
        self._before = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(numbers, device=...): made here, then moved
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(Elsewhere, "has_float64", self._has_float64)
        self._patch.setattr(torch, "autocast", _autocast)
        self._patch.setattr(torch, "is_autocast_enabled", _is_autocast_enabled)
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        try:
            super().__exit__(*error)
        finally:
            self._patch.undo()
            torch._C._set_only_lift_cpu_tensors(self._before)

    def __torch_dispatch__(self, function: OpOverload, types: object, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


def _autocast(kind: str, *args: Any, enabled: bool = True, **kwargs: Any) -> AbstractContextManager[object]:
    if kind != DEVICE.type:
        return _real_autocast(kind, *args, enabled=enabled, **kwargs)
    if enabled:
        raise NotImplementedError("the stand-in has no autocast")
    return nullcontext()


def _is_autocast_enabled(*kind: str) -> bool:
    return kind != (DEVICE.type,) and _real_is_enabled(*kind)


def _run(function: OpOverload, args: Any, kwargs: Any) -> Any:
    leaves = tree_flatten((args, kwargs))[0]
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    asked = next((leaf for leaf in leaves if isinstance(leaf, torch.device)), None)
    is_elsewhere = any(isinstance(t, Elsewhere) for t in tensors)
    name = function.name().removesuffix(".default")
    if is_elsewhere and name in _LACKS:
        raise NotImplementedError(f"{name} is not implemented for the device")
    if is_elsewhere and name not in _CROSSES and any(_is_astray(t, name) for t in _together(name, args, tensors)):
        raise RuntimeError(f"{name}: expected all tensors to be on the same device")
    if asked is not None:
        is_elsewhere = asked.type == DEVICE.type
    if name == "aten::copy_":
        is_elsewhere = isinstance(args[0], Elsewhere)
    lasts = is_elsewhere and function.is_view and not any(t.is_inference() for t in tensors)
    with torch.inference_mode(False) if lasts and torch.is_inference_mode_enabled() else nullcontext():
        result = function(*tree_map(_unwrapped, args), **tree_map(_unwrapped, kwargs))
        return tree_map(lambda leaf: Elsewhere(leaf) if is_elsewhere and isinstance(leaf, Tensor) else leaf, result)


def _together(name: str, args: Any, tensors: list[Tensor]) -> list[Tensor]:
    """The tensors of an operation that have to lie together: of a tensor there, not what it is indexed with."""
    if name in _INDEXES and isinstance(args[0], Elsewhere):
        return [args[0], *args[2:3]] if name != "aten::index.Tensor" else [args[0]]
    return tensors


def _is_astray(tensor: Tensor, name: str) -> bool:
    return not isinstance(tensor, Elsewhere) and (tensor.ndim > 0 or name in _JOINS)


def _unwrapped(leaf: Any) -> Any:
    if isinstance(leaf, torch.device):
        return torch.device("cpu")
    return leaf.here if isinstance(leaf, Elsewhere) else leaf
