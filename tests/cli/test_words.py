"""Words of a command line: lists with commas, sizes, and what is none."""

from __future__ import annotations

import argparse

import pytest

from vesalius.cli.words import choices_of, names, number_of_threads, size_in_bytes


def test_names_lie_between_commas_and_blanks_around_them_do_not_count() -> None:
    assert names(" liver,left kidney ,,") == ("liver", "left kidney")


@pytest.mark.parametrize("text", ["", ",", " , "])
def test_a_list_without_a_name_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="no class is named"):
        names(text)


def test_choices_keep_their_order_and_count_once() -> None:
    assert choices_of(("a", "b", "c"))("c, a,c") == ("c", "a")


@pytest.mark.parametrize(("text", "strange"), [("a,x,y", "x, y"), (",", "','")])
def test_what_is_not_offered_is_named_beside_what_is(text: str, strange: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"^{strange} is none of a, b$"):
        choices_of(("a", "b"))(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GB", 8e9), ("8gb", 8e9), ("1.5 G", 1.5e9), ("2GiB", 2**31), ("600MB", 6e8), ("1000", 1000)],
)
def test_sizes(text: str, size: float) -> None:
    assert size_in_bytes(text) == size


@pytest.mark.parametrize("text", ["", "8XB", "-1", "0"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="no size"):
        size_in_bytes(text)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many"])
def test_what_is_no_number_of_threads_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="no number of threads"):
        number_of_threads(text)
