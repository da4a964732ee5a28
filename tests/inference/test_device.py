"""A device is there or refused, and one whose gradients are not the processor's trains nothing."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
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
    """A device of which one kind of operation gives something else than it should, or nothing at all."""

    def __init__(self, name: str, *, factor: float = 1.1, refuses: bool = False) -> None:
        super().__init__()
        self._name, self._factor, self._refuses = name, factor, refuses

    def __torch_dispatch__(self, function: Any, types: object, args: Any = (), kwargs: Any = None) -> Any:
        found = super().__torch_dispatch__(function, types, args, kwargs)
        if self._name not in function.name() or not _is_there(args):
            return found
        if self._refuses:
            raise NotImplementedError(f"{self._name} is not implemented for the device")
        if type(found) is not tuple:
            return found * self._factor
        return (found[0], found[1] * self._factor, *found[2:])  # of a convolution the kernel's gradient alone


def _is_there(args: Any) -> bool:
    return any(isinstance(one, torch.Tensor) and one.device.type == DEVICE.type for one in args)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What is found out once a process is found out in each test."""
    for found in (device._fault, device_to_train_on):
        found.cache_clear()
    yield
    for found in (device._fault, device_to_train_on):
        found.cache_clear()


def test_a_device_that_is_not_there_is_refused() -> None:
    assert choose_device("cpu") == device_to_train_on("cpu") == "cpu"
    for chosen in (choose_device, device_to_train_on):
        with pytest.raises(UsageError, match="device"):
            chosen("tpu")


def test_a_card_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_there", lambda: ("cuda", "cpu"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device("cuda:0") == "cuda:0"
    with pytest.raises(UsageError, match="1 cards"):
        choose_device("cuda:7")


def test_each_of_several_processes_looks_at_its_own_card(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[str] = []
    monkeypatch.setattr(device, "_there", lambda: ("cuda", "cpu"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(device, "_fault", functools.cache(looked_at.append))
    for name, value in {"WORLD_SIZE": "3", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert device_to_train_on("auto") == "cuda"
    assert looked_at == ["cuda:1"]
    with pytest.raises(UsageError, match="leave the number out"):
        device_to_train_on("cuda:1")
    monkeypatch.setenv("LOCAL_RANK", "2")  # joining refuses it, in its own words
    device_to_train_on.cache_clear()
    assert device_to_train_on("cuda") == "cuda"
    assert looked_at == ["cuda:1"]


def test_a_device_that_computes_as_the_processor_does_trains() -> None:
    with OtherDevice():
        assert gradients_off_by(DEVICE.type) < 1e-4
        require_right_gradients(DEVICE.type)


@pytest.mark.parametrize("operation", ["aten::convolution_backward", "aten::gelu_backward", "aten::convolution"])
def test_wrong_gradients_are_noticed(operation: str) -> None:
    with AlmostRight(operation), pytest.raises(UsageError, match="off by") as refused:
        require_right_gradients(DEVICE.type)
    assert "--device cpu" in refused.value.do


def test_one_gradient_that_is_no_number_is_noticed() -> None:
    with AlmostRight("aten::convolution_backward", factor=math.nan), pytest.raises(UsageError, match="off by nan"):
        require_right_gradients(DEVICE.type)


def test_cards_are_asked_without_tf32_and_have_it_again_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    before, seen = torch.backends.cudnn.allow_tf32, []
    gradients = device._gradients

    def watched(*what: Any) -> list[torch.Tensor]:
        seen.append(torch.backends.cudnn.allow_tf32)
        return gradients(*what)

    monkeypatch.setattr(device, "_gradients", watched)
    assert gradients_off_by("cpu") == 0
    assert seen == [before, False]
    assert torch.backends.cudnn.allow_tf32 == before


def test_what_a_device_refuses_is_said_in_its_words() -> None:
    lacks = AlmostRight("aten::convolution", refuses=True)
    with lacks, pytest.raises(UsageError, match="not implemented for the device"):
        require_right_gradients(DEVICE.type)


def test_auto_takes_a_device_that_differentiates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_there", lambda: (DEVICE.type, "cpu"))
    with OtherDevice():
        assert device_to_train_on("auto") == DEVICE.type


def test_auto_passes_a_device_by_that_does_not_differentiate(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(device, "_there", lambda: (DEVICE.type, "cpu"))
    with AlmostRight("aten::convolution_backward"):
        assert device_to_train_on("auto") == "cpu"
        with pytest.raises(UsageError):
            device_to_train_on(DEVICE.type)
    assert "lazy is left out: gradients that are off by" in caplog.text
