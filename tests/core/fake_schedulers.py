"""Three schedulers of the kinds to come, as small as they go: does the Scheduler protocol carry them?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from raytune_gp import events as ev
from raytune_gp.protocols import Continue, Decision, Exploit, Pause
from raytune_gp.trial import Trial


class Promotion:
    """ASHA's promotion variant: every trial pauses at a rung; the best 1/eta of a rung are resumed."""

    rule = "fake_asha/1"

    def __init__(self, rungs: tuple[int, ...] = (1, 3), eta: int = 3):
        self.eta = eta
        self.rungs: dict[int, dict[str, float]] = {rung: {} for rung in rungs}
        self.paused: dict[str, int] = {}
        self.promoted: set[tuple[str, int]] = set()

    def apply(self, event: ev.Event, trials: Mapping[str, Trial]) -> None:
        match event:
            case ev.Reported() if event.step in self.rungs:
                self.rungs[event.step].setdefault(event.trial, float(event.metrics["score"]))
            case ev.TrialPaused():
                self.paused[event.trial] = max(r for r, values in self.rungs.items() if event.trial in values)
            case ev.Decided(action="resume"):
                self.promoted.add((event.trial, self.paused.pop(event.trial)))
            case ev.TrialEnded():
                self.paused.pop(event.trial, None)

    def on_result(self, trial: Trial) -> Decision:
        if trial.step in self.rungs and (trial.id, trial.step) not in self.promoted:
            return Pause(f"rung {trial.step}")
        return Continue()

    def next_to_resume(self) -> str | None:
        for rung in sorted(self.rungs, reverse=True):
            values = self.rungs[rung]
            best = sorted(values, key=lambda t: (-values[t], t))[: len(values) // self.eta]
            for trial in best:
                if self.paused.get(trial) == rung:
                    return trial
        return None

    def snapshot(self) -> Mapping[str, Any]:
        rungs = [[rung, values] for rung, values in self.rungs.items()]
        return {"rungs": rungs, "paused": self.paused, "promoted": sorted(self.promoted)}

    def restore(self, snapshot: Mapping[str, Any], trials: Mapping[str, Trial]) -> None:
        self.rungs = {rung: dict(values) for rung, values in snapshot["rungs"]}
        self.paused = dict(snapshot["paused"])
        self.promoted = {(trial, rung) for trial, rung in snapshot["promoted"]}


class Population:
    """Population-based training: every `interval` steps the worst quarter goes on from the best one.

    Trials have `last` steps: behind these a new config would be given the value of the old one.
    """

    rule = "fake_pbt/1"

    def __init__(self, interval: int = 2, last: int = 8):
        self.interval, self.last = interval, last
        self.scores: dict[str, float] = {}
        self.configs: dict[str, dict[str, Any]] = {}

    def apply(self, event: ev.Event, trials: Mapping[str, Trial]) -> None:
        match event:
            case ev.Reported():
                self.scores[event.trial] = float(event.metrics["score"])
            case ev.AttemptAssigned():
                self.configs[event.trial] = trials[event.trial].config

    def on_result(self, trial: Trial) -> Decision:
        ranked = sorted(self.scores, key=lambda t: (self.scores[t], t))
        quarter = ranked[: len(ranked) // 4]
        best = ranked[-1]
        if trial.step % self.interval or trial.step >= self.last or trial.id not in quarter:
            return Continue()
        factor = np.random.default_rng([trial.number, trial.step]).choice([0.8, 1.2])
        config = {"x": float(self.configs[best]["x"] * factor)}
        return Exploit(best, config, f"{trial.id} is in the worst quarter")

    def next_to_resume(self) -> str | None:
        return None


class FreezeThaw:
    """Trials train for `quantum` steps at a time; a full basket of frozen ones thaws its best.

    A frozen trial further than `margin` behind the best is given up.
    """

    rule = "fake_freeze_thaw/1"

    def __init__(self, quantum: int = 2, basket: int = 3, margin: float = 4.0):
        self.quantum, self.basket, self.margin = quantum, basket, margin
        self.values: dict[str, float] = {}
        self.frozen: set[str] = set()
        self.to_create = 0

    def apply(self, event: ev.Event, trials: Mapping[str, Trial]) -> None:
        match event:
            case ev.RunCreated():
                self.to_create = event.spec["num_samples"]
            case ev.TrialCreated():
                self.to_create -= 1
            case ev.Reported():
                self.values[event.trial] = float(event.metrics["score"])
            case ev.TrialPaused():
                self.frozen.add(event.trial)
            case ev.Decided(action="resume") | ev.TrialEnded():
                self.frozen.discard(event.trial)

    def on_result(self, trial: Trial) -> Decision:
        began = trial.resume_from.step if trial.resume_from else 0
        done = trial.step - began
        return Pause(f"{done} steps") if done >= self.quantum else Continue()

    def next_to_resume(self) -> str | None:
        best = max(self.values.values(), default=0.0)
        worth = [t for t in self.frozen if self.values[t] >= best - self.margin]
        if not worth or (len(self.frozen) < self.basket and self.to_create):
            return None
        return max(worth, key=lambda t: (self.values[t], t))
