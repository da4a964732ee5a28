"""One volume, one model, no state: from a volume and prompts to labels on the volume's own grid."""
# SPDX-License-Identifier: Apache-2.0
