"""The model that is meant where none is named: the one that travels inside the package."""
# SPDX-License-Identifier: Apache-2.0

DEFAULT_MODEL = "vesalius-small"
