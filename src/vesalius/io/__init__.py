"""Files in, files out: the only folder that knows LPS, tags and headers."""
# SPDX-License-Identifier: Apache-2.0
