"""Checkpoints of MedDINOv3's nnU-Net trainers: network and what it expects are read, and nothing is executed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
from torch import Tensor

from parity.published_decoder import PatchDecode
from parity.seeded_vit import meta_shapes, seeded_vit
from vesalius.checkpoints.convert import convert_model
from vesalius.checkpoints.header import read_header
from vesalius.checkpoints.load import load_encoder, load_model, load_slice_model
from vesalius.checkpoints.safetensors import read_tensors, write_tensors
from vesalius.checkpoints.verify import verify
from vesalius.errors import CheckpointError, UnsafeCheckpointError
from vesalius.geometry.grid import Grid
from vesalius.inference.segmenter import Segmenter
from vesalius.io.formats import read
from vesalius.models import build
from vesalius.models.meddinov3 import MedDino
from vesalius.spec import MedDinoArchitecture

WIDTH, DEPTH, CLASSES = 64, 12, 3


def network_weights(
    *, taps: int = 4, registers: int = 4, classes: int = CLASSES, depth: int = DEPTH
) -> dict[str, Tensor]:
    shapes: dict[str, tuple[int, ...]] = {
        f"dino_encoder.{name}": shape
        for name, shape in meta_shapes(
            width=WIDTH, depth=depth, heads=2, patch=16, registers=max(registers, 1), qkv_bias=False
        ).items()
    }
    if not registers:
        del shapes["dino_encoder.storage_tokens"]
    decoder = PatchDecode(taps * WIDTH, patch_size=16, num_classes=classes).state_dict()
    shapes |= {f"up_projection.{name}": tuple(tensor.shape) for name, tensor in decoder.items()}
    state = seeded_vit(shapes)
    state["dino_encoder.rope_embed.periods"] = state["dino_encoder.rope_embed.periods"].bfloat16()
    return state


def checkpoint(**sizes: int) -> dict[str, Any]:
    """A checkpoint as nnU-Net 2.5.2 saves it: plain containers, numpy's numbers and a device."""
    plans = {
        "dataset_name": "Dataset220_KiTS2023",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {
            "2d": {
                "patch_size": [512, 512],
                "spacing": [0.78125, 0.78125],
                "batch_size": 12,
                "normalization_schemes": ["CTNormalization"],
            },
            "2d_896": {"inherits_from": "2d", "patch_size": [896, 896], "spacing": [0.44642857, 0.44642857]},
        },
        "foreground_intensity_properties_per_channel": {
            "0": {"mean": 104.5, "std": 75.25, "percentile_00_5": -58.0, "percentile_99_5": 302.0}
        },
    }
    return {
        "network_weights": network_weights(**sizes),
        "optimizer_state": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": np.float64(3e-4)}]},
        "grad_scaler_state": {"scale": 65536.0},
        "logging": {"mean_fg_dice": [np.float64(0.8), np.float32(0.5)], "epoch_start_timestamps": [1.5]},
        "_best_ema": np.float64(0.81),
        "current_epoch": 1000,
        "init_args": {
            "plans": plans,
            "configuration": "2d_896",
            "fold": 0,
            "dataset_json": {"labels": {"background": 0, "kidney": 1, "tumour": 2}},
            "device": torch.device("cpu"),
        },
        "trainer_name": "meddinov3_base_primus_multiscale_Trainer",
        "inference_allowed_mirroring_axes": (0, 1),
    }


def save(tmp_path: Path, content: dict[str, Any]) -> Path:
    path = tmp_path / "fold_0" / "checkpoint_best.pth"
    path.parent.mkdir(exist_ok=True)
    torch.save(content, path)
    return path


def test_the_network_and_what_it_expects_are_read(tmp_path: Path) -> None:
    saved = checkpoint()
    loaded = load_slice_model(save(tmp_path, saved))
    spec = loaded.spec
    assert spec.architecture == loaded.network.architecture
    assert loaded.network.architecture.taps == (2, 5, 8, 11)
    assert loaded.network.architecture.decoder == "primus"
    assert (spec.name, spec.vocabulary, spec.everything) == (
        "Dataset220_KiTS2023",
        ((1, "kidney"), (2, "tumour")),
        (1, 2),
    )
    assert (spec.window_hu, spec.normalisation, spec.mean_std_hu) == ((-58, 302), "fixed", (104.5, 75.25))
    assert (spec.window_size, spec.spacing_mm) == ((896, 896, 1), (0.44642857, 0.44642857, 0))
    assert spec.orientation == "PLS", "slices of nnU-Net's arrays, which are (z, y, x)"
    assert spec.overlap == 0.5, "of tiles, as nnU-Net places them"
    assert (spec.mirror_axes, spec.mirror_swaps_sides) == ((0, 1), False), "nnU-Net mirrors and swaps no names"
    assert spec.outside_hu == spec.mean_std_hu[0], "nnU-Net fills up with zeros after it has normalised"
    assert loaded.report.wrapper == "network_weights"
    assert "optimizer_state" in loaded.report.beside
    assert loaded.report.dropped == ("dino_encoder.rope_embed.periods",)
    state, weights = loaded.network.state_dict(), saved["network_weights"]
    assert torch.equal(
        state["encoder.blocks.3.mlp.contract.weight"], weights["dino_encoder.blocks.3.mlp.fc2.weight"]
    )
    assert torch.equal(state["decoder.stages.2.norm.bias"], weights["up_projection.decode.2.1.bias"])
    assert torch.equal(state["decoder.classify.weight"], weights["up_projection.decode.4.weight"])


