"""The docs are true: snippets run, commands parse, links lead somewhere, numbers stand in the files they name."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from vesalius.checkpoints.catalog import BUILTIN, CATALOG
from vesalius.checkpoints.safetensors import write_model
from vesalius.cli.main import make_parser
from vesalius.curation.supervoxels import SupervoxelSettings
from vesalius.geometry.grid import Grid
from vesalius.geometry.volume import Volume
from vesalius.io.dicom_series import write_series
from vesalius.labels.vocabulary import Vocabulary
from vesalius.models.build import build
from vesalius.spec import ModelSpec, VistaArchitecture

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
HAND_WRITTEN = [page for page in PAGES if page.name != "cli.md"]


def snippets(page: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )


PYTHON = [(page, code) for page in HAND_WRITTEN for code in snippets(page, "python")]
COMMANDS = [
    (page, line)
    for page in HAND_WRITTEN
    for block in snippets(page, "sh")
    for line in block.splitlines()
    if line.startswith("vesalius ")
]


BUILT_IN = BUILTIN / "vesalius-small" / "spec.json"
SPECS = {row.name: row.spec for row in CATALOG if row.spec and row.spec.vocabulary}
SPECS |= {"vesalius-small": ModelSpec.from_json(BUILT_IN.read_text(encoding="utf-8"))}


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["generate"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a scan in ``ct/``, and a tiny model in ``models/`` that stands in for the built-in one."""
    folder = tmp_path_factory.mktemp("docs")
    rng = np.random.default_rng(0)
    data = rng.normal(0, 300, (1, 16, 16, 16)).clip(-1000, 1000).astype(np.int16)
    data[:, :3] = -1000
    write_series(Volume(data, Grid((16, 16, 16), np.diag([4.0, 4.0, 4.0, 1.0])), "CT"), folder / "ct")
    architecture = VistaArchitecture(width=8, blocks_down=(1, 1, 1), num_embeddings=8, point_branch=False)
    spec = ModelSpec(
        name="vesalius-small",
        architecture=architecture,
        spacing_mm=(4.0, 4.0, 4.0),
        window_size=(16, 16, 16),
        vocabulary=((1, "liver"), (3, "spleen")),
    )
    generator = torch.Generator().manual_seed(0)
    state = {
        n: torch.randn(t.shape, generator=generator) * 0.3 for n, t in build(architecture).state_dict().items()
    }
    write_model(folder / "models" / "vesalius-small", state, spec)
    return folder


@pytest.fixture(scope="module")
def tutorial(place: Path) -> Path:
    """A folder with no more than what the commands of the tutorial have made before its Python."""
    shutil.copytree(place / "ct", place / "tutorial" / "torso" / "ct")
    return place / "tutorial"


@pytest.mark.parametrize(("page", "code"), PYTHON, ids=[page.stem for page, _ in PYTHON])
def test_python_snippets_run(
    page: Path, code: str, place: Path, tutorial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tutorial if page.parent.name == "tutorials" else place)
    monkeypatch.setattr("vesalius.checkpoints.store.BUILTIN", place / "models")
    exec(compile(code, f"{page.name} (snippet)", "exec"), {"__name__": "snippet"})


