"""Volume to volume: what is done to an image before a model sees it."""
# SPDX-License-Identifier: Apache-2.0
