"""A case on disk: comes back equal, is complete or absent, and never runs anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vesalius.data.case import UNKNOWN, Case, load_case, save_case
from vesalius.errors import DiskError, FileFormatError, UsageError


def a_case(**changes: object) -> Case:
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 3, 7, 9, 104, UNKNOWN], (5, 6, 7)).astype(np.uint8)
    fields: dict[str, object] = {
        "name": "a",
        "group": "chest",
        "image_hu": rng.integers(-1024, 3000, (5, 6, 7)).astype(np.int16),
        "labels": labels,
        "annotated": frozenset((3, 5, 7)),
    }
    return Case(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_case_comes_back_equal(tmp_path: Path) -> None:
    case = a_case()
    assert case.image_hu is not None
    path = save_case(case, tmp_path / "cases")
    assert [file.name for file in path.parent.iterdir()] == ["a.npz"]
    back = load_case(path)
    assert back.image_hu is not None
    assert (back.name, back.group, back.annotated) == (case.name, case.group, case.annotated)
    for ours, theirs in ((back.image_hu, case.image_hu), (back.labels, case.labels)):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)


def test_a_map_of_tissues_has_no_image(tmp_path: Path) -> None:
    assert load_case(save_case(a_case(image_hu=None), tmp_path)).image_hu is None


def test_a_scan_may_have_all_classes_of_vista3d() -> None:
    assert a_case(annotated=frozenset((3, 132, 254))).annotated == {3, 132, 254}


def test_present_are_the_classes_that_were_looked_for_and_found() -> None:
    assert a_case().present == (3, 7)  # 5 was not found, 9 not looked for, 104 is a tissue
    assert a_case(annotated=frozenset((5,))).present == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"image_hu": np.zeros((5, 6, 8), np.int16)},
        {"annotated": frozenset()},
        {"annotated": frozenset((0, 3))},
        {"annotated": frozenset((UNKNOWN,))},
        {"annotated": frozenset((101,)), "image_hu": None},
    ],
    ids=["another shape", "nothing looked for", "background", "unknown", "a tissue"],
)
def test_a_case_that_makes_no_sense_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="in a"):
        a_case(**changes)


def test_a_pickle_in_a_case_is_refused_and_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    path = save_case(a_case(), tmp_path)
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **{**arrays, "labels": np.array([Bomb()], dtype=object)})
    with pytest.raises(FileFormatError, match="prepared case"):
        load_case(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.97])
def test_a_damaged_file_is_refused(tmp_path: Path, keep: float) -> None:
    path = save_case(a_case(), tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else int(keep)])
    with pytest.raises(FileFormatError):
        load_case(path)


def test_what_is_no_case_is_refused(tmp_path: Path) -> None:
    for name, arrays in {"lacks": {"image": np.zeros(3)}, "strange": {"a": np.zeros(2)}}.items():
        np.savez(tmp_path / f"{name}.npz", **arrays)
        with pytest.raises(FileFormatError):
            load_case(tmp_path / f"{name}.npz")
    with pytest.raises(FileFormatError):
        load_case(tmp_path / "absent.npz")


def test_a_write_that_fails_leaves_the_old_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_case(a_case(), tmp_path)

    def half(part: Path, **_: object) -> None:
        part.write_bytes(b"PK")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", half)
    with pytest.raises(DiskError):
        save_case(a_case(group="other"), tmp_path)
    assert load_case(path).group == "chest"
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]