def test_there_are_snippets_and_commands_to_check() -> None:
    assert len(PYTHON) >= 5
    assert len(COMMANDS) >= 15


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=[line for _, line in COMMANDS])
def test_commands_in_the_docs_parse(page: Path, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    args = make_parser(words[0]).parse_args(words)
    assert callable(args.run)
    if words[0] in ("segment", "batch") and args.model in SPECS:
        spec = SPECS[args.model]
        assert Vocabulary.of(spec.vocabulary, everything=spec.everything).resolve(args.classes)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    broken = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert broken == []


def test_the_reference_has_every_command_and_flag(generate: Any) -> None:
    text = generate.REFERENCE.read_text(encoding="utf-8")
    for parser in generate.commands():
        _, _, after = text.partition(f"\n## {parser.prog}\n")
        assert after, f"{parser.prog} is missing: run `python docs/generate.py`"
        section = after.partition("\n## ")[0]
        flags = [
            flag for action in parser._actions for flag in action.option_strings if action.help != "==SUPPRESS=="
        ]
        assert [flag for flag in flags if flag not in section] == [], "run `python docs/generate.py`"


def test_every_number_of_the_tables_is_its_file_s(generate: Any) -> None:
    rows, stated = generate.measured(), []
    for page, up in ((generate.README, ""), (generate.MEASURED, "../../")):
        table = page.read_text(encoding="utf-8").partition(generate.BEGIN)[2].partition(generate.END)[0]
        for line in (line for line in table.splitlines() if "benchmarks/results/" in line):
            stated.append(re.findall(r"benchmarks/results/([^)]+)", line)[0])
            assert rows[stated[-1]].replace("](bench", f"]({up}bench") == line, "run `python docs/generate.py`"
    assert stated == [*generate.FIRST, *stated[len(generate.FIRST) :]]
    assert sorted(stated[len(generate.FIRST) :]) == sorted(rows), "a file is stated twice, or in no group of GROUPS"


def test_the_probe_s_numbers_are_those_of_its_file() -> None:
    page = (ROOT / "docs" / "how-to" / "probe.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^features .*?^```$", page, flags=re.DOTALL | re.MULTILINE)
    results = (ROOT / "benchmarks" / "results" / "pretraining_works.json").read_text(encoding="utf-8")
    probed = json.loads(results)["seeds"][0]["probe"]
    intervals = [interval for one in probed["scores"] for interval in (one["mean"], *one["classes"].values())]
    intervals += [gain | {"is_gain": True} for gain in probed["gains"]]
    known = {
        format(interval[key], "+.3f" if "is_gain" in interval else ".3f")
        for interval in intervals
        for key in ("estimate", "low", "high")
    }
    stated = set(re.findall(r"[+-]?\d\.\d{3}", table))
    assert len(stated) > 50
    assert stated <= known


def test_the_table_of_the_paper_s_steps_is_its_file_s(generate: Any) -> None:
    page = generate.TRAINING.read_text(encoding="utf-8")
    assert generate.steps_table() in page, "run `python docs/generate.py`"
    assert page.count(" to ") >= 4, "with intervals"


def test_a_mean_is_stated_with_its_interval_where_its_file_has_one(generate: Any) -> None:
    result = generate.stated(
        {
            "a": {"mean": 0.5, "low": 0.25, "high": 0.75},
            "b": [{"estimate": 0.5, "low": -0.125, "high": 1.0}],
            "c": {"mean": 0.5, "interval_95": [0.4, 0.6]},
            "d": {"mean": 0.5, "low": None, "high": None},
        }
    )
    assert "{a:.2f}, {b[0]:.3f}, {c:.1f}, {d:.1f}, {a[low]}".format(**result) == (
        "0.50 (0.25 to 0.75), 0.500 (-0.125 to 1.000), 0.5 (0.4 to 0.6), 0.5, 0.25"
    )


def test_a_side_that_is_run_when_asked_for_is_stated_if_its_file_has_it(generate: Any) -> None:
    one = {"mean": 0.5, "low": 0.25, "high": 0.75}
    steps, transfer = (
        json.loads((generate.RESULTS / name).read_text(encoding="utf-8"))
        for name in ("slice_steps.json", "slice_transfer.json")
    )
    steps["dice"].pop("nnunet, batch, long", None)
    assert "and once for" not in generate._row("slice_steps.json", steps)
    steps = {**steps, "minutes_of_long": 25.0, "dice": {**steps["dice"], "nnunet, batch, long": one}}
    assert ", and once for 25 minutes 0.500 (0.250 to 0.750) |" in generate._row("slice_steps.json", steps)
    transfer["as_long"] = {"minutes": 28.0, "support_sets": 2, "gained_by_pretraining": one}
    transfer["dice"]["scratch, as long"] = one
    row = generate._row("slice_transfer.json", transfer)
    assert "from scratch for 28 minutes, 2 support sets: 0.500 (0.250 to 0.750); pretrained over that 0.500" in row


def test_supervoxels_are_stated_for_the_settings_that_the_sentence_names(generate: Any) -> None:
    sentence, default = generate.SENTENCES["supervoxels.json"], SupervoxelSettings()
    assert f"(default: {default.segments} of {default.spacing_mm} mm)" in sentence
    assert f"as by default ({default.channels}, {default.compactness})" in sentence
    row = f"following[4000 segments, {default.channels} channels, compactness {default.compactness}]"
    assert sentence.count("following[") == sentence.count(row) == 2


def test_a_table_of_nothing_says_so(generate: Any) -> None:
    text = f"before\n{generate.BEGIN}\n| old |\n{generate.END}\nafter"
    assert "| old |" not in generate.with_table(text, {})
    known = {generate.FIRST[0]: "| row |", "a.json": "| not shown |"}
    assert generate.with_table(text, known).splitlines()[-3:] == ["| row |", generate.END, "after"]
