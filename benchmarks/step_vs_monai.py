"""Time and memory of one optimiser step at full width: stage 3 against MONAI's, and what a stage 1 step needs.

One window of the phantom (an abdomen at 1.5 mm, augmented as stage 3 does) is drawn once, with the classes it is
asked for; every side learns from it, in a process of its own, one after the other, all with the same seeded
weights, both in bf16 autocast. MONAI's side is its ``vista3d132`` with what VISTA3D's ``train.py`` does in stage 3:
the click branch and the encoder frozen, one ``DiceCELoss(sigmoid, squared_pred, smooth_nr=0, smooth_dr=1e-5)`` for
each class against its mask, the mean of them, AdamW. Ours is the engine's step: the task's losses, gradients in
float64, clipping, AdamW, the running average. Seconds are the median of some steps after one that is not counted,
of the clock and of the processor; the peak is the resident set from the start of the process, weights included.
Losses and the gradients of the first step are compared.

Stage 1 is ours alone: four objects, clicked on for five rounds.

    python benchmarks/step_vs_monai.py [--window 128] [--times 3] [--threads 2]
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import sides
from auto_vs_monai import write_weights

SEED = 5
RATE, DECAY = 2e-5, 1e-5
COMPARED = {
    "class_head.class_embedding.weight": "class_head.class_embeddings.weight",
    "automatic_decoder.head.weight": "image_encoder.up_layers_auto.3.head.weight",
    "automatic_decoder.upsamples.0.weight": "image_encoder.up_layers_auto.0.upsample.deconv.weight",
}
"""Ours -> MONAI's: tensors whose gradients are compared, from the last to the first that learns."""


