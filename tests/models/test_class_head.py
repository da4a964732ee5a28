"""The class head: vectors apart from features, one comparison for any number of classes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import torch

from vesalius.models.class_head import ClassHead, compare


def test_a_class_vector_depends_on_its_own_id_alone() -> None:
    torch.manual_seed(0)
    head = ClassHead(20, 8)
    many = head.class_vectors(torch.arange(20))
    torch.testing.assert_close(head.class_vectors(torch.tensor([7, 3])), many[[7, 3]])
    assert torch.linalg.matrix_rank(many) > 4


def test_logits_are_linear_in_features_so_that_features_can_be_blended() -> None:
    torch.manual_seed(0)
    vectors, one, other = torch.randn(5, 8), torch.randn(1, 8, 4, 4, 4), torch.randn(1, 8, 4, 4, 4)
    blended = compare(vectors, 0.3 * one + 0.7 * other)
    torch.testing.assert_close(
        blended, 0.3 * compare(vectors, one) + 0.7 * compare(vectors, other), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(blended[0, 2, 1, 2, 3], vectors[2] @ (0.3 * one + 0.7 * other)[0, :, 1, 2, 3])


def test_refining_leaves_features_alone_unless_told_to_consume() -> None:
    torch.manual_seed(0)
    head, features = ClassHead(5, 8), torch.randn(1, 8, 8, 8, 8)
    before = features.clone()
    with torch.no_grad():
        kept = head.mapped_features(features)
        assert torch.equal(features, before)
        consumed = head.mapped_features(features.contiguous(memory_format=torch.channels_last_3d), consume=True)
    torch.testing.assert_close(consumed, kept)
