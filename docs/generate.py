"""Make what the docs state and the program knows: the reference of commands, and the tables of measured numbers.

``python docs/generate.py`` rewrites ``docs/reference/cli.md``, the tables of ``docs/reference/measured.md``, a few
of their rows in ``README.md``, and the table of the paper's steps in ``docs/concepts/training.md``; tests hold them
true. Means are stated with the intervals of their files.
"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vesalius.cli.main import COMMANDS, make_parser

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
REFERENCE = ROOT / "docs" / "reference" / "cli.md"
README = ROOT / "README.md"
MEASURED = ROOT / "docs" / "reference" / "measured.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
TRAINING = ROOT / "docs" / "concepts" / "training.md"
STEPS_BEGIN, STEPS_END = "<!-- steps: begin -->", "<!-- steps: end -->"

FIRST = (
    "auto_vs_monai.json",
    "big_scan.json",
    "built_in_model.json",
    "built_in_model_clicks.json",
    "few_shot.json",
)
"""Files whose rows the README shows: what most people come for."""

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Segmenting": (
        "auto_vs_monai",
        "big_scan",
        "built_in_model.",
        "built_in_model_first",
        "built_in_model_stomach",
        "handover",
        "backends",
    ),
    "Clicks": ("built_in_model_clicks", "clicks_vs_monai", "click_memory", "stages_long", "extents"),
    "Learning": (
        "few_shot",
        "overfit",
        "stages.",
        "step_vs",
        "team_memory",
        "loader",
        "cache_formats",
        "augmentation",
        "supervoxels",
    ),
    "Slices": ("slice", "meddinov3", "pretraining", "promptable_vit", "image_probes"),
}
"""Heading of the page of what was measured -> how the names of its files begin."""

SENTENCES: Mapping[str, str] = {
    "auto_vs_monai.json": "One 128³ window of the full-width network, 117 classes, against MONAI {machine[monai]} "
    "in fp32, {threads} threads each: {sides[vesalius][window_s_ratio]:.2f} of the time by default "
    "({sides[vesalius][precision]}), {sides[vesalius-compat-fp32][window_s_ratio]:.2f} in fp32; whole example scan "
    "with files: "
    "{sides[vesalius][total_s_ratio]:.2f} of the time, {sides[vesalius][peak_gb_ratio]:.2f} of the peak memory "
    "({sides[vesalius][peak_gb]:.1f} GB against {sides[monai-fp32][peak_gb]:.1f} GB); one class instead of 117 "
    "takes {sides[vesalius-1-class][peak_gb]:.1f} GB. Labels on the model's grid with `--compat bundle`, fp32: "
    "{agreement[same_label]:.4%} of voxels as MONAI's",
    "augmentation.json": "One training window of {window}³ turned, scaled and changed, on one core: "
    "{sides[vesalius][p]:.0f} ms of the processor; MONAI {sides[monai][p]:.0f}, batchgeneratorsv2 "
    "{sides[batchgeneratorsv2][p]:.0f}, TorchIO {sides[torchio][p]:.0f}",
    "backends.json": "One 128³ window in bf16 against plain torch {machine[torch]} as we run it: torch.compile "
    "{sides[torch-compile][window_ratio]:.2f} of the time, OpenVINO {openvino} "
    "{sides[openvino][window_ratio]:.2f}, torch without planes and Winograd "
    "{sides[torch-plain-layers][window_ratio]:.2f}",
    "big_scan.json": "A phantom of {shape} voxels at {spacing_mm} mm, full width, {classes} classes: "
    "{peak_gb:.1f} GB (forecast {forecast_peak_gb:.1f}: it left out that windows run while labels are made, and "
    "has counted them since), {seconds:.0f} s on a busy machine (forecast {forecast_seconds:.0f})",
    "built_in_model.json": "`vesalius-small`, head and neck, human labels, "
    "{head-neck[summary][mean of the five][n]} development cases: mean Dice of brainstem, cord, parotids and "
    "mandible {head-neck[summary][mean of the five]:.3f}, copied labels "
    "{no learning[copied][mean of the five]:.3f}; agreement with silver labels on one torso never trained "
    "on: liver {example[per_case][example_ct][liver]:.2f}, spleen {example[per_case][example_ct][spleen]:.2f}, "
    "kidneys {example[per_case][example_ct][kidneys]:.2f}, lungs {example[per_case][example_ct][lungs]:.2f}, "
    "spinal cord {example[per_case][example_ct][spinal cord]:.2f}; labels in bf16 against fp32: mean Dice "
    "{bf16 against fp32[mean]:.4f}. How well the Dice that it "
    "expects of its results ranks those below 0.7 ({confidence[below_0.7]} of {confidence[n]}) under the others, "
    "each case left out of its fit: area {confidence[auc_below_0.7]:.2f} (95 % over cases "
    "{confidence[interval_95][0]:.2f} to {confidence[interval_95][1]:.2f}), mean absolute error "
    "{confidence[mean_absolute_error]:.3f}",
    "built_in_model_clicks.json": "Clicks with `vesalius-small`, head and neck, human labels, "
    "{head-neck[automatic][all][n]} structures of 16 development cases, a simulated user in a real session: mean "
    "Dice {head-neck[automatic][all][after 0]:.3f} of the automatic result, "
    "{head-neck[automatic][all][after 3]:.3f} after 3 clicks, {head-neck[automatic][all][after 5]:.3f} after 5, "
    "{head-neck[automatic][all][after 10]:.3f} after 10 (a brush on the same places "
    "{head-neck[brush][all][after 3]:.3f}, {head-neck[brush][all][after 5]:.3f}, "
    "{head-neck[brush][all][after 10]:.3f}). From nothing {head-neck[nothing][all][after 1]:.3f} after one click, "
    "{head-neck[nothing][all][after 3]:.3f} after 3, {head-neck[nothing][all][after 10]:.3f} after 10 (balls "
    "around the same user's clicks {head-neck[balls][all][after 1]:.3f}, {head-neck[balls][all][after 3]:.3f}, "
    "{head-neck[balls][all][after 10]:.3f}). After 5 clicks, as a mean over structures: brainstem, cord, parotids "
    "and mandible {head-neck[over structures][the five][automatic][after 5]:.3f} from the automatic result (a "
    "brush {head-neck[over structures][the five][brush][after 5]:.3f}), "
    "{head-neck[over structures][the five][nothing][after 5]:.3f} from nothing; with larynx and esophagus, drawn "
    "in 3 and 6 scans, {head-neck[over structures][every structure][automatic][after 5]:.3f} and "
    "{head-neck[over structures][every structure][nothing][after 5]:.3f}. {sarcoma[nothing][all][n]} sarcomas, "
    "whose outlines it was never taught, drawn from clicks and intensities alone, by rules that were chosen on "
    "the first 14 of them: {sarcoma[over cases][nothing][after 1]:.2f} after one click, "
    "{sarcoma[over cases][nothing][after 3]:.2f} after 3, {sarcoma[over cases][nothing][after 5]:.2f} after 5; "
    "balls of their usual size {sarcoma[over cases][balls][after 1]:.2f}, "
    "{sarcoma[over cases][balls][after 3]:.2f}, {sarcoma[over cases][balls][after 5]:.2f}; the last "
    "{sarcoma[images never seen][nothing][n]}, on whose images nothing was chosen or learnt, "
    "{sarcoma[images never seen][nothing][after 5][mean]:.2f} after 5, balls "
    "{sarcoma[images never seen][balls][after 5][mean]:.2f}",
    "built_in_model_first.json": "The first edition of `vesalius-small`, before VISTA3D's four stages, in fp32: "
    "brainstem, cord, parotids and mandible {head-neck[summary][mean of the five]:.3f}; the same torso: liver "
    "{example[per_case][example_ct][liver]:.2f}, spleen {example[per_case][example_ct][spleen]:.2f}, kidneys "
    "{example[per_case][example_ct][kidneys]:.2f}, lungs {example[per_case][example_ct][lungs]:.2f}",
    "built_in_model_stomach.json": "The one stomach to judge it by, {mended_ml:.0f} ml with the swallowed contrast "
    "that its silver label ({silver_ml:.0f} ml) leaves out: the first edition draws {first[found_ml]:.0f} ml and "
    "finds {first[found_of_mended]:.2f} of it (Dice {first[dice_mended]:.2f}; by the silver label alone "
    "{first[dice_silver]:.2f}), the second {second[found_ml]:.0f} ml and {second[found_of_mended]:.2f} "
    "({second[dice_mended]:.2f}; {second[dice_silver]:.2f})",
    "cache_formats.json": "A window of {window}³ out of a prepared case of {side}³ (a busy machine): Blosc2 "
    "{stores[blosc2-zstd5][window_ms]:.0f} ms, Zarr {stores[zarr][window_ms]:.0f} ms, one compressed NumPy file "
    "{stores[npz][window_ms]:.0f} ms",
    "click_memory.json": "{clicks} clicks on {structures} structures of a phantom of {shape[0]} x {shape[1]} x "
    "{shape[2]} voxels, full width: at most {peak_beside_weights_gb:.1f} GB beside the weights "
    "({cache_limit_gb:.1f} GB allowed to remember with)",
    "clicks_vs_monai.json": "Clicks at full width against MONAI {machine[monai]} in fp32, by default (bf16) and "
    "in fp32: the first in a window {ratios[vesalius][first_click]:.2f} and "
    "{ratios[vesalius-fp32][first_click]:.2f} of the time, later ones {ratios[vesalius][later_click]:.3f} and "
    "{ratios[vesalius-fp32][later_click]:.3f}, ten of both signs as a simulated user makes them "
    "{ratios[vesalius][session]:.2f} and {ratios[vesalius-fp32][session]:.2f} ({sides[vesalius][session_misses]} "
    "windows seen, {sides[vesalius][session_hits]} times again), 20 objects in one new window "
    "{ratios[vesalius][20_objects]:.2f} and {ratios[vesalius-fp32][20_objects]:.2f}. Masks after ten clicks in "
    "one window, the head told what MONAI's is told: Dice "
    "{agreement_with_monai[vesalius-fp32][masks][block][dice]:.4f} in fp32",
    "extents.json": "Larynx, esophagus and sarcoma of the development cases, clicked on as what has no name, no "
    "network asked, by rules whose constants were chosen on such structures in other scans: "
    "{development[by structure][larynx][novel]:.2f}, "
    "{development[by structure][esophagus][novel]:.2f} and {development[by structure][sarcoma][novel]:.2f} after "
    "five clicks, balls of their usual size {development[by structure][larynx][novel, balls]:.2f}, "
    "{development[by structure][esophagus][novel, balls]:.2f} and "
    "{development[by structure][sarcoma][novel, balls]:.2f}; {development[over balls][mean]:.3f} more "
    "({development[over balls][low]:.3f} to {development[over balls][high]:.3f}, "
    "{development[over balls][n]} cases)",
    "few_shot.json": "MSD's hippocampus MR, which no model of ours had seen (the built-in model's first edition "
    "fine-tuned), {minutes:g} minutes of a core a "
    "run, {support_sets} support sets, {held_out_cases} cases held out, both drawn for the intervals: with one "
    "labelled case fine-tuned {by_cases[1 labelled][dice][finetuned]:.3f}, the same network from scratch "
    "{by_cases[1 labelled][dice][scratch]:.3f}, copied labels {by_cases[1 labelled][dice][copied]:.3f}, nnU-Net "
    "v2 {by_cases[1 labelled][dice][nnunet]:.3f} ({support_sets_of_nnunet} sets, some "
    "{by_cases[1 labelled][steps][nnunet][0]} of its steps in this time); with three "
    "{by_cases[3 labelled][dice][finetuned]:.3f}, {by_cases[3 labelled][dice][scratch]:.3f}, "
    "{by_cases[3 labelled][dice][copied]:.3f}, {by_cases[3 labelled][dice][nnunet]:.3f}; with ten "
    "{by_cases[10 labelled][dice][finetuned]:.3f}, {by_cases[10 labelled][dice][scratch]:.3f}, "
    "{by_cases[10 labelled][dice][copied]:.3f}, {by_cases[10 labelled][dice][nnunet]:.3f}. Fine-tuned over "
    "scratch: {by_cases[1 labelled][finetuned_minus][scratch]:.3f}, "
    "{by_cases[3 labelled][finetuned_minus][scratch]:.3f} and "
    "{by_cases[10 labelled][finetuned_minus][scratch]:.3f}",
    "few_shot_4_minutes.json": "With the weights of today in {minutes:g} minutes, some sixty steps in fp32: one "
    "labelled case, fine-tuned {by_cases[1 labelled][dice][finetuned]:.3f}, from scratch "
    "{by_cases[1 labelled][dice][scratch]:.3f}, copied labels {by_cases[1 labelled][dice][copied]:.3f}; "
    "fine-tuned over scratch {by_cases[1 labelled][finetuned_minus][scratch]:.3f}",
    "few_shot_stages.json": "With the weights of today, in fp32, without nnU-Net, some thirty steps in the same "
    "time, after which the network from scratch has hardly begun: with one labelled case fine-tuned "
    "{by_cases[1 labelled][dice][finetuned]:.3f}, from scratch {by_cases[1 labelled][dice][scratch]:.3f}, copied "
    "labels {by_cases[1 labelled][dice][copied]:.3f}; with three {by_cases[3 labelled][dice][finetuned]:.3f}, "
    "{by_cases[3 labelled][dice][scratch]:.3f}, {by_cases[3 labelled][dice][copied]:.3f}. Fine-tuned over scratch: "
    "{by_cases[1 labelled][finetuned_minus][scratch]:.3f} and {by_cases[3 labelled][finetuned_minus][scratch]:.3f}",
    "handover.json": "From features to labels, statistics and files, {shape[0]} x {shape[1]} x {shape[2]} voxels, "
    "{classes} classes: {ours[total]:.1f} s; {voxels_that_differ} of {voxels} voxels differ from the dense "
    "computation, which takes {dense[total]:.1f} s",
    "loader.json": "Training windows of {window}³ from the cache, two workers: "
    "{sides[vesalius][windows_per_second]:.1f} a second, {sides[monai][ours_to_it]:.1f} times those of MONAI's "
    "CacheDataset as VISTA3D uses it, {sides[monai-indexed][ours_to_it]:.1f} times those with class indices cached "
    "in {sides[vesalius][peak_gb]:.1f} against {sides[monai][peak_gb]:.1f} GB",
    "slice_augmentation.json": "A window of {window}² drawn from a scan with pixels of its own, on one core, "
    "median: {median_ms[vesalius]:.1f} ms of the processor with our augmentation, {median_ms[nnunet]:.1f} with "
    "nnU-Net's by its library (batchgeneratorsv2 {batchgeneratorsv2}), {median_ms[read]:.1f} with none",
    "supervoxels.json": "Supervoxels by the encoder of the built-in model's first edition: phantoms of "
    "{memory[0][million_voxels]:.1f} and "
    "{memory[1][million_voxels]:.1f} million voxels take at most {memory[0][peak_gb]:.2f} and "
    "{memory[1][peak_gb]:.2f} GB. {scans} scans of head and neck, 4000 segments of {divided_at_mm:g} mm asked for "
    "(default: 400 of 1.5 mm), channels and compactness as by default (16, 0.01): structures put together of parts "
    "have a mean Dice of {following[4000 segments, 16 channels, compactness 0.01][dice]:.2f}, of as many cubes "
    "{following[4000 segments, 16 channels, compactness 0.01][dice_of_cubes]:.2f}. SAM's ViT-B (random weights) "
    "takes {sam[seconds]:.0f} s of a core for a slice and {sam[beside_weights_gb]:.1f} GB beside its weights",
    "slice_depth.json": "{phantoms} phantoms of rods whose kind only the next slice tells, on a frozen "
    "transformer, learnt by the recipe with depth, seeds: {seeds}: Dice {dice[depth, neighbours shown]:.3f} with "
    "adapters that see their neighbours, {dice[depth, one slice shown]:.3f} with one slice shown, "
    "{dice[lora]:.3f} with LoRA and {dice[decoder alone]:.3f} with neither (chance 0.5)",
    "slice_precision.json": "A toy of slices after {minutes:g} minutes of a core, {measured_on} scans to measure "
    "on: mean Dice of five structures {dice[bf16]:.4f} in bf16, {dice[fp32]:.4f} in fp32, the difference "
    "{bf16_minus_fp32:.4f}",
    "slice_steps.json": "The paper's steps on slices of heads, {minutes:g} minutes of a core a step, seeds: "
    "{seeds}, {measured_on} scans to measure on, mean Dice of five structures: "
    "plain transformer {dice[plain]:.3f}, features of four depths {dice[depths]:.3f}, fused "
    "{dice[fused]:.3f}, 1.75 times the pixels {dice[resolution]:.3f}, pretrained (for "
    "{pretrained_for_min:.0f} minutes, which are not counted) {dice[pretrained]:.3f}, nnU-Net 2-D in the same time "
    "{dice[nnunet]:.3f}, with the others' batch instead of its own {dice[nnunet, batch]:.3f}",
    "slice_transfer.json": "Slices learnt from two labelled scans in {minutes:g} minutes of a core, "
    "{support_sets} support sets, {measured_on} scans to measure on (minutes and recipe were chosen on them): mean "
    "Dice of five structures {dice[pretrained]:.3f} from a toy transformer that had learnt without labels for "
    "{pretrained_for_min:.0f} minutes more, {dice[scratch]:.3f} from scratch, copied labels {dice[copied]:.3f}; "
    "pretrained over scratch {gained_over_scratch[pretrained]:.3f}; frozen, with LoRA beside its maps, "
    "{dice[frozen]:.3f}, over scratch {gained_over_scratch[frozen]:.3f}",
    "slices_vs_published.json": "{slices} DICOM slices at {pixels}² through MedDINOv3 (ViT-B, seeded weights, "
    "{classes} classes), one thread, beside other work: by default (bf16, no reflections) "
    "{sides[vesalius][slice_s_ratio]:.2f} of the time of the published loop in fp32 "
    "({sides[published-fp32][slice_s]:.0f} s a slice) and {sides[vesalius][peak_gb_ratio]:.2f} of its memory, "
    "{memory_growth_gb:.1f} GB more for twice the slices. That is another answer: one pass for its four, "
    "{sides[vesalius][same_label]:.2f} of the labels the same (on weights that nobody trained)",
    "slices_vs_published_same.json": "The published loop's own work (four passes, fp32) on {slices} of these "
    "slices: {sides[vesalius-mirror-fp32][slice_s_ratio]:.2f} of its time, "
    "{sides[vesalius-mirror-fp32][peak_gb_ratio]:.2f} of its memory, "
    "{sides[vesalius-mirror-fp32][same_label]:.4f} of the labels the same",
    "slice_likeness.json": "Slices of {scans} CT known again among {slices}, each against other patients: "
    "{changes[as they are][known_again]:.0%} as they are, "
    "{changes[1.3 times the size][known_again]:.1%} at 1.3 times the size, "
    "{changes[0.75 of the size, clipped to soft tissue][known_again]:.0%} at 0.75 of it in another window, without "
    "a false alarm; the threshold was chosen on these scans",
    "meddinov3_decoder.json": "One training step of the slice decoder at {side_pixels}², {classes} classes, batch "
    "{batch}: fused, {sides[fused][step_ratio]:.2f} of the memory of MedDINOv3's as published and "
    "{sides[fused][forward_ratio]:.2f} of its operations; the published one with our layer norm "
    "{sides[primus][step_ratio]:.2f}, its logits within {sides[primus][difference]:.0e}",
    "overfit.json": "One scan of head and neck learnt by heart from nothing, by courses of its own (names, then "
    "clicks beside them on small windows first; none of the recipes that ship), {minutes:g} minutes of a core: "
    "Dice by name at least {lowest[by name]:.2f} of every structure, by one click at least "
    "{lowest[by one click]:.3f}, in the mean {mean[by one click]:.3f} ({asked for} asked for)",
    "pretraining_pixels.json": "At what size of pixels to probe a toy transformer's patches, on {judged_on} "
    "labelled scans that it had learnt from without labels, and that nothing else is reported of: a linear map has "
    "a mean Dice of {sizes[1 mm][linear][pretrained]:.3f} at 1 mm and {sizes[1.5 mm][linear][pretrained]:.3f} at "
    "1.5 mm, {sizes[1 mm][linear][gain over place]:.3f} and {sizes[1.5 mm][linear][gain over place]:.3f} more than "
    "the place alone",
    "pretraining_works.json": "Toy transformers that learnt without labels for 25 minutes of a core, three "
    "seeds: a linear map from their frozen patches to five structures of the head, asked of 16 unseen people, "
    "has {seeds[0][gains][1]:.3f}, {seeds[1][gains][1]:.3f} and {seeds[2][gains][1]:.3f} more Dice than the "
    "place alone (0.08 asked for), and {seeds[0][gains][0]:.3f}, {seeds[1][gains][0]:.3f} and "
    "{seeds[2][gains][0]:.3f} more than random transformers. The size of the pixels, 1 mm, was looked at on "
    "these people once, before",
    "pretraining_stages.json": "A toy transformer's first stage and {minutes:g} minutes of a core more, one "
    "seed: the linear probe of 16 unseen people gives {probe[scores][7][mean]:.3f} after stage 1, "
    "{probe[scores][5][mean]:.3f} after as many minutes more of it, {probe[scores][3][mean]:.3f} after stage 2 "
    "(Gram anchoring) and {probe[scores][1][mean]:.3f} after stage 3 (high resolution), {probe[gains][4]:.3f} "
    "over stage 2 and {probe[gains][5]:.3f} over as much more of stage 1: no difference that 16 show",
    "promptable_vit.json": "Three structures of a scan learnt by heart by VISTA3D's heads on a toy transformer "
    "that begins at random (patches of 4 pixels, nothing pretrained), {minutes:g} minutes of a core: by name at "
    "least {lowest[by name]:.3f}, by one click at least {lowest[by one click]:.3f}, in the mean "
    "{mean[by one click]:.3f} ({asked for} asked for)",
    "stages.json": "VISTA3D's stages from nothing, {minutes:g} minutes of a core a course, two seeds, five "
    "structures of the head by name on {courses[four stages][automatic][n]} scans: all four stages "
    "{courses[four stages][automatic]:.2f}, without painted scans "
    "{courses[without synthesis][automatic]:.2f}, without supervoxels "
    "{courses[without supervoxels][automatic]:.2f}, stages 1 and 3 alone "
    "{courses[stages 1 and 3][automatic]:.2f}, everything at once {courses[at once][automatic]:.2f}; "
    "after five clicks more, on {courses[four stages][automatic and 5 clicks][n]} of them, "
    "{courses[four stages][automatic and 5 clicks]:.2f}, "
    "{courses[without synthesis][automatic and 5 clicks]:.2f}, "
    "{courses[without supervoxels][automatic and 5 clicks]:.2f}, "
    "{courses[stages 1 and 3][automatic and 5 clicks]:.2f}, "
    "{courses[at once][automatic and 5 clicks]:.2f}",
    "team_memory.json": "What a process holds at the peak of a training of {weights:,} weights, in bytes for each, "
    "beside activations: the engine with its running average "
    "{medians[alone]:.1f} alone, "
    "{medians[two]:.1f} as one of two, "
    "{medians[two, sharded]:.1f} with --shard; torch "
    "{machine[torch]}'s DDP {medians[DDP]:.1f} and FSDP2 "
    "{medians[FSDP2]:.1f}, without an average",
    "stages_long.json": "Networks of two seeds that learnt clicks for {long minutes:g} minutes of a core, lumps "
    "painted into their windows, and never heard of larynx, esophagus and sarcoma: five clicks as on what "
    "has no name give "
    "{courses[long, lumps][novel, by structure][larynx][novel]:.2f}, "
    "{courses[long, lumps][novel, by structure][esophagus][novel]:.2f} and "
    "{courses[long, lumps][novel, by structure][sarcoma][novel]:.2f}; with no network "
    "{courses[long, lumps][novel, by structure][larynx][novel, no network]:.2f}, "
    "{courses[long, lumps][novel, by structure][esophagus][novel, no network]:.2f} and "
    "{courses[long, lumps][novel, by structure][sarcoma][novel, no network]:.2f}; balls of their usual size "
    "{courses[long, lumps][novel, by structure][larynx][novel, balls]:.2f}, "
    "{courses[long, lumps][novel, by structure][esophagus][novel, balls]:.2f} and "
    "{courses[long, lumps][novel, by structure][sarcoma][novel, balls]:.2f}; "
    "as a mean over {courses[long, lumps][5 clicks, novel][n]} cases {courses[long, lumps][5 clicks, novel]:.3f}, "
    "which is {courses[long, lumps][novel, 5 clicks minus balls]:.3f} more than balls (0.08 was asked for; "
    "{courses[long, lumps][novel, 5 clicks minus balls][seeds][0]:.3f} and "
    "{courses[long, lumps][novel, 5 clicks minus balls][seeds][1]:.3f} by seed) and "
    "{courses[long, lumps][novel, 5 clicks minus no network]:.3f} more than no network: the gain is that of clicks "
    "and intensities, the network adds nothing to it",
    "step_vs_monai.json": "A training step of stage 3 at full width, 128³, bf16, one thread: {ratios[step_s]:.2f} "
    "of the time and {ratios[peak_gb]:.2f} of the memory of MONAI {machine[monai]}'s model and loss "
    "({sides[vesalius][step_s]:.0f} s, {sides[vesalius][peak_gb]:.1f} GB); one of stage 1 with four objects and "
    "five rounds {sides[vesalius-stage-1][peak_gb]:.1f} GB",
    "step_vs_monai_2_threads.json": "The step of stage 3 on two threads: {ratios[step_s]:.2f} of MONAI's time, "
    "{ratios[peak_gb]:.2f} of its memory",
    "pretraining_throughput.json": "A pretraining step of ViT-S, 2 + 8 crops, batch 16, bf16: crops of one size "
    "together take {ratio:.2f} of the time of one pass for each (at most {largest_ratio} asked for)",
}
"""File of results -> what it says, in the words of the README; other files are linked to without a sentence."""

MORE: Mapping[str, str] = {
    "few_shot.json": ". nnU-Net once for {nnunet_long[minutes]:g} minutes, {nnunet_long[cases]} labelled cases: "
    "{nnunet_long[dice]:.3f}, fine-tuned on the same ones in {minutes:g} {nnunet_long[finetuned]:.3f}",
    "slice_augmentation.json": ". A toy after {minutes:g} minutes of a core from two labelled scans, support sets: "
    "{support_sets}, {measured_on} scans to measure on: mean Dice of five structures {dice[vesalius]:.3f} with "
    "ours, {dice[nnunet]:.3f} with nnU-Net's, which is {more_by_nnunet:.3f} more (interval over {intervals_over}), "
    "by pair {more_by_pair[0]:.3f} and {more_by_pair[1]:.3f} (over cases of it alone)",
    "slice_steps.json": ", and once for {minutes_of_long:g} minutes {dice[nnunet, batch, long]:.3f}",
    "slice_transfer.json": ". Where the minutes of pretraining are counted, from scratch for {as_long[minutes]:g} "
    "minutes, {as_long[support_sets]} support sets: {dice[scratch, as long]:.3f}; pretrained over that "
    "{as_long[gained_by_pretraining]:.3f}",
}
"""File of results -> what it says more if it has it: sides that are only run when asked for."""

STEPS: Mapping[str, str] = {
    "plain": "plain transformer, one depth",
    "depths": "features of four depths, as published",
    "fused": "brought to one width first",
    "resolution": "1.75 times the pixels",
    "pretrained": "pretrained",
    "nnunet": "nnU-Net 2-D",
    "nnunet, batch": "nnU-Net 2-D, the others' batch",
    "nnunet, batch, long": "the same for {minutes_of_long:g} minutes",
}
"""Side of ``benchmarks/slice_steps.py`` -> its name in the table of training.md."""


class Stated(dict[str, Any]):
    """A part of a result that formats itself as people read it: its mean, and its 95 % interval if it has one."""

    def __format__(self, form: str) -> str:
        """Return ``0.545 (0.510 to 0.583)`` for ``.3f``; the mean alone where there is no interval."""
        mean = self["estimate"] if "estimate" in self else self["mean"]
        low, high = self.get("interval_95", (self.get("low"), self.get("high")))
        return f"{mean:{form}}" if low is None or high is None else f"{mean:{form}} ({low:{form}} to {high:{form}})"


def stated(part: Any) -> Any:
    """Return a result whose means format themselves with their intervals."""
    if isinstance(part, Mapping):
        return Stated({name: stated(inner) for name, inner in part.items()})
    return [stated(inner) for inner in part] if isinstance(part, list) else part


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield a parser and, depth first, those of its subcommands."""
    yield parser
    for action in parser._subparsers._group_actions if parser._subparsers else ():
        assert isinstance(action, argparse._SubParsersAction)
        for child in action.choices.values():
            yield from parsers(child)


