"""Bricks that several networks are built of."""
# SPDX-License-Identifier: Apache-2.0
