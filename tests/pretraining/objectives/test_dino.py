"""DINO: values and gradients against loops, and what must not count."""

from __future__ import annotations

import pytest

from pretraining.objectives.loops import TOLERANCE, dino, gap, numbers, shares, slope, tensor
from vesalius.errors import UsageError
from vesalius.pretraining.objectives.dino import DinoLoss
from vesalius.pretraining.settings import Dino

GLOBAL, LOCAL, TARGETS = 0.2 * numbers(1, 2, 3, 5), 0.2 * numbers(2, 4, 3, 5), shares(3, 2, 3, 5)
MUTATIONS = ["the same view, too", "no temperature", "global and local alike"]


@pytest.mark.parametrize("local_weight", [1.0, 0.5])
def test_value_and_gradients_agree_with_loops(local_weight: float) -> None:
    of_global, of_local = tensor(GLOBAL, learns=True), tensor(LOCAL, learns=True)
    loss = DinoLoss(Dino(local_weight=local_weight))(of_global, of_local, tensor(TARGETS))
    loss.backward()
    assert gap(loss, dino(GLOBAL, LOCAL, TARGETS, local_weight=local_weight)) <= TOLERANCE
    by_global = slope(lambda x: dino(x, LOCAL, TARGETS, local_weight=local_weight), GLOBAL)
    by_local = slope(lambda x: dino(GLOBAL, x, TARGETS, local_weight=local_weight), LOCAL)
    assert of_global.grad is not None
    assert of_local.grad is not None
    assert gap(of_global.grad, by_global) <= TOLERANCE
    assert gap(of_local.grad, by_local) <= TOLERANCE


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mutation_misses_the_tolerance_tenfold_in_value_and_gradient(mutation: str) -> None:
    of_global = tensor(GLOBAL, learns=True)
    loss = DinoLoss(Dino())(of_global, tensor(LOCAL), tensor(TARGETS))
    loss.backward()
    assert of_global.grad is not None
    assert gap(loss, dino(GLOBAL, LOCAL, TARGETS, mutation=mutation)) > 10 * TOLERANCE
    assert gap(of_global.grad, slope(lambda x: dino(x, LOCAL, TARGETS, mutation=mutation), GLOBAL)) > 10 * TOLERANCE


def test_two_global_and_eight_local_views_weigh_as_published() -> None:
    targets, local = tensor(TARGETS), tensor(0.2 * numbers(5, 8, 3, 5))
    alone = DinoLoss(Dino())(tensor(GLOBAL), local[:0], targets)
    both = DinoLoss(Dino())(tensor(GLOBAL), local, targets)
    of_local = DinoLoss(Dino(local_weight=0.0))(tensor(GLOBAL), local, targets)
    assert float(of_local) == pytest.approx(2 / 18 * float(alone), rel=1e-5)  # 0.111 of the global views' own
    assert float(both) > float(of_local)


@pytest.mark.parametrize("fields", [{"weight": -1.0}, {"temperature": 0.0}, {"local_weight": -0.1}])
def test_settings_that_make_no_sense_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Dino(**fields)
