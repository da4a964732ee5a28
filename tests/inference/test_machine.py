"""The machine: torch's convolution is compared with the definition, and a wrong one is noticed."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate

from vesalius.errors import UnknownModelError, UsageError
from vesalius.inference import segmenter
from vesalius.inference.machine import (
    check_convolutions,
    convolve,
    devices,
    environment,
    require_right_convolutions,
    slow_because,
)

FAST = {
    "bf16_in_hardware": True,
    "gflops": {"fp32": 100.0, "bf16": 300.0},
    "threads": 8,
    "cores": 8,
    "processors": 8,
    "available_bytes": 32_000_000_000,
    "gpu": "some",
}


def test_the_reference_is_the_definition() -> None:
    rng = np.random.default_rng(3)
    image, weight = rng.standard_normal((2, 5, 6, 7)), rng.standard_normal((3, 2, 3, 3, 3))
    expected = np.stack(
        [sum(correlate(image[c], kernel[c], mode="constant") for c in range(2)) for kernel in weight]
    )
    np.testing.assert_allclose(convolve(image, weight), expected, rtol=0, atol=1e-12)


def test_this_torch_adds_up_in_every_precision_layout_and_stride() -> None:
    checks = check_convolutions()
    assert len({(check.precision, check.layout, check.stride) for check in checks}) == 8
    assert [check for check in checks if not check.is_right] == []
    assert all(check.difference > 0 for check in checks), "a comparison of a thing with itself"


def one_tap_missing(weight: torch.Tensor) -> torch.Tensor:
    damaged = weight.clone()
    damaged[..., 2, 2, 2] = 0
    return damaged


@pytest.mark.parametrize(
    "damage",
    [
        one_tap_missing,
        lambda weight: weight.flip(-1),
        lambda weight: weight * float("nan"),
        lambda weight: 1.05 * weight,
    ],
    ids=["one tap missing", "mirrored", "NaN", "5 % too large"],
)
def test_a_wrong_convolution_is_noticed(
    damage: Callable[[torch.Tensor], torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = torch.nn.functional.conv3d
    monkeypatch.setattr(
        torch.nn.functional, "conv3d", lambda image, weight, **how: right(image, damage(weight), **how)
    )
    assert not any(check.is_right for check in check_convolutions())
    with pytest.raises(UsageError, match="--device cpu"):
        require_right_convolutions("cpu", "fp32")


def test_a_convolution_is_made_on_the_device_that_is_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.dtype] = []

    def refuses(image: torch.Tensor, weight: torch.Tensor, **how: Any) -> torch.Tensor:
        assert image.device.type == weight.device.type == "meta"
        seen.append(image.dtype)
        raise NotImplementedError("not on this device")

    monkeypatch.setattr(torch.nn.functional, "conv3d", refuses)
    checks = check_convolutions("meta", ("fp32",))
    assert not any(check.is_wrong for check in checks), "what is refused cannot be wrong in silence"
    assert seen == [torch.float32] * 4
    assert devices()[0] == "cpu"


@pytest.mark.parametrize(
    "error",
    [
        NotImplementedError("no such kernel\nfrom a long trace"),
        TypeError("BFloat16 is not supported on MPS"),
        RuntimeError("Conv3D is not supported on MPS"),
        RuntimeError("The NVIDIA driver on your system is too old"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_a_device_refuses_is_neither_right_nor_wrong(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = torch.nn.functional.conv3d

    def refuses(image: torch.Tensor, weight: torch.Tensor, **how: Any) -> torch.Tensor:
        if image.dtype == torch.bfloat16:
            raise error
        return right(image, weight, **how)

    monkeypatch.setattr(torch.nn.functional, "conv3d", refuses)
    checks = check_convolutions()
    found = {(check.precision, check.is_right, check.is_wrong, check.refused) for check in checks}
    assert found == {("fp32", True, False, ""), ("bf16", False, False, str(error).partition("\n")[0])}
    require_right_convolutions.__wrapped__("cpu", "bf16")


def test_memory_that_runs_out_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **how: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.nn.functional, "conv3d", fails)
    with pytest.raises(torch.OutOfMemoryError):
        check_convolutions()


@pytest.mark.parametrize(("is_there", "cards"), [(True, ["cuda:0", "cuda:1"]), (False, [])])
def test_cards_that_torch_counts_but_cannot_use_are_no_devices(
    is_there: bool, cards: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: is_there)
    assert [device for device in devices() if device.startswith("cuda")] == cards


def test_a_model_is_loaded_only_on_a_device_that_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(segmenter, "require_right_convolutions", lambda *what: asked.append(what))
    monkeypatch.setattr(segmenter, "choose_device", lambda device: device)
    for device in ("cpu", "cuda:1"):
        with pytest.raises(UnknownModelError):
            segmenter.load("no such model", device=device, precision="fp32")
    assert asked == [("cuda:1", "fp32")]


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"bf16_in_hardware": False}, "does not multiply bf16"),
        ({"gflops": {"fp32": 100.0, "bf16": 90.0}}, "hardly faster"),
        ({"threads": 2}, "2 of 8 cores"),
        ({"threads": 16}, "16 threads on 8 cores"),
        ({"processors": 64}, "8 of 64 cores"),
        ({"cores": 2, "threads": 2, "processors": 2}, "2 cores"),
        ({"available_bytes": 2_000_000_000}, "2.0 GB"),
        ({"gpu": None}, "no GPU"),
    ],
)
def test_each_reason_for_slowness_is_said_and_only_it(change: dict[str, Any], part: str) -> None:
    assert slow_because(FAST) == ()
    (reason,) = slow_because(FAST | change)
    assert part in reason


def test_the_environment_names_no_person_and_no_machine() -> None:
    text = str(environment())
    secrets = [os.uname().nodename, str(os.getpid())] + [os.environ.get(name, "") for name in ("HOME", "PWD")]
    assert [secret for secret in secrets if len(secret) > 5 and secret in text] == []
    assert environment()["torch"] == torch.__version__