def commands() -> Iterator[argparse.ArgumentParser]:
    """Yield the parser of every command and subcommand, with its arguments."""
    for name in COMMANDS:
        yield from (parser for parser in parsers(make_parser(name)) if parser.prog.split()[1:2] == [name])


def reference() -> str:
    """Return the page of all commands, as their ``--help`` prints them."""
    os.environ["COLUMNS"] = "110"
    head = "# Commands\n\nMade by `python docs/generate.py` from what `--help` prints.\n"
    return head + "".join(f"\n## {parser.prog}\n\n```\n{parser.format_help()}```\n" for parser in commands())


def measured() -> dict[str, str]:
    """Return file of results -> its row, with links as from the root."""
    return {path.name: _row(path.name, json.loads(path.read_text())) for path in sorted(RESULTS.glob("*.json"))}


def _row(name: str, result: Mapping[str, Any]) -> str:
    sentence = SENTENCES.get(name, "see the file").format(**stated(result))
    with contextlib.suppress(KeyError):
        sentence += MORE.get(name, "").format(**stated(result))
    machine = result.get("machine", {})
    where = f"{machine['processor']}, {machine['cores']} cores" if machine else "any"
    return f"| {sentence} | {where} | [{name}](benchmarks/results/{name}) |"


def steps_table() -> str:
    """Return the table of the paper's steps, with the intervals of their file."""
    result = stated(json.loads((RESULTS / "slice_steps.json").read_text()))
    gained, lines = result["gained_over_the_step_before"], []
    for side, name in STEPS.items():
        if side in result["dice"]:
            more = f"{gained[side]:.3f}" if side in gained else ""
            steps = ", ".join(map(str, result["steps"][side]))
            lines.append(f"| {name.format(**result)} | {result['dice'][side]:.3f} | {more} | {steps} |")
    head = [
        "| step | Dice (95 %) | more than the one before (95 %) | training steps, by seed |",
        "|---|---|---|---|",
    ]
    return "\n".join([STEPS_BEGIN, *head, *lines, STEPS_END])


