"""``vesalius models`` as it is typed: at once without torch, one JSON object, exit codes, nothing half done."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from vesalius.checkpoints.catalog import CATALOG, VISTA3D_SPEC
from vesalius.checkpoints.formats.vista3d_official import to_official
from vesalius.checkpoints.safetensors import write_model, write_tensors
from vesalius.cli import models
from vesalius.errors import HubError, ModelError, UnknownModelError, UsageError, VesaliusError
from vesalius.models.build import build
from vesalius.spec import ModelSpec, VistaArchitecture

SIZES = VistaArchitecture(width=8, blocks_down=(1, 1))


@pytest.fixture(autouse=True)
def _own_hub_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    torch.save({"model": to_official(build(SIZES).state_dict(), prefix="module."), "epoch": 9}, tmp_path / "old.pt")
    return tmp_path / "old.pt"


def say(*words: str | Path) -> int:
    parser = argparse.ArgumentParser()
    models.add_arguments(parser)
    return models.run(parser.parse_args([str(word) for word in words]))


def answer(capsys: pytest.CaptureFixture[str], *words: str | Path) -> Any:
    capsys.readouterr()
    assert say(*words, "--json") == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("words", [["list"], ["list", "--json"], ["info", "vista3d"], ["info", "model"]])
def test_list_and_info_answer_at_once_without_torch(tmp_path: Path, words: list[str]) -> None:
    if words[-1] == "model":
        spec = ModelSpec(name="tiny", architecture=SIZES, window_size=(32, 32, 32))
        write_model(tmp_path / "model", build(SIZES).state_dict(), spec)
        words = ["info", str(tmp_path / "model")]
    code = (
        "import argparse, sys\nfrom vesalius.cli import models\nparser = argparse.ArgumentParser()\n"
        f"models.add_arguments(parser)\nmodels.run(parser.parse_args({words!r}))\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    before = os.times()
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    after = os.times()
    assert done.stdout
    # Processor time, because other tests run beside this one; alone it is the time a user waits.
    assert after.children_user + after.children_system - before.children_user - before.children_system < 0.3


def test_the_list_names_every_model_with_its_licence(capsys: pytest.CaptureFixture[str]) -> None:
    rows = answer(capsys, "list")["models"]
    assert [row["name"] for row in rows] == [row.name for row in CATALOG]
    assert all(row["licence"] for row in rows)
    assert say("list") == 0
    text = capsys.readouterr().out
    assert all(row.name in text and row.licence in text for row in CATALOG)


def test_info_of_a_name_states_what_the_model_expects(capsys: pytest.CaptureFixture[str]) -> None:
    info = answer(capsys, "info", "vista3d")
    assert info["size_bytes"] == 871_894_112
    assert info["sha256"] == ""  # not known; stated as such, never made up
    assert ModelSpec.from_json(json.dumps(info["spec"])) == VISTA3D_SPEC
    say("info", "vista3d")
    text = capsys.readouterr().out
    assert "132 classes" in text
    listed = re.search(r"by itself it looks for 117:\n((?:  .*\n)+)and, where asked for, 15:\n((?:  .*\n)+)", text)
    assert listed is not None
    assert [len(names.split(",")) for names in listed.groups()] == [117, 15]
    assert "left kidney" in listed[1]
    assert "contradicts itself" in text


def test_info_of_a_file_tells_its_tensors_and_spec(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = ModelSpec(name="tiny", architecture=SIZES, window_size=(32, 32, 32), dice={"liver": 0.875})
    state = build(SIZES).state_dict()
    write_model(tmp_path / "model", state, spec, dtype=torch.float16)
    for source in (tmp_path / "model", tmp_path / "model" / "model.safetensors"):
        info = answer(capsys, "info", source)
        assert info["tensors"] == {"F16": len(state)}
        assert info["spec"]["name"] == "tiny"
    say("info", tmp_path / "model")
    assert "liver" in capsys.readouterr().out


def test_info_of_another_file_in_a_model_s_folder_does_not_take_the_model_s_spec(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = ModelSpec(name="tiny", architecture=SIZES, window_size=(32, 32, 32))
    write_model(tmp_path, build(SIZES).state_dict(), spec)
    write_tensors(tmp_path / "other.safetensors", {"a": torch.zeros(2)}, metadata={})
    assert answer(capsys, "info", tmp_path)["spec"]["name"] == "tiny"
    assert answer(capsys, "info", tmp_path / "other.safetensors")["spec"] is None
    (tmp_path / "spec.json").write_bytes(b"\xff\xfe not text")
    with pytest.raises(ModelError):
        say("info", tmp_path)


def test_a_foreign_file_is_converted_and_verified(
    foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = answer(capsys, "convert", foreign, "-o", tmp_path / "ours", "--precision", "fp16")
    assert (done["format"], done["prefix"], done["wrapper"], done["beside"]) == (
        "vista3d monai", "module.", "model", ["epoch"],
    )  # fmt: skip
    assert len(done["dropped"]) == 3
    found = answer(capsys, "verify", tmp_path / "ours")
    assert found["verdict"] == "sound"
    assert len(found["sha256"]) == 64
    assert say("verify", tmp_path / "ours") == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("sound: ")
    with pytest.raises(UsageError):
        say("convert", foreign, "-o", tmp_path / "ours")
    assert say("convert", foreign, "-o", tmp_path / "ours", "--overwrite") == 0
    assert "dropped: module.point_head.mask_downsample.bias" in capsys.readouterr().out


def test_a_faulty_file_ends_with_the_code_of_refused_weights(
    foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cut.pt").write_bytes(foreign.read_bytes()[:5000])
    assert say("verify", tmp_path / "cut.pt", "--json") == ModelError.exit_code == 4
    assert json.loads(capsys.readouterr().out)["verdict"] == "failed"
    with pytest.raises(ModelError):
        say("convert", tmp_path / "cut.pt", "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that serves as a hub."""
    (tmp_path / "mirror").mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path / "mirror")))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    yield tmp_path / "mirror"
    server.shutdown()
    server.server_close()
    thread.join()


