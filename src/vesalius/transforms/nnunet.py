"""Change windows of slices as nnU-Net does: its own transforms and numbers, by its library, batchgeneratorsv2.

nnU-Net v2, ``nnUNetTrainer.get_training_transforms`` for two dimensions (2.8.1): a turned and scaled cut out of a
larger region, noise, blur, brightness, contrast, coarser pixels, gamma of the inverted picture and of the picture.
The same seed gives what the library gives when it is called as nnU-Net calls it, bit for bit. Deliberate
differences:

- Nothing is mirrored here: names of left and right change with that (``deformation.rename``).
- Blur is always a convolution. nnU-Net measures whether a Fourier transform is faster, so that the last bits of a
  window would depend on what else the machine did.
- Slices that are looked at together are changed alike (``NnunetChanges``).
- A picture in 0..1 is brought to mean 0 and deviation 1 for it, as nnU-Net's pictures are, and back.

The library draws from the generators of the whole process. Here it draws from two that a call owns: torch's draws
are redirected by a mode of the calling thread; for NumPy's, three modules of the library are given a ``np`` whose
``random`` is the calling thread's own where it has one, and NumPy's elsewhere. So threads do not change one
another's windows, and the process' generators stay as they are. That ``np`` stays there for the life of the
process, also for others who use the library: to them it falls through to NumPy, but it is no module object.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vesalius.errors import MissingExtraError, install_line

_TRANSFORMS = "batchgeneratorsv2.transforms"
_DRAWING = (
    "batchgeneratorsv2.helpers.scalar_type",
    f"{_TRANSFORMS}.intensity.contrast",
    f"{_TRANSFORMS}.spatial.spatial",
)
"""The library's modules that draw from NumPy."""
_CHANGING = (
    "intensity.brightness",
    "intensity.contrast",
    "intensity.gamma",
    "intensity.gaussian_noise",
    "noise.gaussian_blur",
    "spatial.low_resolution",
    "spatial.spatial",
    "utils.random",
    "utils.remove_label",
)
"""Those whose transforms are used, below ``_TRANSFORMS``."""
_ELONGATED = 1.5
"""A window whose sides are further apart is turned by a few degrees only."""
_SMALLEST_SCALE = 0.85
"""By which the region is larger than the window; turned or scaled windows reach beyond it all the same, as in
nnU-Net."""
_BEYOND = -1
"""Label of what a window shows beyond the region, until it becomes background."""

_own_numpy: ContextVar[np.random.RandomState | None] = ContextVar("own_numpy", default=None)


class NnunetChanges:
    """nnU-Net's changes of windows of one size; one serves any number of threads.

    Several slices are turned and scaled by one map. Each other change happens to all of them or to none, with one
    strength: means and ranges of contrast and gamma are those of all of them together; blur and coarser pixels,
    which nnU-Net has in half of the channels, are there for all of them half as often.

    Args:
        size: Rows and columns of a window.
        slices: Neighbouring ones that are changed alike.

    Raises:
        MissingExtraError: If the library is not installed, or is one that draws otherwise.
    """

    def __init__(self, size: tuple[int, int], *, slices: int = 1) -> None:
        require_library()
        self._cut, self._changes, self._without_beyond = _chain(_library(), size, is_one=slices == 1)

    def __call__(
        self,
        image: Float[Tensor, "h w k"],
        labels: UInt8[Tensor, "h w k"],
        rng: np.random.Generator,
        *,
        is_normalised: bool = True,
    ) -> tuple[Float[Tensor, "rows columns k"], UInt8[Tensor, "rows columns k"]]:
        """Cut a window out of the middle of a region, and change it.

        Args:
            image: The region (``region_size``) as the network sees it.
            labels: Class numbers, 0, UNKNOWN.
            rng: One number is drawn from it, the seed of all else.
            is_normalised: Whether the picture has a mean of about 0 and a deviation of about 1 over a scan; else it
                is brought there by those of the region.

        Returns:
            Picture and labels. What lies beyond the region is 0 in a normalised picture, and background.
        """
        mean, deviation = (0.0, 1.0) if is_normalised else _moments(image)
        stack = (image.permute(2, 0, 1) - mean) / deviation  # [k h w], a copy: the library writes into it
        with _own_draws(int(rng.integers(2**32))):
            cut = self._cut(image=stack, segmentation=labels.permute(2, 0, 1).to(torch.int16))
            picture = cut["image"]
            shape = picture.shape
            for change, is_of_all in self._changes:
                seen = picture.reshape(1, -1, shape[2]) if is_of_all else picture  # all slices as one long one
                picture = change(image=seen)["image"].reshape(shape)
        found = self._without_beyond(segmentation=cut["segmentation"])["segmentation"]
        return (picture * deviation + mean).permute(1, 2, 0), found.to(torch.uint8).permute(1, 2, 0)


def turn_of(size: Sequence[int]) -> float:
    """Return the largest angle by which nnU-Net turns windows of some rows and columns, in radians."""
    return float(np.radians(15.0 if max(size) / min(size) > _ELONGATED else 180.0))


