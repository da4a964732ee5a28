"""Whether a weights file is what it should be: hash, size, keys, values, answers, and one verdict.

Only a file that passes here on a user's own machine may be called the published weights with the published numbers.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from vesalius.checkpoints.catalog import BUILTIN, CATALOG, CatalogRow
from vesalius.checkpoints.load import Loaded, find_weights_of, load_any
from vesalius.checkpoints.probe import TOLERANCE, answers_of, difference, peer_difference, peer_of, read_golden
from vesalius.checkpoints.store import first_seen_sha256
from vesalius.errors import MissingExtraError, ModelError
from vesalius.models.build import AnyNetwork
from vesalius.spec import ModelSpec

_ROUNDING = 2.0**-20
"""A change of the image of the size of rounding; sound weights answer to it far below the tolerance."""

Outcome = Literal["passed", "failed", "unknown"]
Verdict = Literal["published", "sound", "incomplete", "failed"]

VERDICTS: Mapping[Verdict, str] = {
    "published": "the published file, and our network answers as it should",
    "sound": "a whole checkpoint, and our network answers as it should; no published hash proves where it is from",
    "incomplete": "a whole checkpoint, but nothing shows that our network answers as it should",
    "failed": "do not use this file",
}


@dataclass(frozen=True)
class Check:
    """One question put to a file."""

    name: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was found out about a weights file."""

    path: Path
    size_bytes: int
    sha256: str
    md5: str
    checks: tuple[Check, ...]
    verdict: Verdict

    def as_dict(self) -> dict[str, object]:
        """Return the object that ``--json`` prints."""
        return {**dataclasses.asdict(self), "path": str(self.path), "meaning": VERDICTS[self.verdict]}


def verify(source: str | Path) -> Verification:
    """Check the weights that a name, a folder or a path means.

    Raises:
        UnknownModelError: If there are none.
        DiskError: If the file cannot be read.
    """
    path = find_weights_of(source)
    sha256, md5 = _hashes(path)
    size = path.stat().st_size
    checks = [_check_hash(sha256, md5), _check_size(path)]
    try:
        model = load_any(path)
    except ModelError as error:
        checks.append(Check("keys", "failed", f"{error.expected}; got {error.got}"))
    else:
        checks += [Check("keys", "passed", model.report.summary()), _check_values(model)]
        checks.append(_check_answers(model.network, model.spec, model.report.path, sha256))
    return Verification(
        path=path, size_bytes=size, sha256=sha256, md5=md5, checks=tuple(checks), verdict=_verdict(checks)
    )


def _verdict(checks: list[Check]) -> Verdict:
    outcomes = {check.name: check.outcome for check in checks}
    if "failed" in outcomes.values():
        return "failed"
    if outcomes["answers"] != "passed":
        return "incomplete"
    return "published" if outcomes["hash"] == "passed" else "sound"


def _hashes(path: Path) -> tuple[str, str]:
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            sha256.update(chunk)
            md5.update(chunk)
    return sha256.hexdigest(), md5.hexdigest()


def _check_hash(sha256: str, md5: str) -> Check:
    for row in CATALOG:
        if sha256 == row.sha256:
            return Check("hash", "passed", f"the SHA-256 published for {row.name}")
        if md5 in row.md5_of:
            return Check("hash", "passed", f"the MD5 published for {row.md5_of[md5]}")
    for row in CATALOG:
        if not row.is_builtin and sha256 == first_seen_sha256(row):
            return Check("hash", "unknown", f"as on the first pull of {row.name}; the publisher states no SHA-256")
    return Check("hash", "unknown", "no published hash to compare with")


def _check_size(path: Path) -> Check:
    size = path.stat().st_size
    row: CatalogRow | None = next((row for row in CATALOG if row.size_bytes == size), None)
    if row is not None:
        return Check("size", "passed", f"{size:,} bytes, as recorded for {row.repo}/{row.file}")
    return Check("size", "unknown", f"{size:,} bytes")


def _check_values(model: Loaded[AnyNetwork]) -> Check:
    strange = [
        name for name, tensor in model.network.state_dict().items() if not bool(torch.isfinite(tensor).all())
    ]
    if strange:
        return Check("values", "failed", f"not finite in {', '.join(strange[:6])}")
    return Check("values", "passed", "all finite")


def _check_answers(network: AnyNetwork, spec: ModelSpec, path: Path, sha256: str) -> Check:
    """Compare our network with another library's on the same weights, and with answers kept beside them."""
    ours, peer = answers_of(network, spec), peer_of(network)
    if not ours:
        return Check("answers", "unknown", "heads for prompts on a backbone; nothing that is known answers alike")
    said, worst, has_peer = [], 0.0, False
    golden = read_golden(path, sha256)
    if golden is not None:
        apart = difference(ours, golden.answers)
        # Whoever made the file wrote beside it how far it was from the peer's: only of our own models a proof.
        has_peer = golden.from_peer is not None and path.resolve().is_relative_to(BUILTIN)
        worst = max(apart, golden.from_peer or 0.0)
        was = (
            f"never compared with {peer}"
            if golden.from_peer is None
            else f"then {golden.from_peer:.1e} from {peer}'s, as it says"
        )
        said.append(f"{apart:.1e} from the answers kept beside it ({was})")
    try:
        apart = peer_difference(network, spec, ours)
    except MissingExtraError as error:
        said.append(f"not compared with {peer} now: {error.got}; {error.do}")
    else:
        has_peer, worst = True, max(apart, worst)
        said.append(f"{apart:.1e} from {peer}'s network")
    outcome: Outcome = "failed" if worst > TOLERANCE else "passed" if has_peer else "unknown"
    if outcome == "failed":
        wobble = difference(answers_of(network, spec, brighter_by=_ROUNDING), ours)
        if worst <= 10 * wobble:
            outcome = "unknown"
            said.append(f"these weights amplify rounding: {_ROUNDING:.0e} in the image becomes {wobble:.1e}")
    return Check("answers", outcome, f"relative difference: {', '.join(said)}; at most {TOLERANCE:.0e} allowed")
