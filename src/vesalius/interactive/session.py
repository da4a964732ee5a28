"""Session: one volume, one user; prompts in, what changed out.

Everything that is seen is a function of the base labels and the history of edits. So a click that is removed takes
its effect back, undo restores what was, and the journal, which holds the edits, gives the same labels again.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from vesalius.geometry.boxes import Box
from vesalius.geometry.volume import LabelMap, Volume
from vesalius.inference.segmenter import Segmenter, SegmentOptions
from vesalius.interactive.edits import (
    Accept,
    AddPrompt,
    Lock,
    MovePrompt,
    Predict,
    PromptEdit,
    Redo,
    RemovePrompt,
    Rename,
    Undo,
    Unlock,
)
from vesalius.interactive.features import CACHE_BYTES, TensorCache
from vesalius.interactive.history import State
from vesalius.interactive.identity import check_inputs, check_same, identify
from vesalius.interactive.journal import Journal
from vesalius.interactive.ledger import Ledger, outcome_of
from vesalius.interactive.replay import replay
from vesalius.interactive.workspace import QuickEdit, Workspace
from vesalius.prompts.click_files import write_clicks
from vesalius.prompts.types import PointPrompt, Prompt
from vesalius.shapes import LabelArray, MaskArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """What a prediction changed.

    Args:
        targets: Names of the structures that were computed; none where no prompt had changed.
        box: The smallest box around every voxel that changed, in the volume's voxels; None where none did.
        layers: Layer -> the labels of that box now; the base layer is ``"labels"``.
        revision: Of the session, now that it shows this.
    """

    targets: tuple[str, ...]
    box: Box | None
    layers: Mapping[str, LabelArray] = field(repr=False)
    revision: int


class Session:
    """Correct labels by clicks, from an automatic result, an imported label map, or nothing.

    Every edit is one step of the history, a prediction too: ``undo`` goes back one. While a prediction runs in one
    thread, others may add, remove and move prompts: that is acknowledged (and in the journal) at once, and takes
    its place after the prediction. All other edits wait for it.

    Every edit takes ``revision``: the one the user looked at. If the session has moved on since, the edit is
    refused with ``StaleRevisionError``; None is whatever is now.

    Args:
        segmenter: The model.
        volume: The image; one channel.
        labels: To begin with, on the volume's grid; None is background everywhere. Must not be written to.
        journal: A new file, to which every edit is written before it is acknowledged; None keeps no journal.
        cache_bytes: Held at most for what the network has said: image maps of windows, logits of clicks.
        options: Of automatic segmentation, for class prompts.

    Raises:
        NotValidatedError: For an image the model was not made for, unless ``options`` say to go on.
        InputError: For more than one channel.
        GeometryError: If the labels lie on another grid.
        UsageError: If there is a journal already; ``Session.open`` goes on with it.

    Example:
        >>> session = vesalius.Session(segmenter, volume, labels=organs)  # doctest: +SKIP
        >>> session.add(vesalius.PointPrompt(target="liver", ras_mm=(12.0, -40.5, 88.0)))  # doctest: +SKIP
        1
        >>> session.predict().targets  # doctest: +SKIP
        ('liver',)
    """

    def __init__(
        self,
        segmenter: Segmenter,
        volume: Volume,
        *,
        labels: LabelMap | None = None,
        journal: Path | str | None = None,
        cache_bytes: int = CACHE_BYTES,
        options: SegmentOptions | None = None,
    ) -> None:
        options = options or SegmentOptions()
        check_inputs(volume, labels)
        segmenter.check(volume, options)
        self._workspace = Workspace(segmenter, volume, labels, options=options, cache_bytes=cache_bytes)
        self._latest = self._workspace.state
        self._queued: list[PromptEdit] = []
        self._is_predicting = False
        self._turn = threading.Lock()
        self._lock = threading.RLock()
        self._ledger = Ledger()
        if journal is not None:
            self._ledger.journal = Journal.create(Path(journal), identify(segmenter, volume, labels, options))
        self.differences: tuple[str, ...] = ()
        """After ``open``: what is not as it was when the journal was made; empty where all is."""

    @classmethod
    def open(
        cls,
        journal: Path | str,
        segmenter: Segmenter,
        volume: Volume,
        *,
        labels: LabelMap | None = None,
        cache_bytes: int = CACHE_BYTES,
        options: SegmentOptions | None = None,
    ) -> Session:
        """Go on with a session: replay its journal, then write to it. Arguments as for a new session.

        On the machine and with the settings it was made with, the labels are the same bit for bit. Otherwise
        ``differences`` says what is different, and where labels are.

        Raises:
            UsageError: If the journal belongs to another volume, labels or model, or is open elsewhere.
            FileFormatError: If there is none, or it is damaged.
        """
        session = cls(segmenter, volume, labels=labels, cache_bytes=cache_bytes, options=options)
        opened, header, records = Journal.open(Path(journal))
        try:
            now = identify(segmenter, volume, labels, options or SegmentOptions())
            session.differences = check_same(now, header)
            session.differences += replay(session._workspace, session._ledger, records=records, path=opened.path)
            session._latest = session._workspace.state
        except BaseException:
            opened.close()
            raise
        session._ledger.journal = opened
        return session

    @property
    def revision(self) -> int:
        """How many edits were acknowledged, and predictions shown: each moves the session on."""
        return self._ledger.revision

    @property
    def state(self) -> State:
        """The present state; immutable."""
        return self._workspace.state

    @property
    def prompts(self) -> Mapping[int, Prompt]:
        """Id -> prompt, in order, of all that were acknowledged and not yet accepted."""
        return MappingProxyType({n: placed.prompt for n, placed in self._latest.prompts.items()})

    @property
    def pending(self) -> tuple[str, ...]:
        """Names of the structures that the next prediction would compute."""
        state = self._latest
        return tuple(state.labels[label].name for label in state.pending())

    @property
    def locked(self) -> tuple[str, ...]:
        """Names of the locked structures."""
        state = self.state
        return tuple(state.labels[label].name for label in state.locked)

    @property
    def labels(self) -> LabelMap:
        """The labels now, and the names of all structures; a copy."""
        with self._lock:
            return self._workspace.canvas.label_map(self.state)

    @property
    def image_maps(self) -> TensorCache:
        """The image maps of the windows that were seen last, with their hits and misses."""
        return self._workspace.predictor.image_maps

    def mask(self, name: str) -> MaskArray:
        """Return the voxels of a structure now.

        Raises:
            UnknownClassError: If the session has none of this name.
        """
        with self._lock:
            return self._workspace.canvas.mask(self._workspace.find(name))

    def add(self, prompt: Prompt, *, revision: int | None = None) -> int:
        """Add a prompt; nothing is computed until ``predict``.

        Returns:
            Its id, for ``remove`` and ``move``.

        Raises:
            UnknownClassError: If there is no such target.
            LockedStructureError: If it is locked.
            NoHeadError: If the model has no branch for such prompts.
            UsageError: If the click lies outside the volume, or names several structures.
            DiskError: If the journal cannot be written; the prompt was then not added.
        """
        with self._lock:
            edit = AddPrompt(self._ledger.last_prompt_id + 1, prompt)
            self._say(edit, revision)
            return edit.prompt_id

    def remove(self, prompt_id: int, *, revision: int | None = None) -> None:
        """Take back a prompt; the next prediction takes back its effect. Errors as of ``add``."""
        with self._lock:
            self._say(RemovePrompt(prompt_id), revision)

    def move(self, prompt_id: int, prompt: Prompt, *, revision: int | None = None) -> None:
        """Put another prompt in the place of one, under its id. Errors as of ``add``."""
        with self._lock:
            self._say(MovePrompt(prompt_id, prompt), revision)

    def predict(self, *, revision: int | None = None) -> Prediction:
        """Compute the structures whose prompts changed since they were last computed, and show them.

        Where no prompt changed there is nothing to do, and no step is made. A prediction that fails or is
        interrupted makes no step either; its prompts stay pending.

        Raises:
            MemoryBudgetError: If an automatic result does not fit the memory.
        """
        with self._turn:
            try:
                with self._lock:
                    self._take_queued()
                    self._ledger.check_revision(revision)
                    state = self.state
                    if not state.pending():
                        return Prediction(targets=(), box=None, layers={}, revision=self.revision)
                    self._ledger.record(Predict())
                    number, self._is_predicting = self.revision, True
                predicted = self._workspace.predicted(state)
                with self._lock:
                    return self._shown(number, predicted)
            finally:
                with self._lock:
                    self._take_queued()

    def undo(self, *, revision: int | None = None) -> Box | None:
        """Go back to the state before the last edit.

        Returns:
            The smallest box around every voxel that changed; None where none did.

        Raises:
            UsageError: If this is the beginning.
        """
        return self._wait_and_take(Undo(), revision)

    def redo(self, *, revision: int | None = None) -> Box | None:
        """Take back an undo.

        Returns:
            The smallest box around every voxel that changed; None where none did.

        Raises:
            UsageError: If nothing was undone since the last edit.
        """
        return self._wait_and_take(Redo(), revision)

    def lock(self, name: str, *, revision: int | None = None) -> None:
        """Keep a structure exactly as it is now: no prompt for it is taken, no other structure gets its voxels.

        Raises:
            UnknownClassError: If the session has none of this name.
            LockedStructureError: If it is locked already.
        """
        self._wait_and_take(Lock(name), revision)

    def unlock(self, name: str, *, revision: int | None = None) -> Box | None:
        """Let a structure change again; voxels that its neighbours' prompts claim go to them.

        Returns:
            The smallest box around every voxel that changed; None where none did.

        Raises:
            UsageError: If it is not locked.
        """
        return self._wait_and_take(Unlock(name), revision)

    def rename(self, name: str, new_name: str, *, revision: int | None = None) -> None:
        """Give a structure another name; a class of the model still answers to the model's name, too.

        Raises:
            UnknownClassError: If the session has none of this name.
            UsageError: If another structure has the new name, or it means another class of the model.
        """
        self._wait_and_take(Rename(name, new_name), revision)

    def accept(self, *, revision: int | None = None) -> LabelMap:
        """Make what is seen the base of what follows, and return it; its prompts are done with, locks stay.

        Raises:
            UsageError: If prompts were added, moved or removed since the last prediction; locked structures aside.
        """
        with self._turn, self._lock:
            self._take(Accept(), revision)
            return self.labels

    def export_clicks(self, path: Path | str) -> None:
        """Write all clicks as ``clicks.json``, those that were accepted too.

        A structure that was renamed is called what the model calls it, or the label map that was begun with.

        Raises:
            DiskError: If it cannot be written.
        """
        with self._lock:
            latest, lasting_name = self._latest, self._workspace.lasting_name
            clicks = [
                replace(placed.prompt, target=lasting_name(placed, latest))
                for placed in (*latest.accepted, *latest.prompts.values())
                if isinstance(placed.prompt, PointPrompt)
            ]
        write_clicks(Path(path), clicks)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the journal; the session goes on without."""
        with self._turn, self._lock:
            self._ledger.close()

    def _say(self, edit: PromptEdit, revision: int | None) -> None:
        """Take an edit of the prompts now; while a prediction runs, let it take its place after that."""
        if not self._is_predicting:
            self._take(edit, revision)
            return
        self._ledger.check_revision(revision)
        latest = self._workspace.rules.after(self._latest, edit)
        self._ledger.record(edit)
        self._latest = latest
        self._queued.append(edit)

    def _take_queued(self) -> None:
        """Let what was said during a prediction take its place; what lacks memory for it does so next time."""
        self._is_predicting = False
        while self._queued:
            history = self._workspace.after(self._queued[0])
            drawing = self._workspace.draw(history)
            del self._queued[0]
            self._workspace.show(history, drawing)
        self._latest = self._workspace.state

    def _wait_and_take(self, edit: QuickEdit, revision: int | None) -> Box | None:
        with self._turn, self._lock:
            return self._take(edit, revision)

    def _take(self, edit: QuickEdit, revision: int | None) -> Box | None:
        self._take_queued()
        self._ledger.check_revision(revision)
        history = self._workspace.after(edit)  # refuses what makes no sense, before it is in the journal
        drawing = self._workspace.draw(history)  # may lack memory; what is in the journal is shown
        self._ledger.record(edit)
        try:
            self._workspace.show(history, drawing)
        finally:
            self._latest = self._workspace.state
        return drawing.box

    def _shown(self, number: int, predicted: State) -> Prediction:
        """Write the hash of what was predicted to the journal, and show it; show nothing if that fails."""
        before = self.state
        targets = tuple(before.labels[label].name for label in before.pending())
        drawn = self._workspace.drawn_prediction(predicted)
        self._ledger.record_shown(outcome_of(number, drawn.box, drawn.layers))
        self._workspace.show(drawn.history, drawn.drawing)
        return Prediction(targets=targets, box=drawn.box, layers=drawn.layers, revision=self.revision)
