"""Labels nobody drew, slices worth learning from: offline jobs over a list of scans that write files."""
# SPDX-License-Identifier: Apache-2.0
