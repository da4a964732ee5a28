"""What is known of a model by its name, before its weights are read."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib

import vesalius
from vesalius.errors import NoHeadError


def identify_weights(model: str) -> dict[str, str]:
    """Say which model a name means, without reading its weights into memory: name, hash of weights and of spec.

    Raises:
        ModelError: If there is none, or it is refused.
    """
    from vesalius.checkpoints.load import find_weights_of
    from vesalius.checkpoints.weights import open_weights

    weights = open_weights(find_weights_of(model))
    spec = hashlib.sha256(weights.spec.to_json().encode()).hexdigest()
    return {
        "vesalius": vesalius.__version__,
        "model": f"{weights.spec.name} {weights.spec.version}",
        "weights_sha256": weights.report.sha256,
        "spec_sha256": spec,
    }


def check_clickable(model: str) -> None:
    """Refuse a model that was not taught what a click means, before its weights are read.

    Raises:
        NoHeadError: If it has no click branch.
        ModelError: If there is no such model.
    """
    from vesalius.checkpoints.load import find_weights_of
    from vesalius.checkpoints.weights import open_weights

    spec = open_weights(find_weights_of(model)).spec
    spec.require_head(model)
    if not spec.vista.point_branch:
        raise NoHeadError(
            expected="a model with a click branch",
            got=f"{spec.name} {spec.version}, which segments by names only",
            do="name another with --model: vista3d has one (see `vesalius models list`)",
        )
