"""nnU-Net v2's side of ``few_shot.py`` and ``slice_steps.py``, in its own Python: all of it is its own package's.

Its schedule is shortened to end with the processor minutes that the others have: iterations until the time is over,
the learning rate falling with the time as it does with epochs, no validation on the way. Everything else is its
own: fingerprint, plan, preprocessing, augmentation, loss, optimiser, deep supervision, sliding window, mirroring at
the end. (Of so few small cases it plans a batch of two windows, its smallest; of slices one for a GPU, well over a
hundred, which in minutes of a processor makes a handful of steps: ``--batch`` writes another into its plan.)

    PYTHON-OF-NNUNET few_shot_nnunet.py FOLDER --minutes M [--configuration 2d] [--batch 4]

``FOLDER/case.json`` says what to learn from and what to predict: those scripts write it.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

DATASET = "Dataset001_FewShot"


def main() -> None:
    """Plan, train, predict; the last line printed is a JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, required=True, help="of the processor")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--configuration", choices=("2d", "3d_fullres"), default="3d_fullres")
    parser.add_argument("--batch", type=int, help="windows a step, instead of what it plans")
    arguments = parser.parse_args()
    asked = json.loads((arguments.folder / "case.json").read_text())
    _prepare_environment(arguments.folder)
    _write_dataset(arguments.folder / "raw" / DATASET, asked)
    configuration = arguments.configuration
    planned = arguments.folder / "preprocessed" / DATASET / "nnUNetPlans.json"
    plans = _plan(planned, configuration, batch=arguments.batch)
    trained, iterations = _train(60 * arguments.minutes, configuration, seed=arguments.seed)
    _predict(trained, asked["predict"], arguments.folder / "found")
    plan = plans["configurations"][configuration]
    print(json.dumps({"iterations": iterations, "patch": plan["patch_size"], "batch": plan["batch_size"]}))


def _prepare_environment(folder: Path) -> None:
    """Say where nnU-Net's folders are, and have it run in one process on one core; before it is imported."""
    for name in ("raw", "preprocessed", "results"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)
        os.environ[f"nnUNet_{name}"] = str(folder / name)
    os.environ |= {"nnUNet_n_proc_DA": "1", "nnUNet_compile": "f", "OMP_NUM_THREADS": "1", "nnUNet_def_n_proc": "1"}


def _write_dataset(folder: Path, asked: dict[str, Any]) -> None:
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    for case in asked["learn"]:
        shutil.copy(case["image"], folder / "imagesTr" / f"{case['name']}_0000.nii.gz")
        shutil.copy(case["label"], folder / "labelsTr" / f"{case['name']}.nii.gz")
    labels = {"background": 0, **{name: int(label) for label, name in asked["labels"].items()}}
    channels = {"0": asked.get("channel", "MRI")}
    about = {"channel_names": channels, "labels": labels, "numTraining": len(asked["learn"])}
    (folder / "dataset.json").write_text(json.dumps({**about, "file_ending": ".nii.gz"}))


def _plan(path: Path, configuration: str, *, batch: int | None) -> dict[str, Any]:
    """Take the fingerprint, plan and preprocess; return the plan, with another batch if one is given."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        plan_experiments,
        preprocess_dataset,
    )

    extract_fingerprints([1], num_processes=1)
    plan_experiments([1])
    preprocess_dataset(1, configurations=(configuration,), num_processes=(1,))
    plans: dict[str, Any] = json.loads(path.read_text())
    if batch is not None:
        plans["configurations"][configuration]["batch_size"] = batch
        path.write_text(json.dumps(plans))
    return plans


def _train(seconds: float, configuration: str, *, seed: int) -> tuple[Any, int]:
    """Train on all cases for so many seconds of the processor; return the trainer and the number of iterations."""
    import numpy as np
    import torch
    from nnunetv2.run.run_training import get_trainer_from_args

    os.environ |= {"nnUNet_n_proc_DA": "0"}  # draws in this process; the planner wants one thread at least
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    np.random.seed(seed)
    trainer = get_trainer_from_args("1", configuration, "all", device=torch.device("cpu"))
    trainer.disable_checkpointing = True
    trainer.on_train_start()
    begun, iterations = time.process_time(), 0
    while (progress := (time.process_time() - begun) / seconds) < 1:
        for group in trainer.optimizer.param_groups:
            group["lr"] = trainer.initial_lr * (1 - progress) ** 0.9
        trainer.network.train()
        trainer.train_step(next(trainer.dataloader_train))
        iterations += 1
    return trainer, iterations


def _predict(trainer: Any, images: list[dict[str, str]], folder: Path) -> None:
    import torch
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False)
    trainer.network.eval()
    trainer.set_deep_supervision_enabled(False)
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        [trainer.network.state_dict()],
        trainer.dataset_json,
        type(trainer).__name__,
        trainer.inference_allowed_mirroring_axes,
    )
    folder.mkdir(exist_ok=True)
    files = SimpleITKIO()
    for case in images:
        image, properties = files.read_images([case["image"]])
        found = predictor.predict_single_npy_array(image, properties)
        files.write_seg(found, str(folder / f"{case['name']}.nii.gz"), properties)


if __name__ == "__main__":
    main()
