"""Random sequences of edits: undo restores, redo returns, locks hold, what is shown is what the state says, and a
journal gives it all again."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interactive.cubes import cubes, slabs
from interactive.small_session import SHAPE, click, organs, scan
from vesalius.errors import VesaliusError
from vesalius.geometry.boxes import Box
from vesalius.geometry.packed_mask import PackedMask
from vesalius.geometry.volume import LabelMap
from vesalius.interactive.canvas import Canvas
from vesalius.interactive.history import State
from vesalius.interactive.naming import imported_labels
from vesalius.interactive.session import Session
from vesalius.prompts.types import ClassPrompt, MaskPrompt, PointPrompt

VOLUME = scan()
ORGANS = organs(VOLUME)
SLABS = slabs()
TARGETS = ("liver", "spleen", "aorta", "hepatic tumor", "new:cyst", "new:clip")

targets = st.sampled_from(TARGETS)
voxels = st.tuples(*(st.integers(0, n - 1) for n in SHAPE))
clicks = st.builds(lambda t, v, p: click(t, *v, positive=p), targets, voxels, st.booleans())
boxes = st.builds(lambda a, n: Box(a, tuple(x + n for x in a)), voxels, st.integers(1, 6))


def mask_prompt(target: str, box: Box) -> MaskPrompt:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[box.slices] = True
    return MaskPrompt(target=target, mask=mask, grid=VOLUME.grid)


prompts = st.one_of(
    clicks, clicks, st.builds(mask_prompt, targets, boxes), st.builds(lambda t: ClassPrompt(target=t), targets)
)
ids = st.integers(1, 6)
edits = st.one_of(
    st.tuples(st.just("add"), prompts),
    st.tuples(st.just("predict")),
    st.tuples(st.just("remove"), ids),
    st.tuples(st.just("move"), ids, clicks),
    st.tuples(st.sampled_from(["lock", "unlock"]), targets),
    st.tuples(st.just("rename"), targets, st.sampled_from(["one", "two", "aorta"])),
    st.tuples(st.sampled_from(["accept", "undo", "redo", "predict"])),
)

places = st.sampled_from([(10, 12, 10), (12, 12, 9), (15, 12, 10)])  # within both cubes' reach, in either organ
rivals = st.builds(
    lambda t, v, p: click(t, *v, positive=p),
    st.sampled_from(TARGETS[:2]),
    places,
    st.sampled_from([True, True, False]),
)
quarrels = st.one_of(
    st.tuples(st.just("add"), rivals),
    st.tuples(st.just("predict")),
    st.tuples(st.sampled_from(["remove", "undo"]), ids).map(lambda e: e if e[0] == "remove" else e[:1]),
    st.tuples(st.just("move"), ids, rivals),
)


def seen(session: Session) -> dict[str, Any]:
    """All that a user can see of a session, comparable."""
    return seen_labels(session.labels) | {
        "prompts": [(n, repr_of(prompt)) for n, prompt in session.prompts.items()],
        "locked": session.locked,
        "pending": session.pending,
    }


def seen_labels(labels: LabelMap) -> dict[str, Any]:
    layers = {"labels": labels.data, **labels.overlaps}
    assert len({name.casefold() for name in labels.names.values()}) == len(labels.names), "no name stands twice"
    return {
        "names": dict(labels.names),
        "layers": {name: (str(array.dtype), array.tobytes("F")) for name, array in layers.items()},
    }


def repr_of(prompt: object) -> str:
    return f"mask {prompt.target} {prompt.mask.tobytes().hex()}" if isinstance(prompt, MaskPrompt) else repr(prompt)


def shown_from_nothing(labels: LabelMap | None, state: State) -> LabelMap:
    """The labels of a state, composed at once, on no way of edits."""
    canvas = Canvas(VOLUME.grid, labels)
    names = labels.names if labels else {}
    canvas.put(canvas.draw(State(labels=imported_labels(names, canvas.layers, SLABS.vocabulary)), state))
    return canvas.label_map(state)


def check_positive_clicks(session: Session, begin: LabelMap | None) -> None:
    """A positive click's voxel has its label: unless its own answer leaves it out, or a later claim took it."""
    state, labels = session.state, session.labels
    base = shown_from_nothing(begin, replace(state, results={}, locked={}))
    layers = ({"labels": found.data, **found.overlaps} for found in (labels, base))
    shown, first = layers

    def holds(mask: PackedMask, voxel: tuple[int, ...]) -> bool:
        return bool(mask.within(Box(voxel, tuple(at + 1 for at in voxel))).any())

    for placed in state.prompts.values():
        (label, *_), prompt = placed.labels, placed.prompt
        if not isinstance(prompt, PointPrompt) or not prompt.positive or label in state.locked:
            continue
        layer, voxel = state.labels[label].layer, tuple(map(int, prompt.voxel))
        mine = state.results[label].change
        rivals = {n: r for n, r in state.results.items() if state.labels[n].layer == layer and n != label}
        is_later = any(
            r.rank > placed.rank and (holds(r.change.added, voxel) or holds(r.change.claimed, voxel))
            for r in rivals.values()
        )
        is_locked = any(holds(f.mask, voxel) for n, f in state.locked.items() if state.labels[n].layer == layer)
        answer = holds(mine.added, voxel) or (first[layer][voxel] == label and not holds(mine.removed, voxel))
        if answer and not is_later and not is_locked:
            assert shown[layer][voxel] == label, "a later positive click wins"


