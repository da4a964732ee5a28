"""PyTorch's own checkpoint files, read with its restricted unpickler and nothing else.

``torch.load(weights_only=True)`` knows tensors and plain containers, and here numpy's numbers, which nnU-Net keeps
beside its weights; a file that asks for anything more is refused before the asked-for thing is looked up, and none
of it runs. Archives are memory-mapped, so reading one needs no second copy of the weights.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pickle
import reprlib
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vesalius.checkpoints.content import recognise
from vesalius.errors import CheckpointError, UnsafeCheckpointError

_DAMAGE = (
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    OSError,
    OverflowError,
    MemoryError,
    struct.error,
)
"""What PyTorch's unpickler and archive reader raise on truncated or scrambled bytes."""

_WRAPPERS = ("model", "state_dict", "teacher", "network_weights")

_MOST_SHARING = 4
"""How many times its own size the tensors of a file may take: some stand under two names."""


def _number_of(dtype: object, content: object) -> Any:
    """Return a number of numpy from its type and its bytes; numpy's own function makes room for any type's."""
    if not isinstance(dtype, np.dtype) or dtype.kind not in "fiub" or not isinstance(content, bytes):
        raise TypeError("a number of numpy that is none")
    if len(content) != dtype.itemsize:
        raise ValueError(f"a number of numpy of {len(content)} bytes instead of {dtype.itemsize}")
    return np.frombuffer(content, dtype)[0]


_NUMPY_NUMBERS: tuple[Any, ...] = (
    (_number_of, "numpy.core.multiarray.scalar"),
    (_number_of, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")),
)
"""What a pickled number of numpy is made of: its type and its bytes. None of it looks up or runs anything else."""


@dataclass(frozen=True)
class PyTorchState:
    """The tensors of a PyTorch file, and what stood around them."""

    tensors: Mapping[str, Tensor]
    wrapper: str
    """The key the state dict stood under, or nothing."""
    around: Mapping[str, Any]
    """What stood beside the state dict: epoch, optimiser, plans, ..."""

    @property
    def beside(self) -> tuple[str, ...]:
        """The names of what stood beside the state dict."""
        return tuple(sorted(self.around))


def read_pytorch(path: Path) -> PyTorchState:
    """Read the state dict of a ``.pt`` file.

    Raises:
        UnsafeCheckpointError: If the file needs more than tensors and plain containers.
        CheckpointError: If it is damaged, or holds no state dict.
    """
    content = recognise(path)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(list(_NUMPY_NUMBERS)):
            # PyTorch warns of unusual pickles and asks for an issue to be filed; we answer with an error of ours.
            warnings.simplefilter("ignore")
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=content == "torch zip")
    except pickle.UnpicklingError as error:
        raise UnsafeCheckpointError(
            expected=f"only tensors and plain containers in {path}",
            got=_reason(error),
            do="do not open this file with anything less strict; ask its author for safetensors",
        ) from None
    except _DAMAGE as error:
        raise CheckpointError(
            expected=f"a sound PyTorch file at {path}",
            got=_reason(error),
            do="download or copy the file again and compare its size and hash with the publisher's",
        ) from None
    return _unwrap(path, loaded)


def _unwrap(path: Path, loaded: object) -> PyTorchState:
    wrapper = ""
    around: dict[str, Any] = {}
    if isinstance(loaded, Mapping):
        for key in _WRAPPERS:
            if isinstance(loaded.get(key), Mapping):
                wrapper, around = key, {_word(other): value for other, value in loaded.items() if other != key}
                loaded = loaded[key]
                break
    if not isinstance(loaded, Mapping) or not loaded:
        raise _no_state_dict(path, f"a {type(loaded).__name__} of {_length(loaded)} entries")
    strange = [_word(name) for name, value in loaded.items() if not _is_plain_tensor(name, value)]
    if strange:
        raise _no_state_dict(path, f"entries that are not plain tensors: {', '.join(sorted(strange)[:8])}")
    _check_bytes(path, loaded)
    return PyTorchState(dict(loaded), wrapper, around)


def _check_bytes(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors that take more than the file holds: strides of 0 let a few bytes stand for any number."""
    held = {name: tensor.numel() * tensor.element_size() for name, tensor in tensors.items()}
    spread = sorted(name for name, size in held.items() if size > tensors[name].untyped_storage().nbytes())
    if spread or sum(held.values()) > _MOST_SHARING * path.stat().st_size:
        raise CheckpointError(
            expected=f"tensors of which {path} holds every number",
            got=f"{', '.join(spread[:6]) or 'tensors'} of more bytes than are stored for them",
            do="save contiguous tensors: {name: tensor.contiguous() for name, tensor in state.items()}",
        )


def _is_plain_tensor(name: object, value: object) -> bool:
    return (
        isinstance(name, str)
        and isinstance(value, Tensor)
        and value.layout == torch.strided
        and not value.is_quantized
        and not value.is_meta
    )


def _word(name: object) -> str:
    return name if isinstance(name, str) else reprlib.repr(name)  # in full it could be of any length


def _length(value: object) -> int:
    return len(value) if isinstance(value, Mapping | list | tuple) else 1


def _reason(error: Exception) -> str:
    # PyTorch's message goes on to recommend switching the protection off; only what was refused is of use here.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    telling = [line for line in lines if line.startswith(("Unsupported", "Trying to", "WeightsUnpickler error: U"))]
    telling += [line for line in lines if "GLOBAL" in line and "Please" not in line]
    return (telling or lines)[0].removeprefix("Please file an issue with the following: ")[:300]


def _no_state_dict(path: Path, got: str) -> CheckpointError:
    return CheckpointError(
        expected=f"names and tensors in {path}, plain or under {', '.join(_WRAPPERS)}",
        got=got,
        do="save the state dict alone: torch.save(network.state_dict(), path)",
    )
