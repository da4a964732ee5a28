"""The command line as a whole: what is imported, what is printed when things go wrong, and which exit code."""

from __future__ import annotations

import errno
import importlib
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import vesalius as package
from vesalius import errors
from vesalius.cli import main as door
from vesalius.cli.failures import as_typed, report
from vesalius.cli.main import COMMANDS, main

EVERY_HELP = [["--help"], *([name, "--help"] for name in COMMANDS)]


HEAVY = {"torch", "SimpleITK", "nibabel", "pydicom", "highdicom"}


def imported_by(words: list[str], *, first: str = "sys") -> tuple[set[str], str]:
    """Run a command in its own process; the modules it has imported at its end, and its stdout."""
    script = (
        f"import {first}\nimport sys, contextlib\nfrom vesalius.cli.main import main\n"
        "with contextlib.suppress(SystemExit):\n    main(sys.argv[1:])\n"
        "print(' '.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stderr.split()}, done.stdout


@pytest.mark.parametrize("words", [*EVERY_HELP, ["models", "list"], ["--version"]], ids=" ".join)
def test_help_and_list_import_nothing_heavy(words: list[str]) -> None:
    modules, stdout = imported_by(words)
    assert stdout.strip()
    assert "argparse" in modules, "the list of modules is the process's own"
    assert modules.isdisjoint(HEAVY)


def test_what_is_heavy_is_seen_so_the_check_above_can_fail() -> None:
    assert imported_by(["--version"], first="SimpleITK")[0] & HEAVY == {"SimpleITK"}


def test_every_command_has_its_module_and_every_module_keeps_the_protocol() -> None:
    for name in COMMANDS:
        module = importlib.import_module(f"vesalius.cli.{name}")
        assert callable(module.add_arguments)
        assert callable(module.run)


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)


def test_the_flags_of_segment_are_the_agreed_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["segment", "--help"])
    text = capsys.readouterr().out
    agreed = (
        "--model --classes --format --split --device --precision --overlap --max-memory --threads --seed --compat"
    )
    agreed += " --unvalidated --overwrite --series --source --dry-run --json"
    assert [flag for flag in agreed.split() if flag not in text] == []


