"""Imports run down the floors, and the contract that says so can fail."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of ``pyproject.toml`` on the package in a folder's ``src``."""
    script = (
        "import sys; sys.path.insert(0, 'src')\n"
        "from importlinter.cli import lint_imports\n"
        "sys.exit(lint_imports(config_filename='pyproject.toml', no_cache=True))"
    )
    return subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False)


def test_the_package_keeps_its_floors() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout
    assert re.search(r"Contracts: \d+ kept, 0 broken", done.stdout)


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("geometry/boxes.py", "from vesalius.io import formats"),
        ("models/build.py", "import numpy"),
        ("views/preview.py", "from vesalius.checkpoints import catalog"),
        ("engine/loop.py", "from vesalius.training import recipes"),
        ("engine/loop.py", "from vesalius.inference import plan"),
    ],
    ids=["upward", "a network that knows arrays", "sideways", "a loop that knows a task", "a loop that infers"],
)
def test_a_wrong_import_is_noticed(tmp_path: Path, file: str, line: str) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    ignored = shutil.ignore_patterns("__pycache__", "*.safetensors")
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=ignored)
    target = tmp_path / "src" / "vesalius" / file
    target.write_text(f"{target.read_text()}\n{line}\n")
    done = lint(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN" in done.stdout


def test_every_python_file_opens_with_a_sentence_and_its_licence() -> None:
    files = [path for path in (ROOT / "src").rglob("*.py") if path.read_text().strip()]
    assert len(files) > 50
    wrong = []
    for path in files:
        first, *rest = path.read_text().splitlines()
        is_right = first.startswith('"""') and any(
            line == "# SPDX-License-Identifier: Apache-2.0" for line in rest[:40]
        )
        wrong += [] if is_right else [path.relative_to(ROOT).as_posix()]
    assert wrong == []
