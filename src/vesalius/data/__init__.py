"""Cases to learn from and to test on."""
# SPDX-License-Identifier: Apache-2.0
