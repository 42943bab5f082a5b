"""The warp to ranks: order, ties, failures, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtri

from raytune_gp.surrogate.ranks import RankWarp

VALUES = np.array([3.0, np.nan, -1e12, 3.0, 5.0])


@pytest.mark.parametrize("maximise", [True, False])
def test_targets_are_normal_scores_of_ranks(maximise: bool) -> None:
    targets = RankWarp.fit(VALUES, maximise=maximise).forward(VALUES)
    good = ndtri((np.array([2.5, 1.0, 2.5, 4.0]) - 0.5) / 4)
    np.testing.assert_allclose(
        targets[[0, 2, 3, 4]], good if maximise else ndtri((4.5 - np.array([2.5, 1.0, 2.5, 4.0])) / 4)
    )
    assert targets[1] == targets.min()


def test_it_turns_back_and_stays_within_what_is_known() -> None:
    warp = RankWarp.fit(VALUES, maximise=True)
    good = np.isfinite(VALUES)
    np.testing.assert_allclose(warp.backward(warp.forward(VALUES))[good], VALUES[good])
    median, half_width = warp.inverse(9.0, 1.0)
    assert (median, half_width) == (5.0, 0.0)


def test_nothing_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="none of the 2 values is finite"):
        RankWarp.fit(np.array([np.nan, np.inf]), maximise=True)
