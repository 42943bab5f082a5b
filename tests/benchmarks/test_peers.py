"""The peers' adapters: configs of the space beside pending and failed trials, where they are installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from benchmarks.race.engine import race
from benchmarks.race.peers import PEERS, Entrant
from benchmarks.race.peers.shared import plain_config
from benchmarks.race.problems.base import Problem, Task
from raytune_gp.errors import SpecError
from raytune_gp.space import SearchSpace, choice, lograndint, loguniform, randint, uniform, when

SPACE = {
    "kind": choice(["a", "b", "c"]),
    "flag": choice([True, False]),
    "rate": loguniform(1e-4, 1.0),
    "width": lograndint(2, 65),
    "deep/depth": when("kind", ["a", "b"], randint(1, 5)),
    "slope": when("kind", ["b"], uniform(-1.0, 0.0)),
}
KINDS = {"kind": str, "flag": bool, "rate": float, "width": int, "deep/depth": int, "slope": float}


def _is_installed(peer: str) -> bool:
    try:
        return bool(version(PEERS[peer][1]))
    except PackageNotFoundError:
        return False


class _Checked:
    """An optimiser whose configs are held against the space."""

    def __init__(self, peer: str, space: SearchSpace, trials: int):
        self._space = space
        self._optimiser = Entrant(peer, peer, {}).make(space, 5, trials)

    def ask(self, ordinal: int) -> Any:
        config = self._optimiser.ask(ordinal)
        self._space.validate(config)
        flat = self._space.flat(config)
        assert set(flat) == {name for name in SPACE if self._space.is_active(name, flat)}
        assert {name: type(value) for name, value in flat.items()} == {name: KINDS[name] for name in flat}
        return config

    def tell(self, ordinal: int, value: float | None) -> None:
        self._optimiser.tell(ordinal, value)


@pytest.mark.filterwarnings("default")  # what peers warn of is theirs
@pytest.mark.parametrize("peer", sorted(set(PEERS) - {"vizier"}))  # it takes minutes
def test_a_peer_stays_in_the_space_beside_pending_and_failed_trials(peer: str) -> None:
    if not _is_installed(peer):
        pytest.skip(f"{peer} is not installed")
    space = SearchSpace(SPACE)
    task = Task(SPACE, lambda c: float("nan") if c["kind"] == "c" else np.log(c["rate"]) + c["flag"])
    outcome = race(
        Problem("mixed", ("mixed",), "develop", lambda: task),
        _Checked(peer, space, 12),
        seed=0,
        trials=12,
        workers=4,
    )
    assert len(outcome.values) == 12
    assert any(value is not None for value in outcome.values)


def test_every_peer_has_an_adapter_of_its_own() -> None:
    for adapter, _ in PEERS.values():
        module, _, function = adapter.partition(":")
        assert function
        assert find_spec(f"benchmarks.race.peers.{module}") is not None


def test_a_peer_that_is_not_installed_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PEERS, "absent", ("absent:absent", "no-such-package-as-this"))
    with pytest.raises(SpecError, match=r"no-such-package-as-this.*peers\.txt"):
        Entrant.parse("absent")


def test_the_words_of_another_package_become_a_plain_config_of_what_exists() -> None:
    values = {
        "kind": np.str_("a"),
        "flag": np.bool_(True),
        "rate": np.float64(0.5),
        "width": np.int64(3),
        "deep/depth": np.float64(2.0),
        "slope": -0.5,
        "unknown": 1,
    }
    config = plain_config(SearchSpace(SPACE), values)
    assert config == {"kind": "a", "flag": True, "rate": 0.5, "width": 3, "deep/depth": 2}
    assert [type(value) for value in config.values()] == [str, bool, float, int, int]
