"""Segmentation learns: prompts, losses, tasks and recipes."""
# SPDX-License-Identifier: Apache-2.0
