"""Attention with distances along rows and columns, against its definition written as loops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vesalius.models.layers import relative_attention
from vesalius.models.layers.relative_attention import RelativeAttention, between


def attention() -> RelativeAttention:
    torch.manual_seed(0)
    made = RelativeAttention(8, heads=2, side=5)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_()
    return made


def by_loops(module: RelativeAttention, grid: Tensor) -> Tensor:
    """Return the same for one grid, token by token; tables are as long as the longer side asks for."""
    rows, columns, width = grid.shape
    inside = width // module.heads
    queries, keys, values = module.qkv(grid).chunk(3, dim=-1)
    mixed = torch.empty_like(grid)
    for head in range(module.heads):
        part = slice(head * inside, (head + 1) * inside)
        for y in range(rows):
            for x in range(columns):
                query, logits = queries[y, x, part], torch.empty(rows, columns)
                for i in range(rows):
                    for j in range(columns):
                        row = between(module.row_distances, rows)[y, i]
                        column = between(module.column_distances, columns)[x, j]
                        logits[i, j] = query @ keys[i, j, part] / inside**0.5 + query @ row + query @ column
                weights = logits.flatten().softmax(0).view(rows, columns, 1)
                mixed[y, x, part] = (weights * values[..., part]).sum((0, 1))
    return module.out(mixed)


@pytest.mark.parametrize("at_once", [1, 1 << 24])
@torch.no_grad()
def test_it_equals_its_definition(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(relative_attention, "_LOGITS_AT_ONCE", at_once)
    module, grids = attention(), torch.randn(3, 3, 5, 8, generator=torch.Generator().manual_seed(1))
    found = module(grids)
    for one, grid in zip(found, grids, strict=True):
        torch.testing.assert_close(one, by_loops(module, grid))


def test_distances_run_from_behind_the_query_to_before_it() -> None:
    table = torch.arange(-2.0, 3)[:, None]  # query minus key
    assert between(table, 3)[..., 0].tolist() == [[0, -1, -2], [1, 0, -1], [2, 1, 0]]


def test_distances_of_another_size_are_interpolated_in_float32() -> None:
    table = torch.linspace(-4, 4, 9)[:, None].half()
    found = between(table, 3)
    assert found.dtype == torch.float32
    assert found[1, 1, 0] == 0
    assert found[2, 0, 0] == pytest.approx(-found[0, 2, 0].item())
    assert found[2, 0, 0] == pytest.approx(3.6)  # the outermost fifth of nine, seen at its middle