def test_a_segmenter_of_slices_is_held_to_the_answers_that_its_conversion_kept(tmp_path: Path) -> None:
    convert_model(save(tmp_path, checkpoint()), tmp_path / "ours")
    golden = tmp_path / "ours" / "golden.safetensors"
    header = read_header(golden)
    assert sorted(header.tensors) == ["logits", "tokens_11", "tokens_2", "tokens_5", "tokens_8"]
    found = verify(tmp_path / "ours")
    assert found.verdict == "incomplete", "a decoder has no peer"
    assert "0.0e+00 from the answers kept beside it" in found.checks[-1].detail
    answers = read_tensors(golden, {name: name for name in header.tensors}, header=header)
    write_tensors(golden, {**answers, "logits": answers["logits"] * 1.01}, metadata=header.metadata)
    assert verify(tmp_path / "ours").verdict == "failed"


def test_what_is_ignored_in_training_has_no_channel_and_no_name(tmp_path: Path) -> None:
    saved = checkpoint()
    saved["init_args"]["dataset_json"]["labels"]["ignore"] = CLASSES
    assert load_slice_model(save(tmp_path, saved)).spec.vocabulary == ((1, "kidney"), (2, "tumour"))
    saved["init_args"]["dataset_json"]["labels"]["ignore"] = CLASSES + 1
    with pytest.raises(CheckpointError, match="ignore"):
        load_slice_model(save(tmp_path, saved))


