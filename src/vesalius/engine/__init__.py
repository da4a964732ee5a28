"""The loop that every training runs through; it knows no task."""
# SPDX-License-Identifier: Apache-2.0
