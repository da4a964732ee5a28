"""Progress goes to stderr: a bar on a terminal, a few plain lines otherwise."""

from __future__ import annotations

import io
import sys

import pytest

from vesalius.cli.progress import Console


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def run_windows(console: Console, count: int) -> None:
    console._total = count
    console.phase("windows")
    for _ in range(count):
        console._window(True)


def test_a_long_run_prints_ten_lines_of_windows_and_not_one_each(capsys: pytest.CaptureFixture[str]) -> None:
    with Console("one").closing() as console:
        run_windows(console, 437)
    out, err = capsys.readouterr()
    assert out == ""
    lines = [line for line in err.splitlines() if line.startswith("one: windows ")]
    assert len(lines) == 10
    assert lines[-1] == "one: windows 437/437"


def test_a_terminal_gets_a_bar_that_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Console().closing() as console:
        run_windows(console, 20)
        assert console._bar is not None
    assert console._bar is None
    assert "windows" in terminal.getvalue()
    assert terminal.getvalue().rstrip(" ").endswith("\r"), "the line is clean for what comes next"
