"""Make the cases of the built-in model: RAS on its working grid, Hounsfield units, one label map each.

::

    python benchmarks/built_in_model/prepare.py --data ../shared/data --cache runs/built_in_model/cases

Each becomes a ``vesalius.data.case.Case``. A class that was not looked for is never a negative.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813 - its own name for itself
from rules import filled_stomach, lungs, opposite_kidney, sides
from scipy import ndimage
from specification import SPEC
from vocabulary import (
    ABDOMEN,
    BONE,
    BOWEL,
    CLASS_IDS,
    DISC,
    DUCT,
    FAT,
    HEAD_AND_NECK,
    ID,
    MUSCLE,
    VESSEL,
)

from vesalius.data.case import Case, save_case
from vesalius.data.phantom import PhantomConfig, make_phantom
from vesalius.geometry.grid import Grid
from vesalius.geometry.resample import resample_linear, resample_points

SPACING_MM = SPEC.spacing_mm
"""The working grid: about that of the head-and-neck scans, whose labels are the best."""
RULE_SPACING_MM = (3.0, 3.0, 3.0)
"""Where the rules look."""
LUNGS = frozenset((ID["left lung"], ID["right lung"]))

OPENKBP = {1: "brainstem", 2: "spinal cord", 3: "right parotid gland", 4: "left parotid gland"}
OPENKBP |= {5: "mandible", 6: "larynx", 7: "esophagus"}
OBELISK = {1: "spleen", 3: "left kidney", 6: "liver", 7: "stomach"}
"""The four of its eight classes that are good enough to learn from."""

DEVELOPMENT = ("lits-volume-0", "3DCT_lung_baseline")
"""Torso cases kept for development; of head and neck it is the folder ``val``, which this script never opens."""


def read(path: Path) -> tuple[np.ndarray, Grid]:
    """Read a NIfTI, NRRD or MHA file as an RAS array and its grid."""
    if path.name.endswith(".nii.gz"):
        file = nib.load(path)
        data, affine = np.asarray(file.dataobj), file.affine
    else:
        image = sitk.ReadImage(str(path))
        data = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
        affine = np.eye(4)
        affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
        affine[:3, 3] = image.GetOrigin()
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # LPS -> RAS
    grid = Grid(data.shape, affine)
    order, flips = _to_ras(grid)
    data = data.transpose(order)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    return data, grid.reoriented("RAS")


def _to_ras(grid: Grid) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    from vesalius.geometry.affine import axes_between

    return axes_between(grid.axis_codes, "RAS")


def on_grid(path: Path, spacing_mm: tuple[float, float, float] = SPACING_MM) -> tuple[np.ndarray, Grid]:
    """Read an image and resample it: (i, j, k) int16 in Hounsfield units, at least -1024."""
    data, grid = read(path)
    target = grid.respaced(spacing_mm)
    image = resample_linear(np.maximum(data, -1024), grid, target).numpy()
    return np.round(image).astype(np.int16), target


def labels_on(path: Path, target: Grid, table: dict[int, int]) -> np.ndarray:
    """Read a label map, rename its ids by ``table`` (others become 0) and take the nearest voxel."""
    data, grid = read(path)
    renamed = np.zeros(data.shape, dtype=np.uint8)
    for source, label in table.items():
        renamed[data == source] = label
    return resample_points(renamed, grid, target, nearest=True)


def head_and_neck(folder: Path) -> Iterator[Case]:
    """Yield the OpenKBP training cases: human contours, lungs by rule, abdominal organs absent."""
    table = {source: ID[name] for source, name in OPENKBP.items()}
    for path in sorted((folder / "openkbp-hn-ct" / "train").glob("*_ct.nii.gz")):
        image, grid = on_grid(path)
        labels = labels_on(path.with_name(path.name.replace("_ct", "_seg")), grid, table)
        drawn = set(np.unique(labels).tolist()) - {0}
        fine_image, fine = on_grid(path, RULE_SPACING_MM)
        drawn_fine = labels_on(path.with_name(path.name.replace("_ct", "_seg")), fine, table)
        middle = float(np.argwhere(drawn_fine == ID["spinal cord"])[:, 0].mean())
        below = int(np.argwhere(drawn_fine == ID["mandible"])[:, 2].min()) - 15
        air = lungs(fine_image, middle_i=middle)
        air[:, :, max(below, 0) :] = False
        _add(labels, grid, _sided_lungs(air, middle), fine)
        yield Case(
            path.name[: -len("_ct.nii.gz")],
            "head-neck",
            image,
            labels,
            frozenset(drawn | ABDOMEN | LUNGS | {ID["brainstem"]}),
        )


def _sided_lungs(mask: np.ndarray, middle_i: float) -> np.ndarray:
    left, right = sides(mask, middle_i)
    return (left * ID["left lung"] + right * ID["right lung"]).astype(np.uint8)


def _add(labels: np.ndarray, grid: Grid, found: np.ndarray, fine: Grid) -> None:
    """Write what rules found on the fine grid into the background of a label map."""
    moved = resample_points(found, fine, grid, nearest=True)
    labels[labels == 0] = moved[labels == 0]


def abdomen(folder: Path) -> Iterator[Case]:
    """Yield the portal-venous abdomens: silver organs, the right kidney and the lungs by rule."""
    table = {source: ID[name] for source, name in OBELISK.items()}
    for path in sorted((folder / "abdomen-ct-silver").glob("*_ct.nii.gz")):
        image, grid = on_grid(path)
        labels = labels_on(path.with_name(path.name.replace("_ct", "_obelisk_silver")), grid, table)
        found, fine = abdomen_by_rule(path)
        _add(labels, grid, found, fine)
        looked_for = set(table.values()) | LUNGS | HEAD_AND_NECK
        if (found == ID["right kidney"]).any():
            looked_for.add(ID["right kidney"])
        yield Case(path.name[: -len("_ct.nii.gz")], "abdomen", image, labels, frozenset(looked_for))


def abdomen_by_rule(path: Path) -> tuple[np.ndarray, Grid]:
    """Return the lungs and, where the rule finds it, the right kidney of a portal-venous abdomen, on 3 mm."""
    image, fine = on_grid(path, RULE_SPACING_MM)
    silver = labels_on(path.with_name(path.name.replace("_ct", "_obelisk_silver")), fine, {3: 1})
    middle = float(np.median(np.argwhere(image > 300)[:, 0]))
    found = _sided_lungs(lungs(image, middle_i=middle), middle)
    found[opposite_kidney(image, silver > 0, middle)] = ID["right kidney"]
    return found, fine


def with_filled_stomach(path: Path) -> tuple[np.ndarray, Grid]:
    """Return what ``abdomen_by_rule`` does and the stomach with what fills it: to judge by, not to learn from."""
    image, fine = on_grid(path, RULE_SPACING_MM)
    silver = labels_on(path.with_name(path.name.replace("_ct", "_obelisk_silver")), fine, {7: 1})
    found, _ = abdomen_by_rule(path)
    found[filled_stomach(image, silver > 0)] = ID["stomach"]
    return found, fine


def chests(folder: Path) -> Iterator[Case]:
    """Yield chest scans: human lungs (two), and one heart and aorta with lungs by rule (two crops)."""
    cip = folder / "cip-lung-ct"
    image, grid = on_grid(cip / "ct-64.nrrd")
    codes, code_grid = read(cip / "lm-64.nrrd")
    region = codes & 255  # the low byte; 9-11 are thirds of the left lung, 12-14 of the right
    sided = np.where((region >= 9) & (region <= 11), ID["left lung"], 0)
    sided = np.where((region >= 12) & (region <= 14), ID["right lung"], sided).astype(np.uint8)
    labels = resample_points(sided, code_grid, grid, nearest=True)
    absent = HEAD_AND_NECK | {ID["bladder"]}
    yield Case("ct-64", "chest", image, labels, frozenset(absent | LUNGS))
    image, grid = on_grid(cip / "3DCT_lung_baseline_small.mha")
    labels = labels_on(cip / "3DCT_lung_baseline_mask.mha", grid, {1: ID["right lung"]})
    yield Case("3DCT_lung_baseline", "chest", image, labels, frozenset({ID["right lung"]}))
    crops = folder / "totalsegmentator-example"
    for name in ("aorta_ct", "pulmonary_ct"):
        image, grid = on_grid(crops / f"{name}.nii.gz")
        labels = labels_on(crops / "pulmonary_ct_heart_OTHER_GRID.nii.gz", grid, {1: ID["heart"]})
        looked_for = absent | LUNGS | {ID["heart"], ID["left kidney"], ID["right kidney"]}
        if name == "aorta_ct":
            aorta = labels_on(crops / "aorta_ct_organ_aorta_T264.nii.gz", grid, {1: ID["aorta"]})
            labels = np.where(aorta > 0, aorta, labels)
            looked_for |= {ID["aorta"]}
        fine_image, fine = on_grid(crops / f"{name}.nii.gz", RULE_SPACING_MM)
        spine = np.argwhere(fine_image[:, : fine_image.shape[1] // 4] > 250)
        middle = float(np.median(spine[:, 0]))
        _add(labels, grid, _sided_lungs(lungs(fine_image, middle_i=middle, has_outside=False), middle), fine)
        yield Case(name, "chest", image, labels, frozenset(looked_for))


def limbs(folder: Path) -> Iterator[Case]:
    """Yield the first fourteen sarcoma scans (limbs, hips, shoulders): what they lack is what they teach."""
    absent = HEAD_AND_NECK | frozenset(ID[n] for n in ("liver", "spleen", "pancreas", "gallbladder", "heart"))
    absent |= frozenset(ID[n] for n in ("stomach", "left kidney", "right kidney"))
    for path in sorted((folder / "sts-tumour-ct" / "train").glob("*_ct.nii.gz"))[:14]:
        image, _ = on_grid(path)
        yield Case(path.name[: -len("_ct.nii.gz")], "limb", image, np.zeros(image.shape, np.uint8), absent)


ATLAS_SPACING_MM = (1.35, 1.35, 3.0)
"""The file says 0.94x0.94x1.5 mm, which would make the kidneys 47 ml and a lumbar vertebra 17 mm high; with these
the lumbar spine, the kidneys and the pelvis have the size of an adult's."""


