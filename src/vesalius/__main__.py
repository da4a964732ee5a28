"""Runs the command line as ``python -m vesalius``."""
# SPDX-License-Identifier: Apache-2.0

from vesalius.cli.main import main

raise SystemExit(main())
