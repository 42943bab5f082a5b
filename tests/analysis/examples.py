"""Runs to analyse: made in virtual time by the real state machine, and states put together by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from raytune_gp import events as ev
from raytune_gp import messages as msg
from raytune_gp.protocols import Continue, Decision, Stop
from raytune_gp.space import SearchSpace, choice, loguniform, randint, uniform, when
from raytune_gp.spec import ExperimentSpec
from raytune_gp.state import RunState
from raytune_gp.trial import Config, Metric, Trial
from tests.support import Simulation

SPACE = SearchSpace(
    {
        "optimizer": {"name": choice(["sgd", "adam"]), "learning_rate": loguniform(1e-4, 1.0)},
        "momentum": when("optimizer/name", ["sgd"], uniform(0.0, 0.99)),
        "batch_size": choice([32, 64, 128, 256]),
        "layers": randint(1, 9),
        "epochs": 12,
    }
)


def quality(config: Config) -> float:
    """The accuracy that a config reaches in the end."""
    rate = math.log10(config["optimizer"]["learning_rate"])
    loss = 0.05 * (rate + 1.7) ** 2 + 0.04 * abs(math.log2(config["batch_size"]) - 6)
    loss += 0.01 * (config["layers"] - 5) ** 2
    loss += 0.3 * (config["momentum"] - 0.85) ** 2 if "momentum" in config else 0.06
    return max(0.1, 0.94 - loss)


class Guesser:
    """Stands in for a searcher: random configs, later ones drawn to where the quality is high."""

    def __init__(self, seed: int = 0, start: int = 8):
        self.rng = np.random.default_rng(seed)
        self.start = start

    def ask(self, command: msg.Suggest) -> msg.Input:
        answers = []
        for ordinal in range(command.start, command.start + command.count):
            draws = 1 if ordinal < self.start or ordinal % 5 == 0 else 4
            configs = [self._draw() for _ in range(draws)]
            config = max(configs, key=quality)
            provenance: dict[str, Any] = {"method": "sobol"}
            if ordinal >= self.start:
                deviation = 0.06 / math.sqrt(1 + ordinal / 10)
                mean = quality(config) + self.rng.normal(0, deviation)
                predicted = {"predicted_mean": mean, "predicted_deviation": deviation}
                provenance = {"method": "gp", **predicted, "milliseconds": 84.0}
            answers.append({"config": SPACE.to_json(config), "provenance": provenance})
        return msg.Suggested(command.request, answers, None, False)

    def _draw(self) -> Config:
        flat = {}
        for name in SPACE.order:
            if name in SPACE.dimensions:
                flat[name] = SPACE.dimensions[name].sample(self.rng)
        if flat["optimizer/name"] != "sgd":
            del flat["momentum"]
        return SPACE.resolve(SPACE.nested(flat), self.rng)


def curve(config: Config, first: int) -> Iterator[tuple[float, Mapping[str, Any]]]:
    """Accuracy rises to the config's quality in 12 steps; a high rate raises, and many layers diverge."""
    rate = config["optimizer"]["learning_rate"]
    rng = np.random.default_rng([int(1e9 * rate), config["layers"]])
    top = quality(config)
    for step in range(first, 12):
        if rate > 0.5 and step == 3:
            raise RuntimeError("CUDA out of memory: tried to allocate <b>20 GiB</b>")
        accuracy = top * (1 - 0.8 * math.exp(-(step + 1) / 3)) + float(rng.normal(0, 0.008))
        if config["layers"] == 1 and rate > 0.05 and step > 4:
            accuracy = math.nan
        yield (
            30.0 * config["batch_size"] ** -0.2 * config["layers"],
            {
                "accuracy": accuracy,
                "loss": 1.2 - accuracy,
            },
        )


def example_spec(**settings: Any) -> ExperimentSpec:
    return ExperimentSpec(
        **{
            "name": "cifar10 <demo>",
            "metrics": (Metric("accuracy", "max"),),
            "num_samples": 32,
            "max_concurrent_trials": 4,
            "searcher": {"name": "gp", "start": 8},
            "scheduler": {"name": "cutoff", "step": 4},
            "trainable": "examples.cifar10:train",
            "space": SPACE.describe(),
            **settings,
        }
    )


