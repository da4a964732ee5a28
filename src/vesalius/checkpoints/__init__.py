"""Weights on disk and on a hub; everything foreign is translated here and nowhere else."""
# SPDX-License-Identifier: Apache-2.0