def test_its_answers_are_those_of_the_published_decoder_on_its_encoder(tmp_path: Path) -> None:
    saved = checkpoint()
    network = load_slice_model(save(tmp_path, saved)).network
    published = PatchDecode(4 * WIDTH, patch_size=16, num_classes=CLASSES)
    weights = {
        name.removeprefix("up_projection."): tensor
        for name, tensor in saved["network_weights"].items()
        if name.startswith("up_projection.")
    }
    published.load_state_dict(weights)
    image = torch.randn(1, 1, 32, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = published(torch.cat(network.encoder.feature_maps(image, [2, 5, 8, 11]), dim=1))
        assert ((network(image) - wanted).abs().max() / wanted.abs().max()).item() <= 1e-5


def test_the_decoder_of_one_depth_and_an_encoder_without_registers_are_read(tmp_path: Path) -> None:
    loaded = load_slice_model(save(tmp_path, checkpoint(taps=1, registers=0)))
    architecture = loaded.network.architecture
    assert (architecture.taps, architecture.encoder.registers) == ((11,), 0)
    assert loaded.report.missing == ("encoder.registers",)
    assert loaded.network(torch.zeros(1, 1, 16, 16)).shape == (1, CLASSES, 16, 16)


def test_which_four_of_more_blocks_are_decoded_is_not_guessed_but_a_spec_may_say_it(tmp_path: Path) -> None:
    path = save(tmp_path, checkpoint(depth=13))
    with pytest.raises(CheckpointError, match="13 blocks"):
        load_slice_model(path)
    path = path.rename(path.with_name("model.pth"))
    spec = load_slice_model(save(tmp_path, checkpoint())).spec
    encoder = replace(spec.architecture.encoder, depth=13)
    stated = replace(spec, architecture=replace(spec.architecture, encoder=encoder, taps=(1, 4, 7, 12)))
    path.with_name("spec.json").write_text(stated.to_json())
    assert load_slice_model(path).network.architecture.taps == (1, 4, 7, 12)


def test_labels_that_hold_one_another_are_not_spelled_out(tmp_path: Path) -> None:
    saved = checkpoint()
    nested: tuple[object, ...] = ()
    for _ in range(18):
        nested = (nested, nested)
    saved["init_args"]["dataset_json"]["labels"]["tumour"] = nested
    with pytest.raises(CheckpointError) as caught:
        load_slice_model(save(tmp_path, saved))
    assert len(str(caught.value)) < 2000
    saved["init_args"]["plans"]["dataset_name"] = nested
    with pytest.raises(CheckpointError, match="a tuple where a word is expected"):
        load_slice_model(save(tmp_path, saved))


def test_it_becomes_a_model_of_ours(tmp_path: Path) -> None:
    path = save(tmp_path, checkpoint())
    convert_model(path, tmp_path / "ours")
    before, after = load_slice_model(path), load_slice_model(tmp_path / "ours")
    image = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(before.network(image), after.network(image))
    assert after.spec.vocabulary == before.spec.vocabulary
    with pytest.raises(CheckpointError, match="labels slices"):
        load_model(tmp_path / "ours")
    with pytest.raises(CheckpointError, match="a meddinov3 network"):
        load_encoder(tmp_path / "ours")


@pytest.mark.parametrize(
    ("reader", "forward"),
    [
        ("SimpleITKIO", (0, 1, 2)),
        ("SimpleITKIO", (1, 0, 2)),
        ("SimpleITKIO", (2, 0, 1)),
        ("NibabelIO", (2, 1, 0)),
        ("NibabelIOWithReorient", (2, 0, 1)),
    ],
)
def test_slices_are_cut_along_the_axis_that_the_plans_put_first(
    tmp_path: Path, reader: str, forward: tuple[int, int, int]
) -> None:
    """Beside nnU-Net's way: the file as its readers read it, transposed, slice by slice, and back."""
    backward = tuple(forward.index(axis) for axis in range(3))
    saved, file = checkpoint(), tmp_path / "scan.nii.gz"
    plans = saved["init_args"]["plans"]
    plans |= {"image_reader_writer": reader, "transpose_forward": forward, "transpose_backward": backward}
    plans["configurations"]["2d_896"] |= {"patch_size": [32, 32], "spacing": [2.0, 2.0]}
    loaded = load_slice_model(save(tmp_path, saved))
    grid = Grid((32, 24, 16), np.diag([-2.0, -2.0, 2.0, 1.0]))  # stored the usual way: to the left, back, up
    waves = np.sin(np.indices(grid.shape) * np.array([0.4, 0.7, 1.1])[:, None, None, None]).sum(axis=0)
    nibabel.save(nibabel.Nifti1Image((100 * waves).astype(np.int16), grid.affine), file)
    wanted = nnunet_labels(loaded.network, file, reader, forward, backward)
    found = Segmenter(loaded.network, loaded.spec)(read(file))
    assert (found.data == wanted).mean() > 0.999
    assert np.bincount(wanted.ravel()).max() < 0.95 * wanted.size, "one answer everywhere would prove nothing"
    if forward != (0, 1, 2):
        untold = replace(loaded.spec, orientation="PLS")
        assert (Segmenter(loaded.network, untold)(read(file)).data == wanted).mean() < 0.9, "the axis matters"


def nnunet_labels(
    network: MedDino, file: Path, reader: str, forward: tuple[int, ...], backward: tuple[int, ...]
) -> np.ndarray:
    """Return labels in the file's axes, as ``default_preprocessor.py`` and ``export_prediction.py`` have it."""
    if reader == "SimpleITKIO":
        array = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file)))
    else:
        image = nibabel.load(file)
        if reader == "NibabelIOWithReorient":
            image = nibabel.as_closest_canonical(image)
        array = np.asarray(image.dataobj).transpose(2, 1, 0)
    data = torch.from_numpy(array.astype(np.float32).transpose(forward).copy())
    slices = (data.clamp(-58, 302) - 104.5) / 75.25
    labels = np.zeros(data.shape, np.uint8)
    for number, image in enumerate(slices):
        rows, columns = image.shape
        top, left = (32 - rows) // 2, (32 - columns) // 2
        canvas = torch.zeros(1, 1, 32, 32)
        canvas[0, 0, top : top + rows, left : left + columns] = image
        with torch.no_grad():
            answer = network(canvas)[0, :, top : top + rows, left : left + columns]
        labels[number] = answer.argmax(dim=0).numpy()
    in_file = labels.transpose(backward).transpose(2, 1, 0)
    return in_file[::-1, ::-1] if reader == "NibabelIOWithReorient" else in_file