def main() -> None:
    """Run the sides, compare, print a table, write the JSON."""
    options = parse()
    if options.side:
        torch.set_num_threads(options.threads)
        warnings.simplefilter("ignore")
        print(json.dumps(RUN[options.side](options)))
        return
    folder = Path(options.folder or tempfile.mkdtemp(prefix="step_vs_monai_"))
    folder.mkdir(exist_ok=True, parents=True)
    shared = ["--weights", str(write_weights(folder)), "--folder", str(folder)]
    shared += ["--threads", str(options.threads), "--window", str(options.window), "--times", str(options.times)]
    measured = {side: sides.run_side_once(folder, __file__, side, *shared) for side in RUN}
    theirs, ours = measured["monai"], measured["vesalius"]
    ratios = {what: ours[what] / theirs[what] for what in ("step_s", "step_processor_s", "peak_gb")}
    agreement = compare(folder, ours["first_loss"], theirs["first_loss"])
    rows = [
        [side, *(measured[side][what] for what in ratios)] for side in ("monai", "vesalius", "vesalius-stage-1")
    ]
    sides.print_table([["side", *ratios], *rows, ["ratio", *ratios.values()]])
    print(agreement)
    kept = {"sides": measured, "kept": sides.kept_sides(folder, measured)}
    sides.write_result(
        options.result, {**kept, "ratios": ratios, "agreement": agreement, "threads": options.threads}
    )


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--window", type=int, default=128, help="voxels along each axis")
    parser.add_argument(
        "--times", type=int, default=3, help="steps timed, after one that is not; the median counts"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", help="where the sides work; by default a new one")
    parser.add_argument("--result", default="step_vs_monai", help="name of the JSON")
    parser.add_argument("--side", choices=tuple(RUN), help=argparse.SUPPRESS)
    parser.add_argument("--weights", help=argparse.SUPPRESS)
    return parser.parse_args()


def recipe_of(stage: int, window: int) -> Any:
    """Return a stage's recipe: one window a step, all of it known, so that MONAI's loss is the same."""
    from vesalius.training.recipes import STAGE_1, STAGE_3

    recipe = {1: STAGE_1, 3: STAGE_3}[stage]
    prompting = replace(recipe.prompting, other_classes=0)
    return replace(recipe, window_size=(window, window, window), prompting=prompting)


def make_task(stage: int, window: int) -> Any:
    """Return the task of a stage with the phantom for its only case."""
    from vesalius.checkpoints.formats.vista3d_official import official_shapes, spec_of, translate
    from vesalius.data.case import Case
    from vesalius.data.phantom import PhantomConfig, make_phantom
    from vesalius.spec import VistaArchitecture
    from vesalius.training.vista3d_task import Vista3DTask

    side = max(192, window + 32)
    config = PhantomConfig(shape=(side, side, side), spacing_mm=(1.5, 1.5, 1.5), region="abdomen", overlaps=False)
    volume, labels = make_phantom(config)
    spec = spec_of(translate(official_shapes(VistaArchitecture())))
    named = {label for label, _ in spec.vocabulary}
    looked_for = frozenset(int(label) for label in np.unique(labels.data) if label in named) | {22, 24, 25, 26}
    case = Case("phantom", "phantom", volume.data[0], labels.data, looked_for)
    return Vista3DTask([case], spec, recipe=recipe_of(stage, window))


def prepare(options: argparse.Namespace) -> dict[str, Any]:
    """Draw the window of each stage."""
    answer = {}
    for stage in (1, 3):
        sample = make_task(stage, options.window).draw(np.random.default_rng(SEED))
        (window,) = sample.windows
        if stage == 1:
            window = replace(window, rounds=5)
            answer |= {"objects": len(window.objects), "rounds": window.rounds}
        else:
            answer |= {"classes": len(window.question.class_ids), "present": window.question.present}
        torch.save({"window": window}, Path(options.folder) / f"stage_{stage}.pt")
    return answer


def drawn(options: argparse.Namespace, stage: int) -> Any:
    """Return the window that was drawn."""
    return torch.load(Path(options.folder) / f"stage_{stage}.pt", weights_only=False)["window"]


def vesalius_side(options: argparse.Namespace, stage: int = 3) -> dict[str, Any]:
    """Take the engine's steps."""
    from vesalius.checkpoints.load import load_model
    from vesalius.engine.inquiry import Inquiry, accumulated, mean
    from vesalius.engine.learner import Learner
    from vesalius.engine.optim import learning_parameters
    from vesalius.training.vista3d_task import VistaSample

    task, window = make_task(stage, 64), drawn(options, stage)
    network = load_model(options.weights).network.requires_grad_(True).train()
    settings = replace(
        recipe_of(stage, options.window).optimisation, size=1.0, learning_rate=RATE, weight_decay=DECAY
    )
    learner = Learner(network, settings)
    names = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    losses: list[float] = []

    def step() -> dict[str, Tensor]:
        parameters = learning_parameters(learner.network)
        inquiry = Inquiry(
            lambda _: VistaSample((window,)), task.outcome, learner.network, task.weights(1.0), "bf16"
        )
        total, numbers = accumulated(inquiry, [(0, 0, 0)], pool, ahead=1)
        gradients = mean(total, 1, parameters)
        kept = {name: g.clone() for name, g in zip(names, gradients, strict=True) if name in COMPARED}
        losses.append(numbers[0]["loss"])
        learner.learn(gradients, rate=1.0, progress=0.5)
        return kept

    pool = Here()
    return timed(step, options, losses, "vesalius" if stage == 3 else "stage-1")


class Here(Executor):
    """Works where it is asked to: a second thread with a team of its own would be more threads than cores."""

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        """Do it, and return what came of it."""
        done: Future[Any] = Future()
        done.set_result(work(*arguments, **options))
        return done


def monai_side(options: argparse.Namespace) -> dict[str, Any]:
    """Take the steps of VISTA3D's ``train.py`` in stage 3."""
    from monai.losses import DiceCELoss
    from monai.networks.nets import vista3d132
    from safetensors.torch import load_file

    from vesalius.training.prompt_sampling import targets

    window = drawn(options, 3)
    network: nn.Module = vista3d132(in_channels=1)
    network.load_state_dict(load_file(options.weights))
    network.train()
    network.set_auto_grad(auto_freeze=False, point_freeze=True)
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    loss_of = DiceCELoss(include_background=True, sigmoid=True, squared_pred=True, smooth_nr=0, smooth_dr=1e-5)
    prompts = window.question.class_ids[:, None]
    masks = targets(window.labels, window.question, make_task(3, 64)._overlaps).float()
    losses: list[float] = []

    def step() -> dict[str, Tensor]:
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(input_images=window.image[None], class_vector=prompts)
        loss = torch.zeros(())
        for row in range(len(prompts)):
            loss = loss + loss_of(logits[[row]].float(), masks[row][None, None])
        loss = loss / len(prompts)
        loss.backward()
        losses.append(float(loss.detach()))
        named = dict(network.named_parameters())
        kept = {ours: named[name].grad.clone() for ours, name in COMPARED.items()}
        optimiser.step()
        return kept

    return timed(step, options, losses, "monai")


def timed(
    step: Callable[[], dict[str, Tensor]], options: argparse.Namespace, losses: list[float], name: str
) -> dict[str, Any]:
    """Take steps, and keep the gradients of the first."""
    torch.save(step(), Path(options.folder) / f"gradients_{name}.pt")
    seconds, processor = [], []
    for _ in range(options.times):
        start, begun = time.perf_counter(), time.process_time()
        step()
        seconds.append(time.perf_counter() - start)
        processor.append(time.process_time() - begun)
        print(f"  {name}: {seconds[-1]:.1f} s", file=sys.stderr, flush=True)
    return {
        "step_s": statistics.median(seconds),
        "step_processor_s": statistics.median(processor),
        "steps_s": seconds,
        "peak_gb": sides.peak_gigabytes(),
        "first_loss": losses[0],
        "last_loss": losses[-1],
    }


def compare(folder: Path, our_loss: float, their_loss: float) -> dict[str, float]:
    """Say how far losses and gradients of the first step lie apart."""
    ours, theirs = (torch.load(folder / f"gradients_{name}.pt") for name in ("vesalius", "monai"))
    answer = {"loss_difference": abs(our_loss - their_loss) / their_loss}
    for name, gradient in ours.items():
        a, b = gradient.flatten().double(), theirs[name].flatten().double()
        answer[f"{name}: cosine"] = float(a @ b / (a.norm() * b.norm()))
    return answer


RUN: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "prepare": prepare,
    "monai": monai_side,
    "vesalius": vesalius_side,
    "vesalius-stage-1": lambda options: vesalius_side(options, stage=1),
}


if __name__ == "__main__":
    main()
