"""A backbone learns without labels: views of slices, a student and its teacher, objectives, recipes."""
# SPDX-License-Identifier: Apache-2.0
