"""The command line, `raytune-gp`: start runs from run files, and look at any run in a journal."""

from __future__ import annotations

from raytune_gp.cli.app import app, main

__all__ = ["app", "main"]
