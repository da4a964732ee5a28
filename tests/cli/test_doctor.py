"""``vesalius doctor``: says what the machine has, and fails where torch does not add up."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from vesalius.cli.main import main
from vesalius.cli.request import Request
from vesalius.errors import UnknownModelError
from vesalius.inference import machine


def test_it_names_processor_memory_torch_and_speed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert torch.__version__ in text
    assert [
        word
        for word in ("processor", "bf16", "GFLOP/s", "memory", "gpu", "agrees with float64")
        if word not in text
    ] == []


def test_json_holds_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["torch"] == torch.__version__
    assert result["gflops"]["fp32"] > 0
    assert len(result["convolutions"]) == 8
    assert all(check["right"] for check in result["convolutions"])
    assert {check["device"] for check in result["convolutions"]} == {"cpu"}


def test_every_device_that_is_there_is_tried(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right, tried = machine.check_convolutions, []

    def on_the_processor(device: str) -> list[machine.ConvolutionCheck]:
        tried.append(device)
        return [replace(check, device=device, difference=float(device != "cpu")) for check in right()]

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "some card")
    monkeypatch.setattr(machine, "check_convolutions", on_the_processor)
    assert main(["doctor"]) == 1
    assert tried == ["cpu", "cuda:0", "cuda:1"]
    wrong = [line for line in capsys.readouterr().out.splitlines() if line.startswith("WRONG")]
    assert len(wrong) == 16
    assert all("cuda:" in line for line in wrong)


def test_it_does_not_die_of_a_device_and_says_what_that_refuses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = torch.nn.functional.conv3d

    def refuses(image: torch.Tensor, weight: torch.Tensor, **how: Any) -> torch.Tensor:
        if image.device.type == "meta":
            raise RuntimeError("Conv3D is not supported here")
        return right(image, weight, **how)

    def nameless() -> str:
        raise RuntimeError("CUDA unknown error")

    monkeypatch.setattr(torch.nn.functional, "conv3d", refuses)
    monkeypatch.setattr(machine, "devices", lambda: ("cpu", "meta"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", nameless)
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("refused")] == [
        f"refused    3-D convolution (meta, {precision}): Conv3D is not supported here"
        for precision in ("fp32", "bf16")
    ]
    assert lines[-1] == "right      3-D convolution agrees with float64 in 8 of 16 ways on cpu"
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["convolutions"]
    assert {
        (check["device"], check["right"], check["refused"], check["difference"] is None) for check in found
    } == {
        ("cpu", True, None, False),
        ("meta", None, "Conv3D is not supported here", True),
    }


def test_a_torch_that_is_wrong_is_code_1_and_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = torch.nn.functional.conv3d
    monkeypatch.setattr(
        torch.nn.functional, "conv3d", lambda image, weight, **how: right(image, weight.flip(2), **how)
    )
    assert main(["doctor"]) == 1
    text = capsys.readouterr().out
    assert "WRONG" in text
    assert "install another version of torch" in text
    assert main(["doctor", "--json"]) == 1
    assert not any(check["right"] for check in json.loads(capsys.readouterr().out)["convolutions"])


@pytest.mark.parametrize("threads", ["0", "-1", "two"])
def test_what_is_no_number_of_threads_is_refused(threads: str) -> None:
    assert main(["doctor", f"--threads={threads}"]) == 2


def test_torch_takes_no_more_threads_than_a_container_s_share_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr("vesalius.allowance.usable_cores", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(torch, "set_num_threads", taken.append)
    for asked in (None, 5):
        with pytest.raises(UnknownModelError):
            Request(model="no such model", threads=asked).load()
    assert taken == [2, 5]
