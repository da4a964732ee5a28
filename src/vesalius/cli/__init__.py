"""What you type: parse, call, print."""
# SPDX-License-Identifier: Apache-2.0
