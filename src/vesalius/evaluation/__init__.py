"""How good results are: files against files, a model over a data set, and quality per click."""
# SPDX-License-Identifier: Apache-2.0
