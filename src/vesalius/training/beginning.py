"""Beginning: the network before a training, from a model, from a backbone that heads grow on, or at random."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from vesalius.checkpoints.identity import identity_of
from vesalius.checkpoints.load import find_weights_of
from vesalius.checkpoints.weights import open_weights
from vesalius.data.datalists.record import DataList
from vesalius.errors import UsageError
from vesalius.models.promptable import Promptable
from vesalius.spec import ModelSpec, VitArchitecture
from vesalius.training.adaptation import clicks_as_published
from vesalius.training.course_data import spec_of
from vesalius.training.networks import BACKBONE, grown_network, network_on_backbone, new_network
from vesalius.training.on_backbone import on_backbone
from vesalius.training.recipes import VistaRecipe


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """What a network is before the training.

    Args:
        spec: What it expects and names; with a branch for each kind of prompt that the recipe teaches.
        state: The weights to begin with; None begins at random.
        source: Which model that was: its name and the hash of its weights (``identity_of``).
        changes: What was chosen of names and weights that the source does not have, as plain data.
    """

    spec: ModelSpec
    state: Mapping[str, Tensor] | None
    source: str
    changes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        model: str | Path,
        recipe: VistaRecipe,
        *,
        at_random: bool = False,
        lists: Sequence[DataList] = (),
        spacing_mm: float | None = None,
    ) -> Beginning:
        """Take the spec of a model, and its weights unless these are to begin at random.

        Args:
            model: A network that takes class prompts or clicks, or a backbone: then heads grow on it.
            recipe: What is to be taught.
            at_random: Take sizes and what it expects, but no weights.
            lists: Name the structures of a network that grows on a backbone.
            spacing_mm: Side of the voxels of such a network; None: that of the backbone's pixels.

        Raises:
            ModelError: If there is no such model, or its weights are refused.
            UsageError: If it is a backbone on which no heads can grow, or is none and has a spacing of its own; if
                lists for a backbone contradict each other.
        """
        weights = None if at_random else open_weights(find_weights_of(model))
        found = weights.spec if weights else spec_of(model)
        spec, prefix = found, ""
        if isinstance(found.architecture, VitArchitecture) and lists:
            spec, prefix = on_backbone(found, lists, recipe, spacing_mm=spacing_mm), BACKBONE
        elif spacing_mm is not None:
            raise UsageError(
                expected="--spacing with a recipe of slices, or with a backbone to put heads on",
                got=f"{found.name}, a {found.architecture.kind} network",
                do="leave it out: a model of volumes keeps its own spacing",
            )
        if recipe.teaches_clicks and not spec.vista.point_branch:
            spec = replace(clicks_as_published(spec), architecture=replace(spec.vista, point_branch=True))
        if recipe.drop_label < 1 and not spec.vista.class_branch:
            spec = replace(spec, architecture=replace(spec.vista, class_branch=True))
        if weights is None:
            spec = clicks_as_published(spec)
            return cls(spec=spec, state=None, source=f"the architecture of {spec.name}, at random")
        state = {prefix + name: tensor for name, tensor in weights.read().items()}
        return cls(spec=spec, state=state, source=f"{spec.name}, {identity_of(weights)}")

    def network(self, *, seed: int) -> Promptable:
        """Return the network; what no weights were given for is random.

        Raises:
            CheckpointError: If the weights are of another network.
        """
        network = new_network(self.spec, seed=seed)
        if self.state is None:
            return network
        if all(name.startswith(BACKBONE) for name in self.state):
            return network_on_backbone(self.spec, self.state, seed=seed)
        if self.state.keys() != network.state_dict().keys():
            return grown_network(self.spec, self.state, seed=seed)
        network.load_state_dict(self.state)
        return network
