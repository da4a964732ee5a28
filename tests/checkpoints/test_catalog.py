"""The catalog: names, look-alikes, and what is known of each model."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vesalius.checkpoints.catalog import CATALOG, VISTA3D_SPEC, find_row
from vesalius.checkpoints.store import own_file, require_weights
from vesalius.errors import UnknownModelError
from vesalius.spec import VitArchitecture


def test_a_row_is_found_by_its_name_and_by_its_repository() -> None:
    assert find_row("vista3d") is find_row("nvidia/NV-Segment-CT")
    assert find_row("vesalius-small").is_builtin


@pytest.mark.parametrize(("name", "meant"), [("vesalius-smal", "vesalius-small"), ("VISTA3", "vista3d")])
def test_a_misspelt_name_is_refused_with_what_was_meant(name: str, meant: str) -> None:
    with pytest.raises(UnknownModelError, match=f"did you mean '{meant}'"):
        find_row(name)


@pytest.mark.parametrize("name", ["", "../../etc", "a/b/c", "owner/../x", "nothing like it"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(UnknownModelError):
        find_row(name)


def test_any_other_repository_has_a_row_that_promises_nothing() -> None:
    row = find_row("owner/model")
    assert (row.repo, row.licence, row.spec, row.size_bytes, row.sha256) == (
        "owner/model",
        "unknown",
        None,
        None,
        "",
    )


def test_licences_are_stated_for_every_row() -> None:
    assert all(row.licence for row in CATALOG)
    assert "contradicts itself" in find_row("vista3d").licence_note


def test_what_the_published_model_expects() -> None:
    names = VISTA3D_SPEC.names
    assert (len(names), len(VISTA3D_SPEC.everything)) == (132, 117)
    assert (names[1], names[132]) == ("liver", "airway")
    # Tumours, vessels, composites and classes that were never trained are not part of "everything".
    assert not set(VISTA3D_SPEC.everything) & {2, 16, 18, 20, 21, 23, 24, 25, 26, 27, 128, 129, 130, 131, 132}
    assert VISTA3D_SPEC.window_size == (128, 128, 128)
    assert VISTA3D_SPEC.architecture.size_multiple == 16


def test_the_catalog_needs_no_torch() -> None:
    code = "import sys, vesalius.checkpoints.store; assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_backbones_have_rows_with_their_preset_and_no_hash_that_nobody_has_seen() -> None:
    rows = [find_row(name) for name in ("meddinov3", "dinov3-s", "dinov3-b", "dinov3-l")]
    for row in rows:
        assert row.spec is not None
        assert isinstance(row.spec.architecture, VitArchitecture)
        assert (row.sha256, row.size_bytes, dict(row.md5_of)) == ("", None, {})
        assert "DINOv3 License" in row.licence
        assert row.spec.window_hu == (-1000, 1000)
        assert row.spec.mean_std_hu == (65.1084213256836, 178.01663208007812)
    assert "test sets" in rows[0].licence_note
    assert own_file(rows[0]).name == "model.pth"
    assert own_file(rows[1]).name == "model.safetensors"


def test_a_backbone_that_is_not_here_says_what_to_type() -> None:
    with pytest.raises(UnknownModelError, match=r"models pull meddinov3.*/model.pth and put it at .*model.pth"):
        require_weights(find_row("meddinov3"))
