"""What a student is asked for, one objective per file; how much of each stands in ``pretraining.settings``."""
# SPDX-License-Identifier: Apache-2.0
