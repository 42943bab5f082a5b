"""What the user of a run should hear while it goes: what is amiss, and how to put it right."""

from __future__ import annotations

from collections.abc import Set

from raytune_gp.state import RunState
from raytune_gp.unreported import idle_criteria, unranked_checkpoints

__all__ = ["warnings_of"]


def warnings_of(state: RunState, told: Set[str] = frozenset()) -> dict[str, str]:
    """The warnings that hold now, a sentence or more each, by what they are about.

    Those `told` may be left out: to word them anew costs time. The same warning keeps its key while its words
    may change, as numbers in them do.
    """
    untold = [name for name in state.spec.stop if f"stop {name}" not in told]
    warnings = {f"stop {name}": warning for name, warning in idle_criteria(state, untold).items()}
    unranked = None if "checkpoints" in told else unranked_checkpoints(state)
    if unranked is not None:
        warnings["checkpoints"] = unranked
    unshared = state.packing.warning(state.spec.resources, len(state.observations))
    if unshared is not None:
        warnings["gpu"] = unshared
    return warnings