def set_labels(saved: dict[str, Any], labels: dict[str, Any]) -> None:
    saved["init_args"]["dataset_json"]["labels"] = labels


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no arguments": (lambda s: s.pop("init_args"), "plans and labels"),
    "another configuration": (lambda s: s["init_args"].update(configuration="3d"), "plans and labels"),
    "regions": (lambda s: set_labels(s, {"background": 0, "kidney": [1, 2], "tumour": 2}), "3 channels"),
    "too few labels": (lambda s: set_labels(s, {"background": 0, "kidney": 1}), "3 channels"),
    "another normalisation": (
        lambda s: s["init_args"]["plans"]["configurations"]["2d"].update(normalization_schemes=["ZScore"]),
        "ZScore",
    ),
    "axes that do not come back": (
        lambda s: s["init_args"]["plans"].update(transpose_forward=[2, 0, 1], transpose_backward=[2, 0, 1]),
        "which is not back",
    ),
    "an axis twice": (
        lambda s: s["init_args"]["plans"].update(transpose_forward=[0, 0, 1], transpose_backward=[0, 0, 1]),
        "which is not back",
    ),
    "no word of axes": (lambda s: s["init_args"]["plans"].pop("transpose_forward"), "transpose_forward"),
    "photographs": (
        lambda s: s["init_args"]["plans"].update(image_reader_writer="NaturalImage2DIO"),
        "read by NaturalImage2DIO",
    ),
    "a tensor missing": (lambda s: s["network_weights"].pop("up_projection.decode.1.1.bias"), "decode.1.1.bias"),
    "a tensor nobody knows": (lambda s: s["network_weights"].update(extra=torch.ones(2)), "extra"),
    "two depths": (
        lambda s: s["network_weights"].update(
            {"up_projection.decode.0.0.weight": torch.zeros(2 * WIDTH, 2 * WIDTH, 2, 2)}
        ),
        "of one depth or of four",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_said_or_does_not_fit_is_refused(tmp_path: Path, fault: str) -> None:
    change, said = FAULTS[fault]
    saved = checkpoint()
    change(saved)
    with pytest.raises(CheckpointError, match=said):
        load_slice_model(save(tmp_path, saved))


def add_biases(saved: dict[str, Any], of_keys: float) -> dict[str, Tensor]:
    """Make a checkpoint one of the trainers ``dinov3_base_*``: no registers, and biases without their masks."""
    shapes = {f"dino_encoder.blocks.{number}.attn.qkv.bias": (3 * WIDTH,) for number in range(DEPTH)}
    biases = seeded_vit(shapes)
    for bias in biases.values():
        bias[WIDTH : 2 * WIDTH] *= of_keys
    saved["network_weights"].update(biases)
    return biases


@pytest.mark.parametrize("of_keys", [1.0, float("nan")])
def test_biases_of_keys_that_were_trained_are_refused_with_that_reason(tmp_path: Path, of_keys: float) -> None:
    saved = checkpoint(registers=0)
    add_biases(saved, of_keys)
    with pytest.raises(
        CheckpointError, match="the file is whole, but trainers that start from Meta's weights"
    ) as caught:
        load_slice_model(save(tmp_path, saved))
    assert f"in force in {DEPTH} blocks" in str(caught.value)
    assert "missing" not in str(caught.value)


def test_biases_of_keys_that_are_zero_change_nothing_and_the_others_are_read(tmp_path: Path) -> None:
    saved = checkpoint(registers=0)
    biases = add_biases(saved, 0.0)
    encoder = load_slice_model(save(tmp_path, saved)).network.encoder
    with_masks = {
        name.removeprefix("dino_encoder."): tensor
        for name, tensor in saved["network_weights"].items()
        if name.startswith("dino_encoder.")
    }
    for name, bias in biases.items():
        inner = name.removeprefix("dino_encoder.")
        with_masks[inner] = bias.clone()
        with_masks[inner][WIDTH : 2 * WIDTH] = 7.0  # which its mask zeroes
        with_masks[f"{inner}_mask"] = torch.tensor([1.0, 0.0, 1.0]).repeat_interleave(WIDTH)
    with_masks["storage_tokens"] = torch.zeros(1, 0, WIDTH)
    torch.save(with_masks, tmp_path / "meta.pth")
    masked = load_encoder(tmp_path / "meta.pth").network.state_dict()
    assert masked.keys() == encoder.state_dict().keys()
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, masked[name]), name
    assert encoder.state_dict()["blocks.0.attention.query_bias"].any()


class Planted:
    """Unpickles to a call that leaves a file behind."""

    def __init__(self, evidence: Path) -> None:
        self.evidence = evidence

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.evidence,)


def test_nothing_is_executed_wherever_it_stands(tmp_path: Path) -> None:
    saved = copy.copy(checkpoint())
    saved["logging"] = {"mean_fg_dice": [Planted(tmp_path / "executed")]}
    path = save(tmp_path, saved)
    with pytest.raises(UnsafeCheckpointError):
        load_slice_model(path)
    assert not (tmp_path / "executed").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "executed").exists()


def test_the_published_sizes_are_those_of_the_description() -> None:
    with torch.device("meta"):
        whole = build(MedDinoArchitecture(decoder="primus", num_classes=16))
    assert round(sum(parameter.numel() for parameter in whole.parameters()) / 1e6, 2) == 110.72
