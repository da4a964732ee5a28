"""A model of slices on the command line: the same files as any other, its own options, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from inference.slice_model import slice_network, slice_spec
from vesalius.checkpoints.safetensors import write_model
from vesalius.cli.main import main


@pytest.fixture(scope="module")
def slice_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = slice_spec(spacing_mm=(4.0, 4.0, 0.0))
    folder = tmp_path_factory.mktemp("models") / "slices"
    write_model(folder, slice_network(spec).state_dict(), spec)
    return folder


def segment(scan: Path, out: Path, model: Path, *more: str) -> int:
    words = ["segment", str(scan), "-o", str(out), "--model", str(model), "--precision", "fp32", *more]
    return main(words)


def test_it_leaves_the_agreed_files_and_labels_on_the_input_s_grid(
    scan: Path, slice_model: Path, tmp_path: Path
) -> None:
    assert segment(scan, tmp_path / "out", slice_model, "--format", "nifti,seg.nrrd") == 0
    pages = {"preview.png", "report.html", "run.json", "statistics.csv"}
    labels = {"labels.json", "labels.nii.gz", "labels.seg.nrrd"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == pages | labels
    image, labels = nib.load(scan), nib.load(tmp_path / "out" / "labels.nii.gz")
    assert labels.shape == image.shape
    assert np.array_equal(labels.affine, image.affine)
    assert len(np.unique(np.asarray(labels.dataobj))) > 1
    plan = json.loads((tmp_path / "out" / "run.json").read_text())["plan"]
    assert (plan["windows"], plan["planes"][0]["orientation"], plan["mirror"]) == (20, "PLS", False)


def test_reflections_and_planes_are_asked_for_by_name_and_belong_to_the_result(
    scan: Path, slice_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--mirror", "--planes", "axial,sagittal")
    assert segment(scan, tmp_path / "out", slice_model, *more, "--dry-run", "--json") == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert [plane["orientation"] for plane in plan["planes"]] == ["PLS", "IPL"]
    assert plan["mirror"] is True
    assert segment(scan, tmp_path / "out", slice_model, *more) == 0
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert " ".join(more) in " ".join(run["command"])
    assert segment(scan, tmp_path / "out", slice_model, *more) == 0
    assert "already holds the result" in capsys.readouterr().out
    assert segment(scan, tmp_path / "out", slice_model, "--mirror") == 2, "another command"


@pytest.mark.parametrize("more", [("--mirror",), ("--planes", "coronal")])
def test_a_model_of_volumes_refuses_them(
    more: tuple[str, ...], scan: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment(scan, tmp_path / "out", tiny_model, *more) == 2
    assert "a model of slices" in capsys.readouterr().err


def test_an_unknown_plane_and_a_published_pipeline_of_volumes_are_refused(
    scan: Path, slice_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segment(scan, tmp_path / "out", slice_model, "--planes", "frontal") == 2
    assert "axial, coronal, sagittal" in capsys.readouterr().err
    assert segment(scan, tmp_path / "out", slice_model, "--compat", "paper") == 2
    assert not (tmp_path / "out").exists()
