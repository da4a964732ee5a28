"""What names mean: ids, names, groups, parts, codes and colours; data, not code."""
# SPDX-License-Identifier: Apache-2.0