def atlas(folder: Path) -> Iterator[Case]:
    """Yield the SPL abdominal atlas as tissues to paint: 95 structures, in a body closed around them."""
    data, grid = read(folder / "labels-only" / "spl_abdominal_atlas_seg.nrrd")
    grid = Grid(data.shape, np.diag([*ATLAS_SPACING_MM, 1.0]))
    tissues = np.zeros(data.shape, dtype=np.uint8)
    for tissue, sources in _ATLAS.items():
        tissues[np.isin(data, list(sources))] = tissue
    tissues = np.pad(tissues, ((40, 40), (40, 40), (0, 0)))
    grid = Grid(tissues.shape, grid.affine)
    labels = resample_points(tissues, grid, grid.respaced(SPACING_MM), nearest=True)
    labels[_body(labels) & (labels == 0)] = FAT
    looked_for = HEAD_AND_NECK | frozenset((1, 2, 3, 4, 6, 7, 8, 9))
    yield Case("spl-atlas", "atlas", None, labels, looked_for)


_ATLAS: dict[int, tuple[int, ...]] = {
    ID["liver"]: (3,),
    ID["spleen"]: (4,),
    ID["pancreas"]: (6,),
    ID["aorta"]: (7,),
    ID["inferior vena cava"]: (8,),
    ID["gallbladder"]: (10,),
    ID["stomach"]: (13,),
    ID["left kidney"]: (52,),
    ID["right kidney"]: (51,),
    BOWEL: (9,),
    VESSEL: (11, 12, 71, 72, 73, 74, 75, 76, 81, 82, 83, 84, 85, 86, 117, 126, 128, 129),
    DUCT: (141, 142, 145, 146),
    MUSCLE: (32, 131, 133, 135, 136, 137, 138, 139, 140, 143, 231, 233, 235, 236, 237, 238, 239, 240, 241),
    DISC: tuple(range(551, 560)),
    BONE: (299, *range(409, 413), *range(501, 506), 600, *range(681, 693), 699, 700),
}


