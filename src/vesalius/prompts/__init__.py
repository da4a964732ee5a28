"""What a user says, real or simulated: classes, clicks and earlier masks, and what they become for a network."""
# SPDX-License-Identifier: Apache-2.0

from vesalius.prompts.encode import EncodedClicks, ObjectClicks, encode_clicks
from vesalius.prompts.targets import ClickTarget, resolve_target
from vesalius.prompts.types import ClassPrompt, MaskPrompt, PointPrompt, Prompt

__all__ = [
    "ClassPrompt",
    "ClickTarget",
    "EncodedClicks",
    "MaskPrompt",
    "ObjectClicks",
    "PointPrompt",
    "Prompt",
    "encode_clicks",
    "resolve_target",
]
