"""Two processes teach a small VISTA3D what one does; float32 sums, and no sums at all, do not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow

TESTS = Path(__file__).resolve().parents[1]

SCRIPT = """
import sys
from pathlib import Path
base, tests = Path(sys.argv[1]), sys.argv[2]
sys.path.insert(0, tests)
import torch
import vesalius.engine.inquiry as inquiry
from engine.in_two import in_two
from training.small_case import SPEC, case_with, recipe
from vesalius.engine.learner import Learner
from vesalius.engine.loop import train
from vesalius.engine.run import opened
from vesalius.engine.settings import LoopSettings
from vesalius.engine.team import ALONE, Team, joined
from vesalius.training.networks import new_network
from vesalius.training.vista3d_task import Vista3DTask

chosen = recipe(loop=LoopSettings(steps=20, windows=4, precision="fp32"))
task = Vista3DTask([case_with(1, 0), case_with(2, 1)], SPEC, recipe=chosen)

def learn(name, team):
    learner = Learner(new_network(SPEC, seed=0), chosen.optimisation)
    with opened(base / name, {}, team=team) as run:
        train(task, learner, run, chosen.loop, team=team)
    torch.save(learner.network.state_dict(), base / f"{name}.{team.rank}.pt")

def child(name):
    if name == "unsynchronised":
        Team.summed = lambda self, gradients, like: gradients
    if name == "float32":
        inquiry.widest = lambda device: torch.float32
    with joined("cpu") as team:
        learn(name, team)

torch.save(new_network(SPEC, seed=0).state_dict(), base / "begun.0.pt")
learn("one", ALONE)
for name in ("two", "float32", "unsynchronised"):
    assert in_two(lambda _: child(name)) == (0, 0), name
"""


def test_two_processes_learn_what_one_does_and_the_test_can_tell(tmp_path: Path) -> None:
    words = [sys.executable, "-c", SCRIPT, str(tmp_path), str(TESTS)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    one = torch.load(tmp_path / "one.0.pt", weights_only=True)

    def off(name: str) -> float:
        other = torch.load(tmp_path / f"{name}.pt", weights_only=True)
        largest = max(float(tensor.abs().max()) for tensor in one.values())
        return max(float((other[part] - one[part]).abs().max()) for part in one) / largest

    tolerance = 1e-5  # 0 was measured: sums and norms in float64 round to the same float32 but for ties
    assert max(off("two.0"), off("two.1")) <= tolerance
    assert off("begun.0") > 1000 * tolerance  # something was learnt
    assert off("float32.0") > 3 * tolerance  # 6.5e-5 to 1.3e-4 were measured: noise has no size of its own
    assert off("unsynchronised.0") > 1000 * tolerance
