"""Which model it is: by the hash of its weights, and of what of its spec decides what it answers."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import json
from dataclasses import MISSING, Field, asdict, fields
from typing import Any

from vesalius.checkpoints.header import SPEC_KEY, read_header
from vesalius.checkpoints.store import SPEC_FILE, stated_spec
from vesalius.checkpoints.weights import WeightsFile
from vesalius.spec import ModelSpec

_TOLD = frozenset({"name", "version", "dice", "dice_source", "confidence", "licence", "provenance", "citation"})
"""What of a spec decides no mask."""


def identity_of(weights: WeightsFile) -> str:
    """Say which weights these are; and which ``spec.json`` beside them, if it expects other things than they say.

    Raises:
        CheckpointError: If a spec is damaged.
    """
    path, name = weights.report.path, f"SHA-256 {weights.report.sha256}"
    beside = stated_spec(path, None)
    if beside is None:
        return name
    text = read_header(path).metadata.get(SPEC_KEY) if weights.report.container == "safetensors" else None
    expected = expectations_sha256(beside)
    if text is not None and expectations_sha256(ModelSpec.from_json(text)) == expected:
        return name
    return f"{name}, {SPEC_FILE} of {expected}"


def expectations_sha256(spec: ModelSpec) -> str:
    """Hash what of a spec decides masks: all of it but what was measured, and who made it.

    Fields that are as by default are left out, so that a field that specs get later changes no hash.
    """
    values = asdict(spec)
    chosen = [one for one in fields(spec) if one.name not in _TOLD]
    said = {one.name: values[one.name] for one in chosen if values[one.name] != _default_of(one)}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _default_of(field: Field[Any]) -> object:
    return field.default if field.default_factory is MISSING else field.default_factory()