def test_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"vesalius {package.__version__}\n"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["segmnt", "x"], "did you mean `vesalius segment`?"),
        (["frobnicate"], "see `vesalius --help`"),
        ([], "no command"),
        (["segment"], "INPUT"),
        (["segment", "x", "-o", "y", "--max-memory", "much"], "'much' is no size"),
        (["segment", "x", "-o", "y", "--threads", "0"], "no number of threads"),
        (["segment", "x", "-o", "y", "--format", "jpeg"], "none of nifti, dicom-seg, seg.nrrd"),
        (["segment", "x", "-o", "y", "--compat", "other"], "invalid choice"),
        (["segment", "x", "-o", "y", "--classes", ","], "no class is named"),
        (["finetune", "--data", "x", "--run", "y", "--new", ","], "no class is named"),
        (["segment", "x"], "add -o OUT"),
        (["segment", "x", "-o", "y", "--js"], "unrecognized arguments: --js"),
    ],
)
def test_a_wrong_command_says_what_was_expected_in_three_lines(
    words: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert part in err
    starts = [line.split(":")[0] for line in err.splitlines() if not line.startswith(" ")]
    assert starts == ["expected", "got", "do"]


def test_json_prints_the_error_as_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["segment", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert sorted(error) == ["code", "do", "expected", "got"]
    assert error["code"] == "UsageError"


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make ``vesalius doctor`` raise."""
    from vesalius.cli import doctor

    def run(args: object) -> int:
        raise error

    monkeypatch.setattr(doctor, "run", run)


def every_error(kind: type[errors.VesaliusError] = errors.VesaliusError) -> list[type[errors.VesaliusError]]:
    return [kind, *(each for child in kind.__subclasses__() for each in every_error(child))]


@pytest.mark.parametrize("kind", every_error()[1:], ids=lambda kind: kind.__name__)
def test_the_exit_code_is_that_of_the_error_tree(
    kind: type[errors.VesaliusError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(monkeypatch, kind(expected="a", got="b", do="c"))
    assert main(["doctor"]) == kind.exit_code
    assert 2 <= kind.exit_code <= 6
    assert capsys.readouterr().err == "expected: a\ngot:      b\ndo:       c\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), 5),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
            5,
        ),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA"), 5),
        (OSError(errno.ENOMEM, "no"), 5),
        (OSError(errno.ENOSPC, "No space left on device"), 5),
        (OSError(errno.EIO, "Input/output error"), 5),
        (OSError(errno.EROFS, "Read-only file system"), 5),
        (KeyboardInterrupt(), 6),
        (ValueError("oops"), 1),
        (RuntimeError("shape mismatch"), 1),
    ],
    ids=repr,
)
def test_foreign_exceptions_get_the_right_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(monkeypatch, error)
    assert main(["doctor"]) == code
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        type("OutOfMemoryError", (RuntimeError,), {})("Tried to allocate 20.00 GiB"),
        RuntimeError("CUDA error: out of memory"),
    ],
    ids=repr,
)
def test_where_a_card_is_full_the_advice_is_about_the_card(error: Exception) -> None:
    assert "--device cpu" in as_typed(error).do
    assert "--max-memory" not in as_typed(error).do
    assert "--max-memory" in as_typed(MemoryError()).do


def test_what_may_not_be_looked_at_is_no_bug_of_ours() -> None:
    found = as_typed(PermissionError(13, "Permission denied", "/closed/scan.nii.gz"))
    assert found.exit_code == 3
    assert "/closed/scan.nii.gz" in found.expected


def test_a_bug_asks_for_a_report_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(monkeypatch, ZeroDivisionError("division by zero"))
    assert main(["doctor"]) == 1
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert "ZeroDivisionError: division by zero" in err
    assert "report" in err


@pytest.mark.parametrize("words", [["--debug", "doctor"], ["doctor", "--debug"]], ids=" ".join)
def test_debug_shows_the_stack_wherever_it_stands(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raising(monkeypatch, ZeroDivisionError("division by zero"))
    assert main(words) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_error_of_ours_stays_itself() -> None:
    error = errors.DiskError(expected="a", got="b", do="c")
    assert as_typed(error) is error


def test_report_of_an_error_keeps_stdout_for_json(capsys: pytest.CaptureFixture[str]) -> None:
    report(errors.InputError(expected="a", got="b", do="c"), as_json=False, debug=False)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_ends_with_code_6(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from vesalius.cli import doctor

    def run(args: object) -> int:
        os.kill(os.getpid(), getattr(signal, name))
        time.sleep(20)
        return 0

    monkeypatch.setattr(doctor, "run", run)
    assert main(["doctor"]) == 6


def test_signal_handlers_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    from vesalius.cli import doctor

    during = []
    monkeypatch.setattr(doctor, "run", lambda args: during.append(signal.getsignal(signal.SIGTERM)) or 0)
    before = signal.getsignal(signal.SIGTERM)
    assert main(["doctor"]) == 0
    assert during != [before]
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_reader_that_goes_away_is_no_crash(tmp_path: Path) -> None:
    words = f"{sys.executable} -m vesalius series {tmp_path} --json"
    done = subprocess.run(
        ["bash", "-c", f"{words} | true"], capture_output=True, text=True, check=False, timeout=120
    )
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_the_module_and_the_script_are_the_same_door() -> None:
    assert door.main is main
    scripts = importlib.metadata.entry_points(group="console_scripts", name="vesalius")
    assert [script.value for script in scripts] == ["vesalius.cli.main:main"]


@pytest.mark.parametrize(
    ("words", "command"), [("segment a.nii --nope", "segment"), ("models info vista3d --nope x", "models info")]
)
def test_an_unknown_flag_is_answered_by_its_command(
    words: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"expected: vesalius {command} [-h]")
    assert "--nope" in said
    assert said.splitlines()[-1].endswith(f"see `vesalius {command} --help`")
