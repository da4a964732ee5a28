"""A user in the loop: prompts in, what changed out; an immutable history, and a journal that survives a kill."""
# SPDX-License-Identifier: Apache-2.0
