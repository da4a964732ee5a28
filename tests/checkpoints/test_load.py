"""Models by name, folder and file: each loaded whole, in the precision asked for, or refused with the reason."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vesalius.checkpoints import store
from vesalius.checkpoints.formats.vista3d_official import to_official
from vesalius.checkpoints.load import find_weights_of, load_model
from vesalius.checkpoints.safetensors import write_model, write_tensors
from vesalius.errors import CheckpointError, UnknownModelError, UnsafeCheckpointError
from vesalius.models.build import build, optimise_for_inference
from vesalius.spec import ModelSpec


@pytest.fixture
def folder(tmp_path: Path, tiny_state: dict[str, Tensor], tiny_spec: ModelSpec) -> Path:
    write_model(tmp_path / "model", tiny_state, tiny_spec)
    return tmp_path / "model"


def same_weights(network: torch.nn.Module, state: dict[str, Tensor]) -> bool:
    loaded = network.state_dict()
    return set(loaded) == set(state) and all(
        torch.equal(loaded[name], state[name].to(loaded[name].dtype)) for name in state
    )


def test_a_folder_and_its_file_are_the_same_model(
    folder: Path, tiny_state: dict[str, Tensor], tiny_spec: ModelSpec
) -> None:
    for source in (folder, str(folder), folder / "model.safetensors"):
        model = load_model(source)
        assert model.spec == tiny_spec
        assert same_weights(model.network, tiny_state)
        assert not model.network.training
        assert not any(parameter.requires_grad for parameter in model.network.parameters())
        assert model.report.format == "vesalius"
        assert model.report.loaded == len(tiny_state)


def test_a_single_file_carries_its_spec(folder: Path, tmp_path: Path, tiny_spec: ModelSpec) -> None:
    alone = tmp_path / "elsewhere.safetensors"
    shutil.copy(folder / "model.safetensors", alone)
    assert load_model(alone).spec == tiny_spec


def test_a_model_in_the_home_of_nobody_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="check the path"):
        find_weights_of("~nobody-of-that-name/model.pt")
    Path("~nobody-of-that-name").touch()
    assert find_weights_of("~nobody-of-that-name") == Path("~nobody-of-that-name")


def test_the_spec_beside_goes_before_the_one_inside(folder: Path, tiny_spec: ModelSpec) -> None:
    (folder / "spec.json").write_text(replace(tiny_spec, version="2").to_json())
    assert load_model(folder).spec.version == "2"


def test_every_tensor_has_the_type_and_layout_the_network_wants(folder: Path, tiny_spec: ModelSpec) -> None:
    wanted = optimise_for_inference(build(tiny_spec.architecture), dtype=torch.bfloat16).state_dict()
    loaded = load_model(folder, dtype=torch.bfloat16).network.state_dict()
    assert {tensor.dtype for tensor in wanted.values()} == {torch.bfloat16, torch.float32}
    for name, tensor in wanted.items():
        assert loaded[name].dtype == tensor.dtype, name
        assert loaded[name].stride() == tensor.stride(), name


def test_the_hash_is_that_of_the_file(folder: Path) -> None:
    import hashlib

    report = load_model(folder).report
    assert report.sha256 == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("layout", ["monai", "research"])
@pytest.mark.parametrize("how", ["safetensors", "pt", "wrapped pt", "old pt"])
def test_official_files_load_strictly_and_say_what_they_left_out(
    tmp_path: Path, tiny_state: dict[str, Tensor], layout: Any, how: str
) -> None:
    official = to_official(tiny_state, layout, prefix="network." if how == "safetensors" else "module.")
    path = tmp_path / ("model.safetensors" if how == "safetensors" else "model.pt")
    if how == "safetensors":
        write_tensors(path, official, metadata={"format": "pt"})
    else:
        saved: object = {"state_dict": official, "epoch": 3} if how == "wrapped pt" else official
        torch.save(saved, path, _use_new_zipfile_serialization=how != "old pt")
    model = load_model(path)
    assert same_weights(model.network, tiny_state)
    report = model.report
    assert report.format == f"vista3d {layout}"
    assert report.container == {"safetensors": "safetensors", "old pt": "pickle"}.get(how, "torch zip")
    assert report.prefix == ("network." if how == "safetensors" else "module.")
    assert len(report.dropped) == (3 if layout == "monai" else 19)
    assert (report.wrapper, report.beside) == (("state_dict", ("epoch",)) if how == "wrapped pt" else ("", ()))
    assert "unused tensors dropped" in report.summary()


def test_names_find_the_package_and_the_hub_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_state: dict[str, Tensor], tiny_spec: ModelSpec
) -> None:
    monkeypatch.setattr(store, "BUILTIN", tmp_path / "builtin")
    with pytest.raises(UnknownModelError):
        load_model("vesalius-small")
    write_model(tmp_path / "builtin" / "vesalius-small", tiny_state, tiny_spec, dtype=torch.float16)
    assert load_model("vesalius-small").spec == tiny_spec
    with pytest.raises(UnknownModelError, match="models pull vista3d"):
        load_model("vista3d")
    official = to_official(tiny_state)
    (tmp_path / "hf" / "vesalius" / "vista3d").mkdir(parents=True)
    write_tensors(tmp_path / "hf" / "vesalius" / "vista3d" / "model.safetensors", official, metadata={})
    assert same_weights(load_model("vista3d").network, tiny_state)
    with pytest.raises(UnknownModelError, match="did you mean"):
        load_model("vesalius-smol")


def test_a_path_that_is_not_there_is_not_taken_for_a_name(tmp_path: Path) -> None:
    for source in (tmp_path / "vista3d", "absent/model.safetensors", "model.pt"):
        with pytest.raises(CheckpointError, match="check the path"):
            load_model(source)
    with pytest.raises(CheckpointError, match="without weights"):
        load_model(tmp_path)
    torch.save({"a": torch.ones(1)}, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=r"weights\.pt"):
        load_model(tmp_path)


def _change_spec(folder: Path, **changes: Any) -> None:
    fields = json.loads((folder / "spec.json").read_text())
    fields.update(changes)
    (folder / "spec.json").write_text(json.dumps(fields))


def test_weights_that_do_not_fit_their_spec_are_refused(folder: Path, tiny_spec: ModelSpec) -> None:
    architecture = json.loads(tiny_spec.to_json())["architecture"]
    _change_spec(folder, architecture={**architecture, "width": 16})
    with pytest.raises(CheckpointError, match="another shape"):
        load_model(folder)
    _change_spec(folder, architecture={**architecture, "point_branch": False})
    with pytest.raises(CheckpointError, match="point_"):
        load_model(folder)
    _change_spec(folder, architecture=architecture)
    load_model(folder)
    _change_spec(folder, colour="red")
    with pytest.raises(CheckpointError, match="colour"):
        load_model(folder)


@pytest.mark.parametrize("change", ["missing", "extra", "renamed"])
def test_every_tensor_of_our_own_is_accounted_for(
    tmp_path: Path, tiny_state: dict[str, Tensor], tiny_spec: ModelSpec, change: str
) -> None:
    state = dict(tiny_state)
    tensor = state.pop("point_head.mask_conv.bias") if change != "extra" else torch.ones(1)
    if change != "missing":
        state["point_head.mask_conv.extra"] = tensor
    write_model(tmp_path / "model", state, tiny_spec)
    with pytest.raises(CheckpointError, match=r"point_head\.mask_conv"):
        load_model(tmp_path / "model")


def test_a_file_of_no_format_we_know_is_refused(tmp_path: Path) -> None:
    write_tensors(tmp_path / "other.safetensors", {"conv.weight": torch.ones(2)}, metadata={})
    with pytest.raises(CheckpointError, match=r"conv\.weight"):
        load_model(tmp_path / "other.safetensors")


class Trap:
    """Unpickles to a command that leaves a file behind."""

    def __init__(self, evidence: Path) -> None:
        self.evidence = evidence

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.evidence,)


@pytest.mark.parametrize("suffix", ["pt", "pth", "safetensors", "json", "npz", "zip"])
@pytest.mark.parametrize("how", ["pickle", "torch", "zip"])
def test_a_pickle_planted_under_any_name_is_refused_and_not_executed(tmp_path: Path, suffix: str, how: str) -> None:
    evidence = tmp_path / "executed"
    pickle.loads(pickle.dumps(Trap(evidence)))
    assert evidence.exists()  # the trap works
    evidence.unlink()
    path = tmp_path / f"model.{suffix}"
    if how == "pickle":
        path.write_bytes(pickle.dumps({"weight": Trap(evidence)}))
    elif how == "torch":
        torch.save({"weight": Trap(evidence)}, path)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("weight.npy", pickle.dumps(Trap(evidence)))
    with pytest.raises(UnsafeCheckpointError):
        load_model(path)
    assert not evidence.exists()


def test_a_pickle_planted_as_the_spec_is_refused_and_not_executed(folder: Path, tmp_path: Path) -> None:
    evidence = tmp_path / "executed"
    (folder / "spec.json").write_bytes(pickle.dumps(Trap(evidence)))
    with pytest.raises(UnsafeCheckpointError):
        load_model(folder)
    assert not evidence.exists()


_PUBLISHED = """
import sys, torch
from pathlib import Path
from vesalius.checkpoints.load import find_weights_of, load_model
def status(what):
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith(what)) / 1024
import vesalius.models.build
before = status("VmRSS")
model = load_model(Path(sys.argv[1]), dtype=getattr(torch, sys.argv[2]))
print(status("VmHWM") - before, status("VmRSS") - before, model.report.loaded, len(model.report.dropped))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
def test_a_file_in_the_published_layout_has_its_size_and_loads_frugally(tmp_path: Path) -> None:
    from vesalius.spec import VistaArchitecture

    with torch.device("meta"):
        template = build(VistaArchitecture()).state_dict()
    official = to_official({name: torch.zeros(tensor.shape) for name, tensor in template.items()})
    path = tmp_path / "model.safetensors"
    write_tensors(path, official, metadata={"format": "pt"})
    del official
    assert path.stat().st_size == 871_894_112
    peaks = {}
    for dtype in ("bfloat16", "float32"):
        out = subprocess.run(
            [sys.executable, "-c", _PUBLISHED, str(path), dtype], check=True, capture_output=True, text=True
        )
        peak, _, loaded, dropped = out.stdout.split()
        assert (loaded, dropped) == ("256", "3")
        peaks[dtype] = float(peak)
    # 832 MiB of fp32, 416 of bf16; the largest tensor takes 61 in the file.
    assert peaks["bfloat16"] < 416 + 61 + 80
    assert 832 <= peaks["float32"] < 832 + 61 + 80
