"""What a run is: the settings that the experiment decides by, as they stand in the journal."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from raytune_gp.errors import SpecError
from raytune_gp.failures import FailureKind, policy_of
from raytune_gp.kinds import check_fields
from raytune_gp.patience import AUTO
from raytune_gp.trial import Metric, Trial

__all__ = ["SCOPES", "UNLIMITED", "ExperimentSpec", "in_words"]

SCOPES = ("last", "avg", "last-5-avg", "last-10-avg", "all")
UNLIMITED = -1


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_time(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 < value <= sys.float_info.max


def in_words(resources: Mapping[str, Any]) -> str:
    """What a trial reserves, in a line such as `cpu 1, gpu 2, label_selector zone !a`."""
    return ", ".join(
        f"{name} {' and '.join(f'{k} {v}' for k, v in said.items()) if isinstance(said, Mapping) else said}"
        for name, said in resources.items()
    )


@dataclass(frozen=True)
class ExperimentSpec:
    """The settings of a run. JSON throughout, so that any process can read a run from its journal.

    `run_id` tells this run from others that had its name. `num_samples` counts trials (grid cells included),
    `UNLIMITED` for no bound. A trial's process reserves `resources`, and the workers that it starts, if any,
    `bundles`, placed by `placement_strategy`. Times are in seconds. `scope` says which of a trial's values of
    the metric is its objective, as in Ray Tune. `stop` maps a metric to the value that ends a trial once
    reached: at least that, or at most that for a metric of the run that is minimised. `max_failures` is how
    often a trial may raise and be tried again (-1: always), `max_losses` how often it may lose its worker
    (None: always). `trial_timeout_s` is how long a trial may train in all, `report_timeout_s` how long it may
    go without a report before it counts as hung (`Patience.setting`). `keep_checkpoints` of each trial are
    kept, the newest always among them. `searcher`, `scheduler`, `trainable` and `space` describe those parts
    to readers; `space` has a `definition` too, from which it can be made again, and `points_to_evaluate` are
    the user's guesses. `run_file` is the file that `raytune-gp run` read them from: its `path` and `sha256`;
    empty for a run of another origin.
    """

    name: str
    metrics: tuple[Metric, ...]
    run_id: str = ""
    num_samples: int = 1
    scope: str = "last"
    seed: int = 0
    max_concurrent_trials: int | None = None
    resources: Mapping[str, Any] = field(default_factory=lambda: {"cpu": 1})
    bundles: Sequence[Mapping[str, Any]] = field(default_factory=list)
    placement_strategy: str = "PACK"
    time_budget_s: float | None = None
    stop: Mapping[str, float] = field(default_factory=dict)
    max_failures: int = 0
    max_losses: int | None = policy_of(FailureKind.WORKER_LOST).retries
    fail_fast: bool = False
    trial_timeout_s: float | None = None
    report_timeout_s: float | str | None = AUTO
    grace_s: float = 10.0
    keep_checkpoints: int | None = None
    checkpoint_metric: Metric | None = None
    storage_path: str = ""
    searcher: Mapping[str, Any] = field(default_factory=dict)
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    trainable: str = ""
    space: Mapping[str, Any] = field(default_factory=dict)
    points_to_evaluate: Sequence[Mapping[str, Any]] = field(default_factory=list)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    run_file: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._require(bool(self.name), "name", self.name, "a name of at least one character")
        self._require(bool(self.metrics), "metric", self.metrics, "the name of the metric to optimise")
        for metric in self.metrics:
            self._require(metric.mode in ("max", "min"), "mode", metric.mode, '"max" or "min"')
        self._require(
            self.num_samples == UNLIMITED or _is_whole(self.num_samples, 1),
            "num_samples",
            self.num_samples,
            "at least 1, or -1 for no bound",
        )
        self._require(self.scope in SCOPES, "scope", self.scope, "one of " + ", ".join(SCOPES))
        self._require(
            self.max_concurrent_trials is None or _is_whole(self.max_concurrent_trials, 1),
            "max_concurrent_trials",
            self.max_concurrent_trials,
            "at least 1, or None for what the cluster holds",
        )
        times = {
            "time_budget_s": self.time_budget_s,
            "trial_timeout_s": self.trial_timeout_s,
        }
        for name, value in times.items():
            expected = "a positive number of seconds, or None for no limit"
            self._require(value is None or _is_time(value), name, value, expected)
        self._require(_is_time(self.grace_s), "grace_period_s", self.grace_s, "a positive number of seconds")
        patience = self.report_timeout_s
        self._require(
            patience is None or patience == AUTO or _is_time(patience),
            "report_timeout_s",
            patience,
            f'a positive number of seconds, "{AUTO}" to learn it, or None for no limit',
        )
        self._require(
            _is_whole(self.max_failures, -1),
            "max_failures",
            self.max_failures,
            "0 or more, or -1 for no bound",
        )
        self._require(
            self.keep_checkpoints is None or _is_whole(self.keep_checkpoints, 1),
            "num_to_keep",
            self.keep_checkpoints,
            "at least 1, or None to keep all",
        )

    @property
    def stops_trials(self) -> bool:
        """Whether a trial may be told to end for what it has reported, a stopper of the user's aside."""
        scheduler = str(self.scheduler.get("name", "fifo")).lower()
        return bool(self.stop) or scheduler.removesuffix("scheduler") != "fifo"

    @staticmethod
    def _require(ok: bool, name: str, value: Any, expected: str) -> None:
        if not ok:
            raise SpecError(f"{name} is {value!r}; it must be {expected}")

    @property
    def metric(self) -> Metric:
        """The first metric: the one that tables and plots are sorted by."""
        return self.metrics[0]

    def objective_of(self, trial: Trial) -> tuple[tuple[float, ...] | None, str | None]:
        """The trial's value of each metric by its reports, or None and why: METRIC_MISSING or NOT_FINITE."""
        values = [trial.value(metric, self.scope) for metric in self.metrics]
        found = tuple(value for value in values if value is not None)
        if len(found) < len(values):
            return None, FailureKind.METRIC_MISSING
        return (found, None) if all(map(math.isfinite, found)) else (None, FailureKind.NOT_FINITE)

    def retries(self, failure: str) -> int | None:
        """How many attempts more a trial may have after a `failure` of this kind; None for no bound."""
        policy = policy_of(failure)
        if policy.blamed:
            return None if self.max_failures == -1 else self.max_failures
        return self.max_losses if failure == FailureKind.WORKER_LOST else policy.retries

    def to_json(self) -> dict[str, Any]:
        """The spec as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ExperimentSpec:
        """What `to_json` wrote."""
        known = dict(data)
        known["metrics"] = tuple(Metric(**m) for m in data["metrics"])
        if data.get("checkpoint_metric"):
            known["checkpoint_metric"] = Metric(**data["checkpoint_metric"])
        spec = cls(**known)
        check_fields(spec)
        return spec

    def as_read(self) -> ExperimentSpec:
        """This spec as a reader of its journal gets it. Raises SpecError for what a journal cannot hold."""
        try:
            return self.from_json(json.loads(json.dumps(self.to_json())))
        except (TypeError, ValueError) as error:
            raise SpecError(f"these settings cannot be kept in the journal: {error}") from None

    def changed(self, changes: Mapping[str, Any]) -> ExperimentSpec:
        """The spec with `changes` (JSON values) made."""
        return self.from_json({**self.to_json(), **changes}) if changes else replace(self)
