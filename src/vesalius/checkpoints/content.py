"""What a weights file is, by its first bytes and its table of contents; nothing is unpickled to find out.

A file's name is a claim, not evidence: a pickle named ``model.safetensors`` is still a pickle.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Literal

from vesalius.errors import CheckpointError, UnsafeCheckpointError

Content = Literal["safetensors", "torch zip", "pickle"]

PYTORCH_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin")
"""Names under which PyTorch's own files travel."""

_MAX_MEMBERS = 100_000


def recognise(path: Path) -> Content:
    """Say what a weights file is.

    Returns:
        ``safetensors``, ``torch zip`` (what ``torch.save`` writes since 1.6) or ``pickle`` (what it wrote before).

    Raises:
        CheckpointError: If the file is none of these.
        UnsafeCheckpointError: If it is a kind of file that can carry code and that we never open: a pickle
            or PyTorch archive under a name that promises otherwise, a TorchScript archive, a compressed or
            foreign zip.
    """
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise _unknown(path, str(error)) from None
    if head[:4] == b"PK\x03\x04":
        return _recognise_zip(path)
    if len(head) > 8 and head[8:9] == b"{" and head[7:8] == b"\0":
        return "safetensors"
    if _starts_like_pickle(head) or path.suffix in PYTORCH_SUFFIXES:
        if path.suffix not in PYTORCH_SUFFIXES:
            raise _unsafe(path, f"a pickle under the name {path.name}")
        return "pickle"
    raise _unknown(path, "an empty file" if not head else f"a file that begins with {head[:8]!r}")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_pickled_text(path: Path, content: bytes) -> None:
    """Refuse a pickle or a zip standing where a text file such as ``spec.json`` belongs.

    Raises:
        UnsafeCheckpointError: If the content is one.
    """
    if _starts_like_pickle(content[:2]) or content[:4] == b"PK\x03\x04":
        raise _unsafe(path, f"a pickle or an archive under the name {path.name}")


def _starts_like_pickle(head: bytes) -> bool:
    # Protocol 2 and later begin with the opcode PROTO and its number; the older ones have no mark of their own.
    return len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5


def _recognise_zip(path: Path) -> Content:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _unknown(path, f"a damaged or incomplete archive ({error})") from None
    names = {member.filename.split("/", 1)[-1] for member in members}
    if "data.pkl" not in names:
        raise _unsafe(path, "an archive that torch.save did not write")
    if "constants.pkl" in names or any(name.startswith("code/") for name in names):
        raise _unsafe(path, "a TorchScript archive, which is a program")
    if len(members) > _MAX_MEMBERS or any(member.compress_type != zipfile.ZIP_STORED for member in members):
        # torch.save stores tensors uncompressed; a compressed member may unfold to any size.
        raise _unsafe(path, "an archive with compressed or too many members")
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise _unsafe(path, "an archive that claims more bytes than it has")
    if path.suffix not in PYTORCH_SUFFIXES:
        raise _unsafe(path, f"a PyTorch archive under the name {path.name}")
    return "torch zip"


def _unsafe(path: Path, got: str) -> UnsafeCheckpointError:
    return UnsafeCheckpointError(
        expected=f"weights as safetensors, or a plain PyTorch state dict, at {path}",
        got=f"{got}; such a file can run code when it is opened, so it was not",
        do="ask the publisher for a .safetensors file; if you trust this one, convert it where it was made",
    )


def _unknown(path: Path, got: str) -> CheckpointError:
    return CheckpointError(
        expected=f"a weights file (safetensors, or a PyTorch state dict named .pt or .pth) at {path}",
        got=got,
        do="check the path, and that the download is complete",
    )
