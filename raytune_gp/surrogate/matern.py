"""Matérn-5/2 in closed form, kept in the two parts that its gradients need as well.

k(r) = (1 + √5 r + 5r²/3) exp(-√5 r),   dk / d(r²) = -5/6 (1 + √5 r) exp(-√5 r)
"""

from __future__ import annotations

import numpy as np

__all__ = ["correlation", "matern52", "root_and_decay"]


def matern52(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The correlation (n x m) of features over lengthscales `a` (n x D) and `b` (m x D)."""
    return correlation(*root_and_decay(a, b))


def root_and_decay(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """√5 r and exp(-√5 r), n x m each, for `a` (n x D) and `b` (m x D)."""
    squared = a @ b.T
    squared *= -2.0
    squared += np.einsum("ij,ij->i", b, b)
    squared += np.einsum("ij,ij->i", a, a)[:, None]
    np.maximum(squared, 0.0, out=squared)
    squared *= 5.0
    root = np.sqrt(squared, out=squared)
    return root, np.exp(-root)


def correlation(root: np.ndarray, decay: np.ndarray) -> np.ndarray:
    """k(r) from what `root_and_decay` gives, n x m."""
    polynomial = root / 3.0
    polynomial += 1.0
    polynomial *= root
    polynomial += 1.0
    polynomial *= decay
    return polynomial
