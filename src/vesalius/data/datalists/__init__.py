"""Lists of cases: one file per format, one record for all of them, one door that recognises which it is."""
# SPDX-License-Identifier: Apache-2.0
