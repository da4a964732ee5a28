"""Tensors to tensors: the networks, by the papers' nouns."""
# SPDX-License-Identifier: Apache-2.0
