"""A device is there or refused, and one whose gradients are not the processor's trains nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

import vesalius.inference.device as device
from other_device import DEVICE, OtherDevice
from vesalius.errors import UsageError
from vesalius.inference.device import (
    choose_device,
    device_to_train_on,
    gradients_off_by,
    require_right_gradients,
)


class AlmostRight(OtherDevice):
    """A device of which one kind of operation gives a tenth more than it should, or nothing at all."""

    def __init__(self, name: str, *, refuses: bool = False) -> None:
        super().__init__()
        self._name, self._refuses = name, refuses

    def __torch_dispatch__(self, function: Any, types: object, args: Any = (), kwargs: Any = None) -> Any:
        found = super().__torch_dispatch__(function, types, args, kwargs)
        if self._name not in function.name() or not _is_there(args):
            return found
        if self._refuses:
            raise NotImplementedError(f"{self._name} is not implemented for the device")
        return tuple(None if one is None else one * 1.1 for one in found) if type(found) is tuple else found * 1.1


def _is_there(args: Any) -> bool:
    return any(isinstance(one, torch.Tensor) and one.device.type == DEVICE.type for one in args)


@contextmanager
def forgotten() -> Iterator[None]:
    require_right_gradients.cache_clear()
    yield
    require_right_gradients.cache_clear()


def test_a_device_that_is_not_there_is_refused() -> None:
    assert choose_device("cpu") == device_to_train_on("cpu") == "cpu"
    for chosen in (choose_device, device_to_train_on):
        with pytest.raises(UsageError, match="device"):
            chosen("tpu")


def test_a_device_that_computes_as_the_processor_does_trains() -> None:
    with OtherDevice(), forgotten():
        assert gradients_off_by(DEVICE.type) < 1e-4
        require_right_gradients(DEVICE.type)


@pytest.mark.parametrize("operation", ["aten::convolution_backward", "aten::gelu_backward", "aten::convolution"])
def test_wrong_gradients_are_noticed(operation: str) -> None:
    with AlmostRight(operation), forgotten(), pytest.raises(UsageError, match="off by") as refused:
        require_right_gradients(DEVICE.type)
    assert "--device cpu" in refused.value.do


def test_what_a_device_refuses_is_said_in_its_words() -> None:
    lacks = AlmostRight("aten::convolution", refuses=True)
    with lacks, forgotten(), pytest.raises(UsageError, match="not implemented for the device"):
        require_right_gradients(DEVICE.type)


def test_auto_passes_a_device_by_that_does_not_differentiate(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(device, "_there", lambda: (DEVICE.type, "cpu"))
    with OtherDevice(), forgotten():
        assert device_to_train_on("auto") == DEVICE.type
    with AlmostRight("aten::convolution_backward"), forgotten():
        assert device_to_train_on("auto") == "cpu"
        with pytest.raises(UsageError):
            device_to_train_on(DEVICE.type)
    assert "lazy is left out: gradients that are off by" in caplog.text