def test_pull_shows_the_licence_downloads_once_and_the_model_works(
    mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = ModelSpec(name="theirs", architecture=SIZES, window_size=(32, 32, 32))
    write_model(mirror / "owner" / "model" / "resolve" / "main", build(SIZES).state_dict(), spec)
    assert say("pull", "owner/model", "--json") == 0
    out, err = capsys.readouterr()
    came = json.loads(out)
    assert (came["downloaded"], came["pinned_by"], came["licence"]) == (True, "nothing", "unknown")
    assert err.startswith("owner/model: licence unknown. Read https://huggingface.co/owner/model")
    again = answer(capsys, "pull", "owner/model")
    assert (again["downloaded"], again["pinned_by"], again["sha256"]) == (False, "first pull", came["sha256"])
    assert answer(capsys, "info", "owner/model")["spec"]["name"] == "theirs"
    assert answer(capsys, "verify", "owner/model")["verdict"] == "sound"
    say("pull", "owner/model", "--again")
    assert "as on the first pull" in capsys.readouterr().out


def test_of_the_built_in_model_nothing_is_said_to_be_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    assert say("pull", "vesalius-small") == 0
    said = capsys.readouterr().out
    assert "part of the package" in said
    assert "recorded" not in said


def test_a_file_of_another_size_than_the_catalogs_is_not_taken(mirror: Path) -> None:
    file = (
        mirror / "nvidia" / "NV-Segment-CT" / "resolve" / "main" / "vista3d_pretrained_model" / "model.safetensors"
    )
    file.parent.mkdir(parents=True)
    file.write_bytes(b"not the weights")
    with pytest.raises(HubError, match="871,894,112"):
        say("pull", "vista3d")


def test_offline_pull_says_what_to_do(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubError) as caught:
        say("pull", "vista3d")
    assert "put it at" in caught.value.do
    assert "licence NVIDIA Open Model License" in capsys.readouterr().err
    assert say("list") == 0


@pytest.mark.parametrize("words", [[action, "vesalius-smal"] for action in ("info", "pull", "verify")])
def test_a_misspelt_model_is_refused_with_what_was_meant(words: list[str]) -> None:
    with pytest.raises(UnknownModelError, match="did you mean 'vesalius-small'"):
        say(*words)


@pytest.mark.parametrize("words", [[], ["delete", "vista3d"], ["convert", "a.pt"], ["pull"]])
def test_what_is_no_command_is_a_usage_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        say(*words)
    assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_every_refusal_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file.safetensors").write_bytes(b"\x80\x04garbage")
    for words in (
        ["info", tmp_path / "file.safetensors"],
        ["info", tmp_path],
        ["convert", tmp_path, "-o", tmp_path],
    ):
        with pytest.raises(VesaliusError):
            say(*words)