def region_size(size: Sequence[int]) -> tuple[int, int]:
    """Return rows and columns of the region that nnU-Net reads for a window (its ``get_patch_size``)."""
    sides = np.asarray(size, dtype=np.float64)
    turn = min(turn_of(size), np.pi / 2)
    turned = np.abs(sides @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]))
    rows, columns = (np.maximum(turned, sides) / _SMALLEST_SCALE).astype(int).tolist()
    return rows, columns


def require_library() -> None:
    """See to it that all that is used of the library can be imported, and draws where it is told.

    Raises:
        MissingExtraError: If it is not installed, or is one that draws otherwise.
    """
    _library()
    for name in _DRAWING:
        module = _module(name)
        if getattr(module, "np", None) not in (np, _NUMPY):
            raise _missing(f"one that draws otherwise ({name})")
        module.np = _NUMPY  # type: ignore[attr-defined]


def _library() -> dict[str, ModuleType]:
    """Import what ``_chain`` composes, and return it by the last part of its name."""
    return {name.rpartition(".")[2]: _module(f"{_TRANSFORMS}.{name}") for name in _CHANGING}


def _chain(
    library: dict[str, ModuleType], size: tuple[int, int], *, is_one: bool
) -> tuple[Callable[..., Any], list[tuple[Callable[..., Any], bool]], Callable[..., Any]]:
    """Return the cut, the changes in nnU-Net's order and whether each sees all slices as one, and the last step."""
    contrast, at_times = library["contrast"], library["random"].RandomTransform
    turn, part = turn_of(size), 0.5 if is_one else 1.0  # of the channels
    half = 1.0 if is_one else 0.5
    cut = library["spatial"].SpatialTransform(
        size, patch_center_dist_from_border=0, random_crop=False, p_elastic_deform=0,
        p_rotation=0.2, rotation=(-turn, turn), p_scaling=0.2, scaling=(0.7, 1.4),
        p_synchronize_scaling_across_axes=1, bg_style_seg_sampling=False, border_mode_seg="constant",
        padding_value_seg=_BEYOND,
    )  # fmt: skip
    noise = library["gaussian_noise"].GaussianNoiseTransform(
        noise_variance=(0, 0.1), p_per_channel=1, synchronize_channels=True
    )
    blur = library["gaussian_blur"].GaussianBlurTransform(
        blur_sigma=(0.5, 1.0), synchronize_channels=not is_one, synchronize_axes=False, p_per_channel=part,
        benchmark=False,
    )  # fmt: skip
    brightness = library["brightness"].MultiplicativeBrightnessTransform(
        multiplier_range=contrast.BGContrast((0.75, 1.25)), synchronize_channels=False, p_per_channel=1
    )
    stronger = contrast.ContrastTransform(
        contrast_range=contrast.BGContrast((0.75, 1.25)), preserve_range=True, synchronize_channels=False,
        p_per_channel=1,
    )  # fmt: skip
    coarser = library["low_resolution"].SimulateLowResolutionTransform(
        scale=(0.5, 1), synchronize_channels=not is_one, synchronize_axes=True, ignore_axes=None,
        allowed_channels=None, p_per_channel=part,
    )  # fmt: skip
    inverted, plain = (
        library["gamma"].GammaTransform(
            gamma=contrast.BGContrast((0.7, 1.5)), p_invert_image=share, synchronize_channels=False,
            p_per_channel=1, p_retain_stats=1,
        )
        for share in (1, 0)
    )  # fmt: skip
    changes = [
        (at_times(noise, 0.1), True),
        (at_times(blur, 0.2 * half), False),
        (at_times(brightness, 0.15), True),
        (at_times(stronger, 0.15), True),
        (at_times(coarser, 0.25 * half), False),
        (at_times(inverted, 0.1), True),
        (at_times(plain, 0.3), True),
    ]
    return cut, changes, library["remove_label"].RemoveLabelTransform(_BEYOND, 0)


def _moments(image: Tensor) -> tuple[float, float]:
    deviation, mean = torch.std_mean(image, correction=0)
    return float(mean), max(float(deviation), 1e-3)


class _OwnTorchDraws(TorchFunctionMode):
    """While it is entered, what the calling thread draws from torch comes from one generator."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self._generator = generator

    def __torch_function__(
        self, func: Any, _types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func in (torch.rand, Tensor.normal_):
            given["generator"] = self._generator
        return func(*args, **given)


class _NumpyOfThread:
    """NumPy, but that ``random`` is the calling thread's own generator, where it has one."""

    def __getattr__(self, name: str) -> Any:
        own = _own_numpy.get()
        return own if name == "random" and own is not None else getattr(np, name)


_NUMPY = _NumpyOfThread()


@contextmanager
def _own_draws(seed: int) -> Iterator[None]:
    """Have the library draw, in this thread, what seeding NumPy's and torch's generators would make it draw."""
    token = _own_numpy.set(np.random.RandomState(seed))
    try:
        with _OwnTorchDraws(torch.Generator().manual_seed(seed)):
            yield
    finally:
        _own_numpy.reset(token)


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise _missing(f"a Python without {error.name}") from None


def _missing(got: str) -> MissingExtraError:
    return MissingExtraError(
        expected="batchgeneratorsv2 0.3.6 or newer, before 0.4: nnU-Net's augmentation",
        got=got,
        do=f"{install_line('nnunet')}, or leave nnU-Net's augmentation out",
    )
