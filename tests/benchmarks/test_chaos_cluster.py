"""Chaos on real Ray: a round breaks no rule, those on record are not played again, broken rules are seen."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos.cluster import __main__ as cluster
from benchmarks.chaos.cluster.faults import FAULTS
from benchmarks.chaos.cluster.judge import Violation, violations
from benchmarks.chaos.cluster.ledger import Ledger
from benchmarks.chaos.cluster.rounds import RANDOM
from benchmarks.chaos.cluster.scene import STEPS, TRIALS, Scene
from raytune_gp import events as ev
from tests.programs import printed

Lines = list[dict[str, Any]]


@pytest.mark.ray
def test_a_real_round_in_which_a_node_is_lost_breaks_no_rule(tmp_path: Path) -> None:
    out = tmp_path / "chaos.jsonl"
    which = ["--each", "1", "--only", "a node is lost"]
    printed("-m", "benchmarks.chaos.cluster", *which, "--out", str(out), "--keep", str(tmp_path / "kept"))
    [record] = [json.loads(line) for line in out.read_text().splitlines()]
    assert (record["violations"], record["missed"]) == ([], [])
    assert record["reports"] >= TRIALS * STEPS
    assert all(delay["to_knowledge"] >= 0 for delay in record["delays"])
    sums = json.loads(out.with_suffix(".json").read_text())
    assert (sums["rounds"], sums["faults_in_all"], sums["violated"]) == (1, 1, [])


def test_rounds_on_record_are_not_played_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[tuple[str, int]] = []

    class Noting:
        def __init__(self, *_: object):
            pass

        def play(self, name: str, number: int) -> dict[str, Any]:
            played.append((name, number))
            counts = {"trials": 8, "reports": 48, "reports_made_again": 0, "load": 1.0, "seconds": 2.0}
            lists: dict[str, Any] = {"faults": [name], "missed": [], "violations": [], "delays": []}
            return {"fault": name, "number": number, "seed": 0, **counts, **lists}

        def close(self) -> None:
            pass

    monkeypatch.setattr(cluster, "Player", Noting)
    out = tmp_path / "chaos.jsonl"
    for each in ("1", "2"):
        monkeypatch.setattr(sys, "argv", ["chaos", "--each", each, "--random", "3", "--out", str(out)])
        assert cluster.main() == 0
    assert len(played) == len(set(played)) == 2 * len(FAULTS) + 3
    sums = json.loads(out.with_suffix(".json").read_text())
    assert sums["rounds"] == len(played)
    assert (sums["faults"][RANDOM]["rounds"], sums["faults"]["a trial hangs"]["rounds"]) == (3, 2)


def calm(scene: Scene) -> tuple[dict[str, Any], list[ev.Event], Lines]:
    """The results, events and ledger of a round in which nothing happened."""
    trials: dict[str, Any] = {}
    events: list[ev.Event] = []
    ledger: Lines = []
    for number in range(TRIALS):
        trial = f"{number:05d}"
        about = {"pid": number, "life": number}
        events.append(ev.AttemptAssigned(0.0, trial, 1, f"w{number}/1", None))
        ledger.append({"at": 1.0, "what": "start", "trial": trial, "after": 0, **about})
        for step in range(1, STEPS + 1):
            told = {"at": 1.0 + step, "step": step, **about}
            ledger.append({**told, "what": "report", "value": 0.5 * step})
        ledger.append({"at": 9.0, "what": "end", **about})
        events.append(ev.TrialEnded(9.0, trial, "COMPLETED", [0.5 * STEPS], None, None))
        rows = [[step, 0.5 * step, number] for step in range(1, STEPS + 1)]
        trials[trial] = {"status": "COMPLETED", "rows": rows, "error": "None"}
    return {"status": "COMPLETED", "trials": trials}, events, ledger


def judged(scene: Scene, results: dict[str, Any], events: list[ev.Event], ledger: Lines) -> list[Violation]:
    """What breaks a rule."""
    scene.results.write_text(json.dumps(results))
    scene.ledger.path.write_text("".join(json.dumps(line) + "\n" for line in ledger))
    return list(violations(scene, events, set()))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path, nodes=None)  # type: ignore[arg-type]  # nobody looks at processes


def test_a_calm_round_breaks_no_rule(scene: Scene) -> None:
    assert judged(scene, *calm(scene)) == []


def again(scene: Scene, began: float, after: int, upto: int) -> tuple[dict[str, Any], list[ev.Event], Lines]:
    """A round in which the first trial has a second attempt, which counts from step `after` + 1 to `upto`."""
    results, events, ledger = calm(scene)
    about = {"pid": 99, "life": 99}
    start = {"at": began, "what": "start", "trial": "00000", "after": after, **about}
    said = [
        {"at": began, "what": "report", "step": s, "value": 0.7 * s, **about} for s in range(after + 1, 7)
    ]
    rows = results["trials"]["00000"]["rows"]
    rows[after:upto] = [[s, 0.7 * s, 99] for s in range(after + 1, upto + 1)]
    checkpoint = ev.Checkpointed(1.0, "w0/1", 2, "00000", 1, after, "path")
    retry = ev.AttemptAssigned(1.0, "00000", 2, "w9/1", {"step": after, "path": "path"})
    return results, [*events[:1], checkpoint, retry, *events[1:]], [*ledger, start, *said]


def test_a_second_attempt_that_goes_on_from_a_checkpoint_breaks_no_rule(scene: Scene) -> None:
    assert judged(scene, *again(scene, 8.0, after=4, upto=STEPS)) == []


@pytest.mark.parametrize(
    ("began", "upto", "kind", "words"),
    [
        (9.5, STEPS, "twice", "began 0.50 s after it was over"),
        (2.0, STEPS, "twice", "two attempts of trial 00000 ran at the same time for 7.0 s"),
        (8.0, 5, "twice", "of an attempt that went on from 0"),
    ],
)
def test_a_second_attempt_that_breaks_a_rule_is_seen(
    scene: Scene, began: float, upto: int, kind: str, words: str
) -> None:
    found = judged(scene, *again(scene, began, after=4, upto=upto))
    assert any(k == kind and words in text for k, text in found), found


def lose_a_step(results: dict[str, Any], events: list[ev.Event]) -> None:
    del results["trials"]["00001"]["rows"][2]


def double_a_step(results: dict[str, Any], events: list[ev.Event]) -> None:
    rows = results["trials"]["00001"]["rows"]
    rows.insert(2, rows[2])


def lose_a_trial(results: dict[str, Any], events: list[ev.Event]) -> None:
    del results["trials"]["00001"]


def change_a_value(results: dict[str, Any], events: list[ev.Event]) -> None:
    results["trials"]["00001"]["rows"][3][1] = 17.0


def end_twice(results: dict[str, Any], events: list[ev.Event]) -> None:
    events.append(events[-1])


def forget_a_checkpoint(results: dict[str, Any], events: list[ev.Event]) -> None:
    events.append(ev.Checkpointed(2.0, "w0/1", 2, "00000", 1, 3, "path"))
    events.append(ev.AttemptAssigned(3.0, "00000", 2, "w9/1", None))


@pytest.mark.parametrize(
    ("break_it", "kind", "words"),
    [
        (lose_a_step, "lost", "of trial 00001 are missing the steps [3]"),
        (double_a_step, "twice", "has the steps [1, 2, 3, 3, 4, 5, 6]"),
        (lose_a_trial, "lost", "of the budget are missing ['00001']"),
        (change_a_value, "wrong", "nobody said 17.0 at step 4 of trial 00001"),
        (end_twice, "twice", "ended 2 times"),
        (forget_a_checkpoint, "lost", "does not go on from step 3"),
    ],
)
def test_a_broken_rule_is_seen(scene: Scene, break_it: Any, kind: str, words: str) -> None:
    results, events, ledger = calm(scene)
    break_it(results, events)
    found = judged(scene, results, events, ledger)
    assert any(k == kind and words in text for k, text in found), found


def test_a_life_dies_by_its_own_word_or_by_a_strike(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    for number, trial in enumerate(["00000", "00001"]):
        ledger.write("start", trial=trial, life=number, after=0)
    lines = ledger.read()
    lines[1]["pid"] = 77
    ledger.path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ledger.write("trouble", life=0, kind="kill", deadly=True)
    ledger.write("strike", fault="a node is lost", pids=[77, 78])
    assert all(life.died is not None for lives in ledger.lives().values() for life in lives)
