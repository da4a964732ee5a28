"""On a device beside the processor every tensor that meets another lies there, and the answers are the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from inference.slice_model import blobs, slice_network, slice_spec
from interactive.small_session import click, scan, segmenter
from other_device import DEVICE, OtherDevice
from vesalius.geometry.grid import Grid
from vesalius.inference.segmenter import Segmenter, SegmentOptions
from vesalius.interactive.session import Session
from vesalius.prompts.types import ClassPrompt


def test_the_device_refuses_what_others_refuse() -> None:
    here = torch.ones(2, 3)
    with OtherDevice(), torch.inference_mode():
        there = here.to(DEVICE)
        assert torch.equal((there + there[0] * 2).cpu(), here * 3)
        for wrong in (
            lambda: there + here,
            lambda: there.index_select(0, torch.tensor([0])),
            lambda: here[there.argmax(dim=0)],
            there.numpy,
            there.double,
            lambda: torch.special.entr(there),
        ):
            with pytest.raises((RuntimeError, TypeError, NotImplementedError)):
                wrong()


def test_a_device_that_is_left_with_an_error_leaves_torch_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    before, leave = torch.autocast, TorchDispatchMode.__exit__

    def left_badly(mode: TorchDispatchMode, *error: object) -> None:
        leave(mode, *error)
        raise RuntimeError("left badly")

    monkeypatch.setattr(TorchDispatchMode, "__exit__", left_badly)
    with pytest.raises(RuntimeError, match="left badly"), OtherDevice():
        assert torch.autocast is not before
    assert torch.autocast is before


def test_class_prompts_and_clicks_of_a_session() -> None:
    volume, found = scan((18, 20, 17)), {}
    for device in ("cpu", "other"):
        model = segmenter(click_reach_mm=12.0, click_pull=0.02)
        with OtherDevice():
            if device == "other":
                model.network.to(DEVICE)
            session = Session(model, volume)
            session.add(ClassPrompt(target="liver"))
            session.add(click("spleen", 9, 10, 8))
            session.add(click("spleen", 12, 6, 8, positive=False))
            session.predict()
        found[device] = session.labels.data
    assert set(np.unique(found["cpu"])) >= {1, 2}
    assert (found["cpu"] == found["other"]).mean() > 0.999


@pytest.mark.parametrize(
    "options", [SegmentOptions(mirror=True, overlap=0.5), SegmentOptions(planes=("axial", "coronal"))]
)
def test_slices(options: SegmentOptions) -> None:
    spec, volume = slice_spec(), blobs(Grid((20, 18, 5), np.diag([-2.0, -2.0, 3.0, 1.0])))
    here = Segmenter(slice_network(spec), spec).segment(volume, options=options).labels.data
    with OtherDevice():
        there = Segmenter(slice_network(spec).to(DEVICE), spec).segment(volume, options=options).labels.data
    assert len(np.unique(here)) > 2
    assert (here == there).mean() > 0.999
