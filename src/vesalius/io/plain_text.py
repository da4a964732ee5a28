"""Text of strangers (headers, names of files) as a person may be shown it: it cannot steer a terminal."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations


def plain_text(text: str) -> str:
    r"""Write out whatever is not printable: escape sequences, line breaks, marks that turn the writing round.

    A blank in its place would make one name of two.

    Example:
        >>> plain_text("CT\x1b[31m")
        'CT\\x1b[31m'
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )
