"""What people write means a path where it can."""

from __future__ import annotations

from pathlib import Path

import pytest

from vesalius.io.written_paths import at_home, can_be_path


def test_a_tilde_is_a_home_folder_and_part_of_a_name_where_there_is_no_such_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert at_home("~/ct.nii.gz") == Path("/home/me/ct.nii.gz")
    assert at_home("~nobody-of-that-name/ct.nii") == Path("~nobody-of-that-name/ct.nii")
    assert at_home(Path("a", "~b")) == Path("a/~b")


@pytest.mark.parametrize(
    ("written", "can_be"), [("a b/é.nii", True), ("m\udcfcller", True), ("a\0.nii", False), ("\ud83d.nii", False)]
)
def test_a_path_has_neither_a_zero_byte_nor_half_a_letter(written: str, can_be: bool) -> None:
    assert can_be_path(written) == can_be
