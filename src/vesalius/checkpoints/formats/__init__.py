"""One file for each foreign weight layout."""
# SPDX-License-Identifier: Apache-2.0