def _body(labels: np.ndarray) -> np.ndarray:
    """Close a body around what is labelled, slice by slice, with 15 mm of fat under the skin."""
    body = np.zeros(labels.shape, dtype=bool)
    for k in range(labels.shape[2]):
        closed = ndimage.binary_closing(np.pad(labels[:, :, k] > 0, 30), iterations=19)[30:-30, 30:-30]
        body[:, :, k] = ndimage.binary_dilation(ndimage.binary_fill_holes(closed), iterations=4)
    return np.asarray(ndimage.binary_opening(body, iterations=2))


PHANTOMS = 24


def phantoms() -> Iterator[Case]:
    """Yield procedural torsos, in every phase of contrast: organs in their places, and nobody's."""
    for seed in range(PHANTOMS):
        shape, spacing = (112, 88, 220), SPACING_MM
        config = PhantomConfig(
            shape=shape, spacing_mm=spacing, seed=seed, contrast="random", tumours=seed % 3 == 0, overlaps=False
        )
        volume, painted = make_phantom(config)
        labels = np.zeros(shape, dtype=np.uint8)
        for source, name in painted.names.items():
            own = name.partition(" lung ")[0] + " lung" if " lung " in name else name
            if own in ID:
                labels[painted.data == source] = ID[own]
        yield Case(f"phantom-{seed}", "phantom", volume.data[0], labels, CLASS_IDS - {ID["esophagus"]})


def main() -> None:
    """Prepare every training case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, default=Path("runs/built_in_model/cases"))
    arguments = parser.parse_args()
    for source in (head_and_neck, abdomen, chests, limbs, atlas):
        for case in source(arguments.data):
            if case.name not in DEVELOPMENT:
                save_case(case, arguments.cache)
    for case in phantoms():
        save_case(case, arguments.cache)
    print(len(list(arguments.cache.glob("*.npz"))), "cases in", arguments.cache)


if __name__ == "__main__":
    main()
