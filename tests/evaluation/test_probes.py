"""Probes of patches and images: what features hold is found, on unseen cases; what nobody judged does not count."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from vesalius.data.case import UNKNOWN, Case
from vesalius.errors import UsageError
from vesalius.evaluation.frozen_features import Places
from vesalius.evaluation.probe_report import as_text
from vesalius.evaluation.probes import (
    CEILING,
    CHANCE,
    ProbeOptions,
    ProbeReport,
    evenly_spaced,
    patch_shares,
    pixels_of,
    probe_images,
    probe_segmentation,
)

CLASSES = {1: "liver", 2: "spleen"}
SMALL = ProbeOptions(slices=6, bank=600, patches=600, neighbours=5)


def case(number: int, *, annotated: frozenset[int] = frozenset(CLASSES)) -> Case:
    """Two blocks whose places vary from case to case; the image shows which is which."""
    rng = np.random.default_rng(number)
    labels = np.zeros((28, 24, 12), np.uint8)
    i, j = rng.integers(0, 8, 2)
    labels[i : i + 12, j : j + 10, 2:10] = 1
    labels[i + 12 : i + 20, j + 4 : j + 12, 1:8] = 2
    image = np.select([labels == 1, labels == 2], [100, 200], 0) + rng.normal(0, 5, labels.shape)
    return Case(f"case {number}", "made up", image.astype(np.int16), labels, annotated)


class Colours:
    """Features that hold the mean value of a patch, or nothing but noise."""

    patch = 4

    def __init__(self, *, noise: bool = False) -> None:
        self.noise = noise

    def of_slices(self, case: Case, slices: Sequence[int]) -> torch.Tensor:
        assert case.image_hu is not None
        chosen = torch.from_numpy(case.image_hu[:, :, :].astype(np.float32)).permute(2, 0, 1)[list(slices)]
        means = torch.nn.functional.avg_pool2d(chosen[:, None], self.patch)
        noise = torch.randn(means.shape, generator=torch.Generator().manual_seed(len(slices)))
        bands = torch.cat([(-(((means - level) / 40) ** 2)).exp() for level in (0, 100, 200)], dim=1)
        return noise if self.noise else bands

    def of_images(self, images: torch.Tensor) -> torch.Tensor:
        noise = torch.randn(len(images), 3, generator=torch.Generator().manual_seed(0))
        means = images.mean(dim=(1, 2))
        return (
            noise
            if self.noise
            else torch.stack([(-((means - level) ** 2) / 9e3).exp() for level in (0, 100, 200)], 1)
        )


@pytest.fixture(scope="module")
def report() -> ProbeReport:
    learnt, judged = [case(n) for n in range(6)], [case(n) for n in range(6, 10)]
    encoders = {"colours": Colours(), "noise": Colours(noise=True), "places": Places(4)}
    return probe_segmentation({name: (e, learnt, judged) for name, e in encoders.items()}, CLASSES, SMALL)


def mean(report: ProbeReport, features: str, probe: str = "") -> float:
    (one,) = [one for one in report.scores if (one.features, one.probe) == (features, probe)]
    return float(np.nanmean(one.values))


def test_what_features_hold_is_found_and_what_they_do_not_hold_is_not(report: ProbeReport) -> None:
    for probe in ("k-NN", "linear"):
        assert mean(report, "colours", probe) > 0.75
        assert mean(report, "noise", probe) < 0.3
        assert mean(report, "noise", probe) <= mean(report, "places", probe) < mean(report, "colours", probe)
        assert mean(report, "colours", probe) <= mean(report, CEILING) + 0.02
    assert 0.8 < mean(report, CEILING) < 1
    assert 0.1 < mean(report, CHANCE) < 0.5


def test_the_report_says_what_is_gained_over_what_learnt_nothing(report: ProbeReport) -> None:
    gains = {(first.probe, other.features): gain for first, other, gain in report.gains()}
    assert set(gains) == {(probe, other) for probe in ("k-NN", "linear") for other in ("noise", "places")}
    assert gains["linear", "noise"].better == 4
    assert not gains["linear", "noise"].is_clear, "four cases say nothing"
    record = report.as_dict()
    assert record["cases"] == 4
    assert record["scores"][0]["features"] == "colours"
    assert set(record["scores"][0]["classes"]) == {"liver", "spleen"}
    text = as_text(report)
    assert "linear: +0." in text
    assert len(text.splitlines()) == 1 + 8 + 4 + 1


def test_the_same_seed_gives_the_same_numbers() -> None:
    asked = {"colours": (Colours(), [case(0), case(1)], [case(2)])}
    first, again = (probe_segmentation(asked, CLASSES, SMALL).as_dict() for _ in range(2))
    assert first == again


def test_shares_are_those_of_the_known_pixels() -> None:
    labels = torch.zeros(1, 4, 6, dtype=torch.long)
    labels[0, :2, :2] = 2
    labels[0, :2, 2:4] = UNKNOWN
    labels[0, 0, 2] = 1
    labels[0, 2:, 4:] = 9  # a class that is not asked for
    shares, known = patch_shares(labels, [1, 2], 2)
    assert shares.shape == (1, 3, 2, 3)
    assert shares[0, :, 0, 0].tolist() == [0, 0, 1]
    assert shares[0, :, 0, 1].tolist() == [0, 1, 0]
    assert shares[0, :, 1, 2].tolist() == [1, 0, 0]
    assert known[0].tolist() == [[1, 0.25, 1], [1, 1, 1]]
    padded, part = patch_shares(labels, [1, 2], 4)
    assert padded.shape == (1, 3, 1, 2)
    assert part[0, 0].tolist() == [13 / 16, 0.5]


def test_pixels_of_patches_of_one_pixel_are_the_labels_themselves() -> None:
    labels = torch.randint(0, 3, (2, 5, 7), generator=torch.Generator().manual_seed(0))
    shares, _ = patch_shares(labels, [1, 2], 1)
    assert torch.equal(pixels_of(shares, 1, labels), labels)


def test_unknown_pixels_count_for_nothing() -> None:
    judged = case(7)
    labels = np.array(judged.labels)
    labels[:, 16:] = UNKNOWN
    image = np.array(judged.image_hu)
    image[:, 16:] = 200  # looks like a spleen, and nobody says it is none
    half = Case("half", "made up", image, labels, judged.annotated)
    whole = Case("whole", "made up", image, np.array(judged.labels), judged.annotated)
    asked = {"colours": (Colours(), [case(n) for n in range(4)], [half, whole])}
    values = next(iter(probe_segmentation(asked, CLASSES, SMALL).scores)).values
    assert values[0, 1] > 0.7 > values[1, 1]


def test_a_class_that_was_not_looked_for_everywhere_is_refused() -> None:
    partial = case(1, annotated=frozenset({1}))
    with pytest.raises(UsageError, match="case 1"):
        probe_segmentation({"colours": (Colours(), [case(0), partial], [case(2)])}, CLASSES, SMALL)
    probe_segmentation({"colours": (Colours(), [case(0), partial], [case(2)])}, {1: "liver"}, SMALL)


def test_slices_are_even_and_there() -> None:
    assert evenly_spaced(3, 12) == [2, 6, 10]
    assert evenly_spaced(24, 5) == [0, 1, 2, 3, 4]


def test_images_are_told_apart_beside_chance() -> None:
    labels = torch.arange(60) % 3
    images = labels[:, None, None] * 100.0 + torch.zeros(60, 8, 8)
    images += torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    parts = ((images[:40], labels[:40]), (images[40:], labels[40:]))
    report = probe_images({"colours": Colours(), "noise": Colours(noise=True)}, *parts, ["a", "b", "c"], SMALL)
    assert mean(report, "colours", "k-NN") == 1.0
    assert mean(report, "noise", "linear") < 0.7
    interval = next(one for one in report.scores if one.features == CHANCE).mean()
    assert interval is not None
    assert interval.estimate == pytest.approx(1 / 3)
    assert interval.n == 20
