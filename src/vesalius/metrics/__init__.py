"""How good a result is, as numbers: arrays in, numbers out; formulas and edge cases stand in the docstrings."""
# SPDX-License-Identifier: Apache-2.0
