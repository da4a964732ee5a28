"""Mix cases that nobody scanned into those of a training, as a group with a share of the windows."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from vesalius.data.cache import Cache
from vesalius.data.case import Case
from vesalius.data.synthetic_cases import SYNTHETIC, painted_cases, phantom_cases
from vesalius.errors import UsageError
from vesalius.spec import ModelSpec
from vesalius.training.recipes import VistaRecipe


def mixed(
    cases: Sequence[Case],
    recipe: VistaRecipe,
    spec: ModelSpec,
    cache: Cache,
    *,
    workers: int = 1,
    on_case: Callable[[int], None] | None = None,
) -> tuple[list[Case], VistaRecipe]:
    """Return the cases of a training with its synthetic ones, and the recipe with shares for both.

    Args:
        cases: Prepared ones.
        recipe: Says how many synthetic ones there are, and their share; its seed is theirs.
        spec: The network's.
        cache: Where prepared cases are kept.
        workers: Processes that make cases at once.
        on_case: Told after each synthetic case how many cases there are.

    Raises:
        UsageError: If nothing can be made: the model names nothing that a phantom has, or sees no CT, and nobody
            drew anything in the cases.
    """
    wanted, seed = recipe.synthetic, recipe.loop.seed
    made: list[Case] = []

    def told(count: int) -> None:
        if on_case:
            on_case(len(cases) + len(made) + count)

    made += phantom_cases(spec, cache, count=wanted.phantoms, seed=seed, workers=workers, on_case=told)
    made += painted_cases(cases, spec, cache, count=wanted.paintings, seed=seed, workers=workers, on_case=told)
    if not made:
        raise UsageError(
            expected=f"label maps to paint, or structures of a phantom that {spec.name} names",
            got=f"{len(cases)} cases in which nobody drew anything that it names",
            do="train without synthetic scans",
        )
    counts = {group: float(count) for group, count in Counter(case.group for case in cases).items()}
    shares = mixed_shares(recipe.shares or counts, share=wanted.share)
    return [*cases, *made], replace(recipe, shares=shares)


def mixed_shares(shares: Mapping[str, float], *, share: float) -> dict[str, float]:
    """Return how often a window comes from each group, if a share of all comes from synthetic cases.

    Args:
        shares: How often it comes from each other group, in any unit; not all 0.
        share: In [0, 1].
    """
    total = sum(shares.values())
    return {name: part / total * (1 - share) for name, part in shares.items()} | {SYNTHETIC: share}