def check(steps: list[tuple[Any, ...]], begin: LabelMap | None) -> None:
    with cubes(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "session.jsonl"
        session = Session(SLABS, VOLUME, labels=begin, journal=path)
        past, future, held = [seen(session)], [], {}
        for verb, *arguments in steps:
            before, revision = seen(session), session.revision
            with suppress(VesaliusError):
                getattr(session, verb)(*arguments)
            after = seen(session)
            if verb == "predict" and not session.pending:
                check_positive_clicks(session, begin)
            if session.revision == revision:
                assert after == before, "a refused edit changes nothing"
            elif verb == "undo":
                future.append(past.pop())
                assert after == past[-1], "undo restores"
            elif verb == "redo":
                past.append(future.pop())
                assert after == past[-1], "redo returns"
            else:
                past, future = [*past, after], []
            held = {name: held.get(name, before["layers"]) for name in session.locked}
            for name in session.locked:
                masks = session.mask(name)
                label = next(n for n, known in after["names"].items() if known == name)
                locked = [np.frombuffer(data, kind) == label for kind, data in held[name].values()]
                assert np.array_equal(np.any(locked, axis=0), masks.ravel("F")), "locks are never broken"
            assert seen_labels(shown_from_nothing(begin, session.state)) == seen_labels(session.labels)
        end = seen(session)
        session.close()
        again = Session.open(path, SLABS, VOLUME, labels=begin)
        again.close()
        assert seen(again) == end, "a journal gives the same again"
        assert again.differences == ()


@settings(max_examples=12, deadline=None)
@given(steps=st.lists(edits, min_size=4, max_size=22), begin=st.sampled_from([ORGANS, None]))
def test_any_sequence_of_edits(steps: list[tuple[Any, ...]], begin: LabelMap | None) -> None:
    check(steps, begin)


@settings(max_examples=8, deadline=None)
@given(steps=st.lists(quarrels, min_size=8, max_size=14))
def test_any_quarrel_of_two_organs_over_the_same_voxels(steps: list[tuple[Any, ...]]) -> None:
    check([*steps, ("predict",)], ORGANS)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(steps=st.lists(edits, min_size=10, max_size=50), begin=st.sampled_from([ORGANS, None]))
def test_any_long_sequence_of_edits(steps: list[tuple[Any, ...]], begin: LabelMap | None) -> None:
    check(steps, begin)
