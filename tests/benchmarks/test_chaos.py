"""Rounds of chaos: none breaks a rule, all kinds of faults are made, a broken rule is seen."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from benchmarks.chaos import __main__ as chaos
from raytune_gp import events as ev
from raytune_gp import experiment
from raytune_gp import messages as msg
from raytune_gp.execution.loop import Loop
from raytune_gp.experiment import Experiment
from raytune_gp.trial import History, Trial


def test_rounds_break_no_rule() -> None:
    found = chaos.summed([chaos.play_rounds(1, range(50))])
    assert found["violated"] == []
    assert found["rounds"] == 50
    assert {"loss", "duplication", "delay", "worker death", "node death"} <= set(found["faults"])
    assert {"refused commit", "lost answer of a commit"} <= set(found["faults"])
    assert found["crashes"] > 25
    assert found["trials"] > 100


def test_the_same_seed_gives_the_same_rounds() -> None:
    first, second = (chaos.play_rounds(2, range(3)) for _ in range(2))
    del first["cpu_s"], second["cpu_s"]
    assert first == second


def act_first(loop: Loop, inputs: Sequence[msg.Input], requests: Sequence[object] = ()) -> None:
    """A turn that tells the world before it commits."""
    first_index, events = loop.experiment.state.index + 1, list[ev.Event]()
    for input in inputs or (msg.Tick(),):
        events += loop.experiment.advance(input, loop._now())
    for command in loop.experiment.commands():
        loop._executor.send(command)
    if events:
        loop._commit(events, first_index)


def count_twice(self: Experiment, item: msg.Item, trial: Trial, now: float) -> Iterator[ev.Event]:
    """A report that is counted twice."""
    for _ in range(2):
        yield ev.Reported(
            now,
            item.worker,
            item.seq,
            trial.id,
            item.attempt,
            item.body["step"],
            item.body["metrics"],
            item.time,
        )


@pytest.mark.parametrize(
    ("where", "name", "broken", "words"),
    [
        (Loop, "_turn", act_first, "acknowledged before it was committed"),
        (experiment._ITEM, "report", count_twice, "were heard the items"),
        (History, "truncate", lambda history, step: None, "has the steps"),
    ],
)
def test_a_broken_rule_is_seen(
    where: object, name: str, broken: object, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isinstance(where, dict):
        monkeypatch.setitem(where, name, broken)
    else:
        monkeypatch.setattr(where, name, broken)
    violations = chaos.play_rounds(0, [1])["violations"]
    assert any(words in text for violation in violations for text in violation["violations"])


def test_rounds_on_record_are_not_played_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "chaos.jsonl"
    played: list[int] = []
    play_rounds = chaos.play_rounds

    def noted(seed: int, numbers: Sequence[int]) -> dict[str, object]:
        played.extend(numbers)
        return play_rounds(seed, numbers)

    monkeypatch.setattr(chaos, "play_rounds", noted)
    for rounds in ("2", "3"):
        monkeypatch.setattr(sys, "argv", ["chaos", "--rounds", rounds, "--out", str(out)])
        assert chaos.main() == 0
    assert played == [0, 1, 2]
    assert [json.loads(line)["rounds"] for line in out.read_text().splitlines()] == [2, 1]
    result = json.loads(out.with_suffix(".json").read_text())
    assert (result["rounds"], result["violations"]) == (3, 0)
