"""Where voxels are: affines, grids, volumes, resampling, boxes; the one home of every space conversion."""
# SPDX-License-Identifier: Apache-2.0
