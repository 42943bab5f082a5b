"""`python -m raytune_gp.cli` is `raytune-gp`."""

from __future__ import annotations

from raytune_gp.cli.app import main

main()
