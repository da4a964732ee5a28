"""Student and teacher: an encoder with two heads; the teacher is its running average, which the engine keeps.

Sizes and initialisation of DINOv3's heads (arXiv:2508.10104; official file ``dino_head.py``): three linear maps
with GELUs between them, without norms, to a unit vector that is compared with prototypes, whose length is free.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from vesalius.models.layers.rotary import RotaryAugmentation
from vesalius.models.vit import Vit, VitTokens
from vesalius.pretraining.settings import HeadSettings
from vesalius.pretraining.views import Views
from vesalius.spec import VitArchitecture


class Head(nn.Module):
    """Tells how much a token resembles each prototype.

    Args:
        width: Channels of a token.
        settings: Sizes.
    """

    def __init__(self, width: int, settings: HeadSettings) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, settings.hidden),
            nn.GELU(),
            nn.Linear(settings.hidden, settings.hidden),
            nn.GELU(),
            nn.Linear(settings.hidden, settings.bottleneck),
        )
        self.prototypes = nn.Linear(settings.bottleneck, settings.prototypes, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.prototypes.weight, std=settings.spread)

    def forward(self, tokens: Float[Tensor, "n d"]) -> Float[Tensor, "n q"]:
        """Return logits, in float32: they are divided by a few hundredths, which bf16 would not survive."""
        return self.compared(self.mapped(tokens))

    def mapped(self, tokens: Float[Tensor, "n d"]) -> Float[Tensor, "n m"]:
        """Return the unit vectors that are compared with prototypes: what logits follow from, and far smaller."""
        return functional.normalize(self.mlp(tokens).float(), dim=-1, eps=1e-6)

    def compared(self, mapped: Float[Tensor, "n m"]) -> Float[Tensor, "n q"]:
        """Return the logits of such vectors."""
        with torch.autocast(mapped.device.type, enabled=False):
            logits: Tensor = self.prototypes(mapped)
        return logits


class Pupil(nn.Module):
    """An encoder and its two heads: what learns, and in its running average, what teaches.

    Args:
        architecture: Of the encoder.
        class_head: Sizes of the head for class tokens.
        patch_head: Sizes of the head for patches.
    """

    def __init__(
        self, architecture: VitArchitecture, *, class_head: HeadSettings, patch_head: HeadSettings
    ) -> None:
        super().__init__()
        self.backbone = Vit(architecture)
        self.class_head = Head(architecture.width, class_head)
        self.patch_head = Head(architecture.width, patch_head)

    def vary(self, *, drop_path: float, rescale: float) -> None:
        """Set what is random in a pass while learning: skipped branches, and the scale of positions."""
        self.backbone.drop_paths(drop_path)
        self.backbone.augmentation = RotaryAugmentation(rescale=rescale)


class StudentSays(NamedTuple):
    """What a student says of a batch, and its tokens of the global views before any head."""

    of_global: Float[Tensor, "v b q"]
    of_local: Float[Tensor, "l b q"]
    of_hidden: Float[Tensor, "n p"]
    """Of the masked patches."""
    class_tokens: Float[Tensor, "v b d"]
    patches: Float[Tensor, "vb t d"]
    grid: tuple[int, int]


class TeacherSays(NamedTuple):
    """What a teacher, who sees everything, says of the global views; its heads are yet to compare it."""

    of_global: Float[Tensor, "v b m"]
    of_hidden: Float[Tensor, "n k"]
    """Of the patches that are masked for the student."""
    class_tokens: Float[Tensor, "v b d"]


def ask_student(student: Pupil, views: Views) -> StudentSays:
    """Show a student its views: those of one size together, and all class tokens to the head at once."""
    generator = torch.Generator().manual_seed(views.seed)
    whole = _tokens(student, views.global_views, generator, is_masked=views.is_masked)
    class_tokens = [whole.class_token]
    if len(views.local_views):
        class_tokens.append(_tokens(student, views.local_views, generator).class_token)
    logits = rearrange(student.class_head(torch.cat(class_tokens)), "(v b) q -> v b q", b=_batch(views))
    count = len(views.global_views)
    return StudentSays(
        of_global=logits[:count],
        of_local=logits[count:],
        of_hidden=student.patch_head(whole.patches[views.is_masked]),
        class_tokens=rearrange(whole.class_token, "(v b) d -> v b d", b=_batch(views)),
        patches=whole.patches,
        grid=whole.grid,
    )


@torch.no_grad()
def ask_teacher(teacher: Pupil, views: Views) -> TeacherSays:
    """Show a teacher the global views without a mask."""
    whole = _tokens(teacher, views.global_views, None)
    batch = _batch(views)
    return TeacherSays(
        of_global=rearrange(teacher.class_head.mapped(whole.class_token), "(v b) m -> v b m", b=batch),
        of_hidden=teacher.patch_head.mapped(whole.patches[views.is_masked]),
        class_tokens=rearrange(whole.class_token, "(v b) d -> v b d", b=batch),
    )


@torch.no_grad()
def ask_gram_teacher(teacher: Vit, gram_views: Float[Tensor, "v b 1 h w"]) -> Float[Tensor, "vb d y x"]:
    """Return an earlier teacher's patches of undistorted views."""
    (tokens,) = teacher(rearrange(gram_views, "v b c h w -> (v b) c h w"))
    assert isinstance(tokens, VitTokens)
    return tokens.feature_map


def _tokens(
    pupil: Pupil, views: Tensor, generator: torch.Generator | None, *, is_masked: Tensor | None = None
) -> VitTokens:
    images = rearrange(views, "v b c h w -> (v b) c h w")
    (tokens,) = pupil.backbone(images, is_masked=is_masked, generator=generator)
    assert isinstance(tokens, VitTokens)
    return tokens


def _batch(views: Views) -> int:
    return views.global_views.shape[1]
