"""raytune-gp: hyperparameter tuning on Ray, guided by a Gaussian process: `from raytune_gp import tune`.

This package loads neither PyTorch nor Ray until a run needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raytune_gp import tune

__all__ = ["__version__", "tune"]

__version__ = "0.1.0"
