"""``vesalius doctor``: this machine, what will be slow and why, and whether torch's 3-D convolution adds up."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vesalius.cli.failures import BUG
from vesalius.cli.request import threads_of
from vesalius.cli.words import number_of_threads

if TYPE_CHECKING:
    from vesalius.inference.machine import ConvolutionCheck


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``vesalius doctor``."""
    parser.add_argument(
        "--threads", type=number_of_threads, metavar="N", help="look at the machine with so many threads"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Print what was found; 0 where torch adds up wherever a device does not refuse, 1 (a bug, of torch) if not."""
    import torch

    from vesalius.inference.machine import check_convolutions, describe_machine, devices, slow_because

    torch.set_num_threads(threads_of(args.threads))
    machine = describe_machine()
    reasons, checks = slow_because(machine), [check for device in devices() for check in check_convolutions(device)]
    if args.json:
        print(json.dumps(_as_object(machine, reasons, checks), indent=2))
    else:
        print("\n".join(_lines(machine, reasons, checks)))
    return 0 if any(check.is_right for check in checks) and not any(check.is_wrong for check in checks) else BUG


def _as_object(
    machine: Mapping[str, Any], reasons: Sequence[str], checks: Sequence[ConvolutionCheck]
) -> dict[str, Any]:
    return {
        **machine,
        "slow_because": list(reasons),
        "convolutions": [
            {
                "device": check.device,
                "precision": check.precision,
                "layout": check.layout,
                "stride": check.stride,
                "difference": check.difference if check.difference < float("inf") else None,
                "tolerance": check.tolerance,
                "right": None if check.refused else check.is_right,
                "refused": check.refused or None,
            }
            for check in checks
        ],
    }


def _lines(machine: Mapping[str, Any], reasons: Sequence[str], checks: Sequence[ConvolutionCheck]) -> Iterator[str]:
    yield f"processor  {machine['processor']}, {machine['cores']} cores, {machine['threads']} threads"
    hardware = "in hardware" if machine["bf16_in_hardware"] else "not in hardware"
    yield f"bf16       {hardware}{', AMX' if machine['amx'] else ''}"
    yield f"speed      {', '.join(f'{name} {speed:.3g} GFLOP/s' for name, speed in machine['gflops'].items())}"
    free, total = machine["available_bytes"] / 1e9, machine["memory_bytes"] / 1e9
    yield f"memory     {free:.1f} of {total:.1f} GB free"
    yield f"gpu        {machine['gpu'] or 'none'}"
    yield f"versions   vesalius {machine['vesalius']}, torch {machine['torch']}, python {machine['python']}"
    for reason in reasons:
        yield f"slow       {reason}"
    for check in checks:
        kind = f"{check.device}, {check.precision}, {check.layout}, stride {check.stride}"
        if check.is_wrong:
            off = f"is off by {check.difference:.1e}; {check.tolerance:.0e} is rounding"
            yield f"WRONG      3-D convolution ({kind}) {off}"
    for device, precision, why in dict.fromkeys((c.device, c.precision, c.refused) for c in checks if c.refused):
        yield f"refused    3-D convolution ({device}, {precision}): {why}"
    wrong = ", ".join(dict.fromkeys(check.device for check in checks if check.is_wrong))
    if wrong:
        yield f"           no result made on {wrong} can be trusted: install another version of torch"
    elif right := [check for check in checks if check.is_right]:
        where = ", ".join(dict.fromkeys(check.device for check in right))
        yield f"right      3-D convolution agrees with float64 in {len(right)} of {len(checks)} ways on {where}"
