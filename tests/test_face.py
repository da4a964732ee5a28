"""The face of the package: the names it exports, what importing it costs, and that the ten lines work."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version

import pytest

import vesalius

FACE = (
    "ClassPrompt", "LabelMap", "PointPrompt", "Segmenter", "Session", "Volume", "load", "read", "write"
)  # fmt: skip


def test_the_exported_names_are_the_agreed_ones() -> None:
    assert set(FACE) <= set(vesalius.__all__)
    assert vesalius.__all__ == sorted(vesalius.__all__)


@pytest.mark.parametrize("name", vesalius.__all__)
def test_every_exported_name_is_there_and_explains_itself(name: str) -> None:
    value = getattr(vesalius, name)
    assert callable(value)
    assert value.__doc__
    assert value.__module__.startswith("vesalius.")
    assert name in dir(vesalius)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'segmnt'"):
        _ = vesalius.segmnt


def test_importing_the_package_imports_nothing_else() -> None:
    script = "import sys; before = set(sys.modules); import vesalius; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    heavy = {"torch", "numpy", "nibabel", "SimpleITK", "pydicom", "PIL"}
    assert heavy.isdisjoint(name.partition(".")[0] for name in done.stdout.split())
    assert "vesalius" in done.stdout.split()


def test_importing_everything_prints_nothing_and_sets_nothing() -> None:
    script = (
        "import logging, torch; threads = torch.get_num_threads(), torch.get_default_dtype()\n"
        "import vesalius; [getattr(vesalius, name) for name in vesalius.__all__]\n"
        "assert threads == (torch.get_num_threads(), torch.get_default_dtype())\n"
        "assert not logging.getLogger('vesalius').handlers"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


def test_the_version_is_one() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", vesalius.__version__)
    assert vesalius.__version__ == version("vesalius")
