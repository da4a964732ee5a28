"""Weights written and read: the reference library's bytes, whole or absent, one tensor in memory at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from vesalius.checkpoints.header import SPEC_KEY, read_header
from vesalius.checkpoints.safetensors import read_tensors, write_model, write_tensors
from vesalius.errors import CheckpointError, DiskError
from vesalius.spec import ModelSpec, VistaArchitecture

SPEC = ModelSpec(name="tiny", architecture=VistaArchitecture(width=4, blocks_down=(1, 1)), window_size=(32, 32, 32))


def _tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {
        "convolution": torch.randn(4, 2, 3, 3, 3, generator=generator).to(memory_format=torch.channels_last_3d),
        "half": torch.randn(5, generator=generator).half(),
        "brain": torch.randn(2, 3, generator=generator).bfloat16(),
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "counts": torch.arange(7),
        "nothing": torch.zeros(0, 3),
        "transposed": torch.randn(3, 5, generator=generator).T,
    }


def test_the_file_equals_the_reference_librarys_byte_for_byte(tmp_path: Path) -> None:
    tensors = _tensors()
    write_tensors(tmp_path / "ours", tensors, metadata={"format": "pt"})
    dense = {name: tensor.contiguous() for name, tensor in tensors.items()}
    assert (tmp_path / "ours").read_bytes() == safetensors.torch.save(dense, {"format": "pt"})


def test_reading_returns_what_was_written(tmp_path: Path) -> None:
    tensors = _tensors()
    safetensors.torch.save_file({k: v.contiguous() for k, v in tensors.items()}, tmp_path / "theirs")
    read = read_tensors(tmp_path / "theirs", {name: f"our.{name}" for name in tensors})
    assert set(read) == {f"our.{name}" for name in tensors}
    for name, tensor in tensors.items():
        assert read[f"our.{name}"].dtype == tensor.dtype
        assert torch.equal(read[f"our.{name}"], tensor)


def test_each_tensor_takes_the_type_and_layout_of_its_template(tmp_path: Path) -> None:
    tensors = _tensors()
    write_tensors(tmp_path / "file", tensors, metadata={})
    like = {name: tensor.to("meta") for name, tensor in tensors.items()}
    like["convolution"] = like["convolution"].bfloat16()
    assert like["convolution"].is_contiguous(memory_format=torch.channels_last_3d)
    read = read_tensors(tmp_path / "file", {name: name for name in tensors}, like=like)
    assert torch.equal(read["convolution"], tensors["convolution"].bfloat16())
    assert read["convolution"].is_contiguous(memory_format=torch.channels_last_3d)
    assert read["half"].dtype == torch.float16
    assert torch.equal(read["counts"], tensors["counts"])
    like["half"] = torch.empty(6, device="meta")
    with pytest.raises(CheckpointError, match=r"half \[5\] instead of \[6\]"):
        read_tensors(tmp_path / "file", {name: name for name in tensors}, like=like)


def test_tensors_not_asked_for_are_skipped_and_missing_ones_named(tmp_path: Path) -> None:
    write_tensors(tmp_path / "file", _tensors(), metadata={})
    assert set(read_tensors(tmp_path / "file", {"half": "half"})) == {"half"}
    with pytest.raises(CheckpointError, match="absent"):
        read_tensors(tmp_path / "file", {"half": "half", "absent": "absent"})


def test_a_model_folder_holds_the_spec_twice_and_nothing_else(tmp_path: Path) -> None:
    write_model(tmp_path / "model", {"a": torch.ones(3)}, SPEC, dtype=torch.float16)
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["model.safetensors", "spec.json"]
    header = read_header(tmp_path / "model" / "model.safetensors")
    assert header.tensors["a"].dtype == "F16"
    assert header.metadata["format"] == "pt"
    assert ModelSpec.from_json(header.metadata[SPEC_KEY]) == SPEC
    assert ModelSpec.from_json((tmp_path / "model" / "spec.json").read_text()) == SPEC


def test_a_failed_write_leaves_the_old_file_whole_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_tensors(path, {"a": torch.ones(3)}, metadata={})
    before = path.read_bytes()
    broken = {"a": torch.ones(3), "b": torch.ones(3, device="meta")}
    with pytest.raises((NotImplementedError, RuntimeError)):  # no bytes to copy out of a meta tensor
        write_tensors(path, broken, metadata={})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_type_the_format_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="complex64"):
        write_tensors(tmp_path / "file", {"a": torch.zeros(2, dtype=torch.complex64)}, metadata={})
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_a_disk_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    with pytest.raises(DiskError):
        write_model(tmp_path / "taken", {"a": torch.ones(3)}, SPEC)
    with pytest.raises(DiskError):
        write_tensors(tmp_path / "absent" / "file", {"a": torch.ones(3)}, metadata={})


_PEAK = """
import sys, resource, torch
from pathlib import Path
from vesalius.checkpoints.safetensors import read_tensors
from vesalius.checkpoints.header import read_header
path = Path(sys.argv[1])
def peak():
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmHWM")) / 1024
names = {name: name for name in read_header(path).tensors}
torch.zeros(2**20).bfloat16()
before = peak()
shapes = read_header(path).shapes
like = {name: torch.empty(shapes[name], dtype=torch.bfloat16, device="meta") for name in names}
state = read_tensors(path, names, like=like)
frugal = peak()
del state  # the peak of the second way is the higher one, so that both can be seen in one process
state = {k: v.bfloat16() for k, v in read_tensors(path, names).items()}
print(frugal - before, peak() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
def test_a_bf16_load_never_holds_the_fp32_copy(tmp_path: Path) -> None:
    tensors = {f"t{i:02}": torch.zeros(2 * 2**20) for i in range(8)}  # 8 tensors of 8 MB: 64 MB
    write_tensors(tmp_path / "file", tensors, metadata={})
    words = [sys.executable, "-c", _PEAK, str(tmp_path / "file")]
    out = subprocess.run(words, check=True, capture_output=True, text=True)
    frugal, both = map(float, out.stdout.split())
    # 32 MB of bf16, one tensor of 8 MB and what the interpreter takes; converting after loading holds 96 MB.
    assert frugal < 72
    assert both > 90