class Cutoff:
    """Stops a trial whose accuracy after 4 steps is below 0.52."""

    rule = "cutoff/1"

    def apply(self, event: ev.Event, trials: Mapping[str, Trial]) -> None:
        """Nothing is kept."""

    def on_result(self, trial: Trial) -> Decision:
        accuracy = trial.history.last["accuracy"]
        return Stop(f"accuracy {accuracy:.3f} < 0.52") if trial.step == 4 and accuracy < 0.52 else Continue()

    def next_to_resume(self) -> str | None:
        return None


def example_simulation(seed: int = 0, **settings: Any) -> Simulation:
    """A run of about thirty trials, some of which fail, diverge or are stopped early; not yet started."""
    return Simulation(example_spec(**settings), curve, slots=4, scheduler=Cutoff, asker=Guesser(seed))


def example_run(seed: int = 0, **settings: Any) -> RunState:
    state: RunState = example_simulation(seed, **settings).start().run().state
    return state


def best_of(state: RunState) -> Trial:
    """The best trial of a run that has one."""
    best = state.best()
    assert best is not None
    return best


def value_of(trial: Trial) -> float:
    """The first objective of a trial that has a value."""
    assert trial.objective is not None
    return trial.objective[0]


class Maker:
    """A state put together event by event, one worker, in seconds that pass as told."""

    def __init__(self, **settings: Any):
        self.state = RunState()
        self.at = 0.0
        self.seq = 0
        self._apply(ev.RunCreated(0.0, example_spec(**{"space": {}, **settings}).to_json()))
        self._apply(ev.CapacityKnown(0.0, 1))
        self._apply(ev.WorkerRequested(0.0, "w", 0, 1))
        self._apply(ev.WorkerUp(0.0, "w", "node", 1))

    def _apply(self, event: ev.Event) -> None:
        self.state.apply(event)

    def trial(
        self,
        config: Config,
        reports: Sequence[Mapping[str, Any]],
        *,
        status: str | None = "COMPLETED",
        error: str | None = None,
        provenance: Mapping[str, Any] | None = None,
        checkpoints: bool = False,
    ) -> Maker:
        """One trial of `config` that reports once a second and ends as `status` (None: it goes on)."""
        trial_id, state = f"{len(self.state.trials):05d}", self.state
        suggestion = {"config": config, "provenance": dict(provenance or {})}
        request = state.suggestions.requests
        self._apply(ev.SuggestionsRequested(self.at, request, 1, state.suggestions.suggested, 0))
        self._apply(ev.SuggestionsReady(self.at, request, [suggestion], None, False))
        self._apply(ev.TrialCreated(self.at, trial_id, 0))
        self._apply(ev.AttemptAssigned(self.at, trial_id, 1, "w", None))
        self._apply(ev.AttemptStarted(self.at, "w", self._seq(), trial_id, 1))
        for step, metrics in enumerate(reports, start=1):
            self.at += 1.0
            body = {"training_iteration": step, "time_total_s": float(step), **metrics}
            self._apply(ev.Reported(self.at, "w", self._seq(), trial_id, 1, step, body, self.at))
            if checkpoints:
                path = f"trial_{trial_id}/{step}"
                self._apply(ev.Checkpointed(self.at, "w", self._seq(), trial_id, 1, step, path))
        if status is not None:
            self._end(trial_id, status, error)
        return self

    def _end(self, trial_id: str, status: str, error: str | None) -> None:
        outcome = "failed" if status == "FAILED" else "completed"
        self._apply(ev.AttemptEnded(self.at, "w", self._seq(), trial_id, 1, outcome, error, True, self.at))
        values = [self.state.trials[trial_id].value(m) for m in self.state.spec.metrics]
        usable = status != "FAILED" and all(v is not None and math.isfinite(v) for v in values)
        objective = values if usable else None
        failure = None if usable else ("error" if status == "FAILED" else "not finite")
        self._apply(ev.TrialEnded(self.at, trial_id, status, objective, failure, None))  # type: ignore[arg-type]

    def end(self, status: str = "COMPLETED", reason: str = "every trial is finished") -> RunState:
        """The run is over."""
        self._apply(ev.RunEnded(self.at, status, reason))
        return self.state

    def _seq(self) -> int:
        self.seq += 1
        return self.seq
