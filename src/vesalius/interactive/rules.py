"""Rules: what each edit of the prompts makes of a state, and what is refused; nothing is computed here."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from vesalius.errors import GeometryError, LockedStructureError, UsageError
from vesalius.geometry.grid import Grid
from vesalius.interactive.edits import AddPrompt, MovePrompt, PromptEdit, RemovePrompt
from vesalius.interactive.history import Placed, SessionLabel, State
from vesalius.interactive.naming import class_labels, clicked_label
from vesalius.labels.vocabulary import Vocabulary
from vesalius.models.promptable import require_branch
from vesalius.prompts.types import ClassPrompt, MaskPrompt, PointPrompt, Prompt
from vesalius.spec import PromptArchitecture


@dataclass(frozen=True, kw_only=True, eq=False)
class Rules:
    """What does not change during a session, and what may be said in it.

    Args:
        grid: Of the volume.
        vocabulary: Of the model.
        architecture: Of the network; says which branches it has.
    """

    grid: Grid
    vocabulary: Vocabulary
    architecture: PromptArchitecture

    def after(self, state: State, edit: PromptEdit) -> State:
        """Return the state after an edit of the prompts.

        Raises:
            UsageError: If the edit makes no sense here; of its subclasses, ``UnknownClassError`` for a target that
                does not exist and ``LockedStructureError`` for one that is locked.
            NoHeadError: If the model lacks the branch that the prompt needs.
            GeometryError: If a mask lies on another grid.
        """
        match edit:
            case AddPrompt():
                return self._placed(state, edit.prompt_id, edit.prompt)
            case MovePrompt():
                _check_free(state, self._existing(state, edit.prompt_id).labels)
                return self._placed(state, edit.prompt_id, edit.prompt)
            case RemovePrompt():
                _check_free(state, self._existing(state, edit.prompt_id).labels)
                left = {n: placed for n, placed in state.prompts.items() if n != edit.prompt_id}
                return replace(state, prompts=left)
            case _:
                assert_never(edit)

    def _existing(self, state: State, prompt_id: int) -> Placed:
        if prompt_id not in state.prompts:
            known = ", ".join(map(str, state.prompts)) or "none"
            raise UsageError(
                expected=f"the id of a prompt that is there: {known}",
                got=str(prompt_id),
                do="give an id that `add` returned and that was neither removed, undone nor accepted",
            )
        return state.prompts[prompt_id]

    def _placed(self, state: State, prompt_id: int, prompt: Prompt) -> State:
        entries = self._about(state, prompt)
        labels = tuple(entry.label for entry in entries)
        _check_free(state, labels)
        state = replace(state, labels={**state.labels, **{entry.label: entry for entry in entries}})
        state = replace(state, prompts={**state.prompts, prompt_id: Placed(prompt, labels, state.next_rank())})
        self._refuse_shared_classes(state)
        return state

    def _about(self, state: State, prompt: Prompt) -> Sequence[SessionLabel]:
        """Return the structures a prompt is about, if it may be given here at all."""
        match prompt:
            case ClassPrompt():
                require_branch(self.architecture.class_branch, "automatic")
                return class_labels(prompt.target, state.labels, self.vocabulary)
            case PointPrompt():
                require_branch(self.architecture.point_branch, "click")
                prompt.point_ijk(self.grid)
            case MaskPrompt():
                if not prompt.grid.is_close(self.grid):
                    raise GeometryError(
                        expected="a mask on the volume's own grid",
                        got=f"one on a grid of {prompt.grid.shape}, whose voxels lie elsewhere",
                        do="resample the mask to the volume first",
                    )
            case _:
                assert_never(prompt)
        return (clicked_label(prompt.target, state.labels, self.vocabulary, self.architecture),)

    def _refuse_shared_classes(self, state: State) -> None:
        """Refuse a class prompt for a whole beside one for its part: nobody could say whose a voxel is."""
        asked = [placed for placed in state.prompts.values() if isinstance(placed.prompt, ClassPrompt)]
        class_ids = dict.fromkeys(state.labels[label].class_id for placed in asked for label in placed.labels)
        if class_ids:
            self.vocabulary.resolve([class_id for class_id in class_ids if class_id is not None])


def _check_free(state: State, labels: Sequence[int]) -> None:
    """Refuse a prompt about nothing but locked structures."""
    names = [state.labels[label].name for label in labels if label in state.locked]
    if names and len(names) == len(labels):
        raise LockedStructureError(
            expected="a prompt for a structure that may change",
            got=f"one for {names[0]!r}, which is locked",
            do=f"unlock {names[0]!r} first",
        )