def with_steps(page: str) -> str:
    """Return the page on training with the table of the paper's steps put between its marks."""
    return re.sub(f"{STEPS_BEGIN}.*{STEPS_END}", lambda _: steps_table(), page, flags=re.DOTALL)


def with_table(readme: str, rows: Mapping[str, str]) -> str:
    """Return the README with the rows of ``FIRST`` put between its marks."""
    table = "\n".join([BEGIN, *_table([rows[name] for name in FIRST if name in rows]), END])
    return re.sub(f"{BEGIN}.*{END}", lambda _: table, readme, flags=re.DOTALL)


def with_tables(page: str, rows: Mapping[str, str]) -> str:
    """Return the page of what was measured with a table for each group put between its marks."""
    parts = [BEGIN]
    for heading, beginnings in GROUPS.items():
        own = [row for start in beginnings for name, row in rows.items() if name.startswith(start)]
        linked = [row.replace("](benchmarks", "](../../benchmarks") for row in own]
        parts += ["", f"## {heading}", "", *_table(linked)]
    return re.sub(f"{BEGIN}.*{END}", lambda _: "\n".join([*parts, "", END]), page, flags=re.DOTALL)


def _table(rows: Sequence[str]) -> list[str]:
    return ["| what | on | file |", "|---|---|---|", *rows] if rows else ["Nothing has been recorded yet."]


def main() -> None:
    """Rewrite all four."""
    REFERENCE.write_text(reference(), encoding="utf-8")
    README.write_text(with_table(README.read_text(encoding="utf-8"), measured()), encoding="utf-8")
    MEASURED.write_text(with_tables(MEASURED.read_text(encoding="utf-8"), measured()), encoding="utf-8")
    TRAINING.write_text(with_steps(TRAINING.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
