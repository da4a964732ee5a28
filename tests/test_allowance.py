"""What this process may use: the smallest limit of the control groups it stands in; and the most that it held."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vesalius.allowance import available_bytes, peak_resident_bytes, usable_cores

V2 = ("memory.max", "memory.current", "inactive_file")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


@pytest.fixture
def free(tmp_path: Path) -> Callable[[], int]:
    return lambda: available_bytes(named_in=tmp_path / "named", mounted_at=tmp_path)


def limit(folder: Path, files: tuple[str, str, str], maximum: str, used: int = 0, **stat: int) -> None:
    """Write what Linux says of one control group."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = "".join(f"{name} {value}\n" for name, value in {"anon": 1, **stat}.items())
    for name, text in {files[0]: maximum, files[1]: str(used), "memory.stat": numbers}.items():
        (folder / name).write_text(text + "\n")


@pytest.mark.parametrize(("folder", "files"), [(".", V2), ("memory", V1)], ids=["version 2", "version 1"])
def test_a_container_s_limit_counts_and_idle_pages_of_files_do_not_count_as_used(
    tmp_path: Path, free: Callable[[], int], folder: str, files: tuple[str, str, str]
) -> None:
    idle = files[2]
    limit(tmp_path / folder, files, "3000000", 2_900_000)
    assert free() == 100_000
    limit(tmp_path / folder, files, "3000000", 2_900_000, **{f"active_{idle}": 5, idle: 2_000_000})
    assert free() == 2_100_000
    limit(tmp_path / folder, files, "3000000", 3_000_001)
    assert free() == 0
    limit(tmp_path / folder, files, "max" if folder == "." else "9223372036854771712", 2_900_000)
    assert free() > 3_000_000


@pytest.mark.parametrize(
    ("line", "folder", "files"),
    [
        ("0::/slurm/job_1/step_0", ".", V2),
        ("12:cpu,cpuacct:/elsewhere\n7:memory:/slurm/job_1/step_0", "memory", V1),
    ],
    ids=["version 2", "version 1"],
)
def test_of_the_groups_that_a_job_stands_in_the_smallest_limit_counts(
    tmp_path: Path, free: Callable[[], int], line: str, folder: str, files: tuple[str, str, str]
) -> None:
    (tmp_path / "named").write_text(line + "\n")
    job = tmp_path / folder / "slurm" / "job_1"
    limit(job, files, "4000000", 1_000_000)
    limit(job / "step_0", files, "max" if folder == "." else "9223372036854771712", 500_000)
    limit(job.parent / "job_2", files, "10")
    assert free() == 3_000_000, "a limit of the group above"
    limit(job / "step_0", files, "2500000", 500_000)
    assert free() == 2_000_000
    limit(job.parent, files, "5000000", 4_999_990)
    assert free() == 10, "the group above has more, and others use it"


@pytest.mark.parametrize("path", ["/docker/0123", "/../other"])
def test_a_path_of_the_host_does_not_hide_what_is_mounted_in_the_container(
    tmp_path: Path, free: Callable[[], int], path: str
) -> None:
    (tmp_path / "named").write_text(f"0::{path}\n7:memory:{path}\n")
    limit(tmp_path / "memory", V1, "3000000", 1_000_000)
    limit(tmp_path.parent / "other", V2, "10")
    assert free() == 2_000_000


def test_where_nothing_limits_what_the_system_has_is_free(
    tmp_path: Path, free: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": 123}))
    assert free() == 123
    (tmp_path / "named").write_text("no groups\n")
    assert free() == 123


@pytest.mark.parametrize(
    ("line", "folder", "files"),
    [
        ("0::/slurm/job_1/step_0", ".", {"cpu.max": "{quota} 100000"}),
        (
            "3:cpu,cpuacct:/slurm/job_1/step_0",
            "cpu",
            {"cpu.cfs_quota_us": "{quota}", "cpu.cfs_period_us": "100000"},
        ),
    ],
    ids=["version 2", "version 1"],
)
def test_cores_are_those_that_the_smallest_share_of_time_keeps_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, folder: str, files: dict[str, str]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    (tmp_path / "named").write_text(line + "\n")

    def cores(group: str, quota: str) -> int:
        where = tmp_path / folder / group
        where.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (where / name).write_text(text.format(quota=quota) + "\n")
        return usable_cores(named_in=tmp_path / "named", mounted_at=tmp_path)

    assert cores("slurm/job_1/step_0", "max" if folder == "." else "-1") == 64
    assert cores("slurm/job_1", "200000") == 2
    assert cores(".", "9900000") == 2, "a container of 99 cores changes nothing"
    assert cores("slurm/job_1/step_0", "120000") == 2, "a part of a core is one more"
    assert cores("slurm", "50000") == 1
    assert cores("slurm/job_2", "1") == 1, "another job's"


HOLDER = """
import mmap, subprocess, sys
held = mmap.mmap(-1, 800_000_000)
for page in range(0, len(held), mmap.PAGESIZE):
    held[page] = 1
print(subprocess.run([sys.executable, "-c", sys.argv[1]], capture_output=True, text=True, check=True).stdout)
"""


def test_the_peak_counts_what_was_held_and_let_go_and_nothing_that_a_parent_held() -> None:
    script = (
        "import numpy as np; from vesalius.allowance import peak_resident_bytes as peak\n"
        "before = peak(); block = np.ones(25_000_000); del block; print(before, peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", HOLDER, script], capture_output=True, text=True, check=True)
    before, grown = map(int, done.stdout.split())
    assert before < 700_000_000
    assert 150_000_000 < grown < 260_000_000
    assert peak_resident_bytes() > 0
