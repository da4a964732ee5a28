"""Run each side of a comparison in a process of its own, and keep what was measured as JSON beside the tables."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import json
import os
import platform
import resource
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vesalius.io.atomic import replacing

RESULTS = Path(__file__).parent / "results"
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def run_side(script: str, side: str, *arguments: str) -> dict[str, Any]:
    """Run ``python script --side SIDE …`` and return the JSON object on the last line it prints."""
    command = [sys.executable, script, "--side", side, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"  {side}: {answer}", file=sys.stderr, flush=True)
    return answer


def run_side_once(folder: Path, script: str, side: str, *arguments: str) -> dict[str, Any]:
    """Run a side and keep what it measured in a folder; do not run one again that was finished there.

    Beside what was measured the folder holds how: the arguments, the commit and the time (``kept_sides``).

    Raises:
        SystemExit: If the one that was finished was made with other arguments, or nobody knows with which.
    """
    path = folder / f"{side}.json"
    if not path.is_file():
        how = {
            "arguments": list(arguments),
            "commit": commit(),
            "began": datetime.now(UTC).isoformat("T", "seconds"),
        }
        measured = run_side(script, side, *arguments)
        with replacing(path) as part:
            part.write_text(json.dumps({"measured": measured, "how": how}))
    kept = json.loads(path.read_text())
    known = kept.get("how", {}).get("arguments")
    if known != list(arguments):
        raise SystemExit(
            f"expected: {path} made with {' '.join(arguments)}\n"
            f"got: one made with {'arguments that it does not say' if known is None else ' '.join(known)}\n"
            f"do: give another --folder, or remove that file"
        )
    answer: dict[str, Any] = kept["measured"]
    return answer


def run_with(python: Path, script: str, *arguments: str, log: Path) -> dict[str, Any]:
    """Run a script of this folder in another Python, and return the JSON object on the last line it prints.

    Raises:
        SystemExit: If it fails, with the end of what it said.
    """
    command = [str(python), str(Path(__file__).with_name(script)), *arguments]
    with log.open("w") as errors:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{script} failed: {log.read_text()[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def each_once(
    folder: Path, script: str, runs: Iterable[tuple[str, str, Sequence[str]]], *, jobs: int
) -> list[dict[str, Any]]:
    """Run many sides once, a thread each, and return what they measured, in their order.

    Args:
        folder: For what was measured.
        script: That runs the sides.
        runs: Folder of a run below ``folder``, side, and the side's arguments.
        jobs: Runs at a time.
    """
    os.environ["OMP_NUM_THREADS"] = "1"

    def carried_out(run: tuple[str, str, Sequence[str]]) -> dict[str, Any]:
        place, name, arguments = run
        (folder / place).mkdir(parents=True, exist_ok=True)
        return run_side_once(folder / place, script, name, *arguments)

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(carried_out, runs))


def kept_sides(folder: Path, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return side -> how it was made: arguments (of paths the last part), commit, time; for the result's JSON."""
    made = {side: json.loads((folder / f"{side}.json").read_text())["how"] for side in names}
    return {
        side: {**how, "arguments": " ".join(Path(word).name for word in how["arguments"])}
        for side, how in made.items()
    }


def commit() -> str:
    """Return the commit of the code that runs, or the package's version where there is no git."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return f"vesalius {version('vesalius')}"


def weights(folder: Path) -> str:
    """Return the SHA-256 of a model's tensors: a commit may hold others, and the file holds the spec, too."""
    from safetensors.numpy import load_file

    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(folder / "model.safetensors").items()):
        digest.update(name.encode() + tensor.tobytes())
    return digest.hexdigest()


def peak_gigabytes() -> float:
    """Return the largest resident set of this process since it began, or since ``forget_peak``.

    Linux: what the kernel says of this program (VmHWM); its ``ru_maxrss`` would count what a parent held when it
    started this one. Elsewhere that is all there is, and nothing is forgotten.
    """
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e9
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e9


def forget_peak() -> None:
    """Start counting the peak anew, where the system can (Linux): what came before is not what is measured."""
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


def machine() -> dict[str, Any]:
    """Say what was measured on."""
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    names = [line.partition(":")[2].strip() for line in flags.splitlines() if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "amx_bf16": "amx_bf16" in flags,
        "avx512_bf16": "avx512_bf16" in flags,
        "python": platform.python_version(),
        "torch": version("torch"),
        "monai": version("monai"),
    }


def write_result(name: str, measured: Mapping[str, Any]) -> None:
    """Write ``results/NAME.json``: the command, the machine, the commit of the code, and what was measured.

    Of kept sides ``kept_sides`` says with which code they were measured; the commit is of the one that sums up.
    """
    RESULTS.mkdir(exist_ok=True)
    command = shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    record = {"command": command, "machine": machine(), "commit": commit(), **measured}
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")


def print_table(rows: Sequence[Sequence[object]]) -> None:
    """Print rows in columns, the first row being the head."""
    words = [[f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in words) for column in range(len(words[0]))]
    for number, row in enumerate(words):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))
