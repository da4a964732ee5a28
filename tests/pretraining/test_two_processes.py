"""Two processes pretrain as one does, sharded or not: student, teacher and heads, balanced together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from engine.line_task import same

pytestmark = pytest.mark.slow

TESTS = Path(__file__).resolve().parents[1]

SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
base, tests = Path(sys.argv[1]), sys.argv[2]
sys.path.insert(0, tests)
import torch
from engine.in_two import in_two
from pretraining.small_store import recipe, write_store
from vesalius.engine.company import Company
from vesalius.engine.team import Team, joined
from vesalius.pretraining.course import Beginning, PretrainingCourse, carry_out

store = write_store(base / "store")
chosen = recipe(loop=replace(recipe().loop, steps=20, windows=3, validate_every=10))
course = PretrainingCourse(recipe=chosen, beginning=Beginning.at_random(chosen, store), store=store)

def child(name):
    if name == "unsynchronised":
        Team.summed = lambda self, gradients, like: gradients
    if name == "apart":  # each balances the targets of its own samples
        Company.everyone = lambda self, things: list(things)
    with joined("cpu", is_sharded=name == "sharded") as team:
        carry_out(course, base / name, team=team)

torch.save(course.beginning.pupil(chosen).state_dict(), base / "begun.pt")
carry_out(course, base / "one")
for name in ("two", "sharded", "apart", "unsynchronised"):
    assert in_two(lambda _: child(name)) == (0, 0), name
"""


def test_two_processes_pretrain_as_one_and_the_test_can_tell(tmp_path: Path) -> None:
    words = [sys.executable, "-c", SCRIPT, str(tmp_path), str(TESTS)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    one = torch.load(tmp_path / "one" / "last.pt", weights_only=True)

    def off(other: dict[str, torch.Tensor], part: str) -> float:
        largest = max(float(tensor.abs().max()) for tensor in one[part].values())
        return max(float((other[name] - tensor).abs().max()) for name, tensor in one[part].items()) / largest

    two = torch.load(tmp_path / "two" / "last.pt", weights_only=True)
    sharded = torch.load(tmp_path / "sharded" / "last.pt", weights_only=True)
    assert all(same(sharded[part], two[part]) for part in ("network", "average", "optimiser"))
    control = torch.load(tmp_path / "unsynchronised" / "last.pt", weights_only=True)
    begun = torch.load(tmp_path / "begun.pt", weights_only=True)
    apart = torch.load(tmp_path / "apart" / "last.pt", weights_only=True)
    for part in ("network", "average"):
        assert off(apart[part], part) > 1e-4
        assert off(two[part], part) <= 1e-5
        assert off(control[part], part) > 1e-3
    assert off(begun, "network") > 1e-3, "something was learnt"
    files = {path.name for path in (tmp_path / "two").iterdir() if not path.name.startswith(".")}
    assert files == {path.name for path in (tmp_path / "one").iterdir() if not path.name.startswith(".")}
