"""What a run found, with the names that Ray Tune gives its results: `ResultGrid` and `Result`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from raytune_gp.errors import RunError, SpecError, TrialFailedError
from raytune_gp.space.plain import fresh
from raytune_gp.spec import SCOPES
from raytune_gp.state import RunState
from raytune_gp.trial import CheckpointRecord, Config, Metric, Trial, TrialStatus
from raytune_gp.usage import shown

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LOG_FILE", "Result", "ResultGrid"]

_FAILED = TrialStatus.FAILED

LOG_FILE = "log.txt"
"""What a trial printed, in its directory."""


def _as_it_is(record: CheckpointRecord) -> CheckpointRecord:
    return record


class Result:
    """One trial: its config, what it reported, its checkpoints, and its error if it failed.

    The fields are Ray's; `status`, `trial_id`, `usage` and `log_path` are beside them.
    """

    def __init__(
        self,
        trial: Trial,
        *,
        config: Config,
        path: str,
        metrics: Sequence[Metric],
        checkpoint_factory: Callable[..., Any],
    ):
        self._trial = trial
        self._metrics = metrics
        self._checkpoint_factory = checkpoint_factory
        self.config = config
        self.path = path

    @property
    def trial_id(self) -> str:
        """The trial's id, such as `"00003"`."""
        return self._trial.id

    @property
    def status(self) -> TrialStatus:
        """Where the trial is in its life."""
        return self._trial.status

    @property
    def metrics(self) -> dict[str, Any]:
        """The last report that counts, nested names joined by `/`; empty if the trial never reported.

        What a trial reports after the decision to end it does not count. The metric that is optimised is as
        it was last reported where the last report lacks it.
        """
        return self._trial.last_report(self._metrics)

    @property
    def usage(self) -> dict[str, float]:
        """What its attempts used; what is not known is left out.

        `host_peak_b`, the largest resident memory of its processes together, and `gpu_peak_b`, on its GPUs,
        of `gpu_total_b`, all in bytes; `cpu_cores`, CPU time over wall time; `gpu_util`, the mean utilisation
        of its GPUs (0 to 1), whoever used them.
        """
        return shown(self._trial.usage)

    @property
    def error(self) -> TrialFailedError | None:
        """Why the trial failed, the traceback in its message; None for any other trial."""
        trial = self._trial
        if trial.status is not _FAILED:
            return None
        text = trial.error or trial.reason or "it failed without a message"
        return TrialFailedError(f"trial {trial.id} failed: {text}")

    @property
    def log_path(self) -> str:
        """The file with what the trial printed."""
        return f"{self.path}/{LOG_FILE}"

    @property
    def checkpoint(self) -> Any:
        """The newest checkpoint, or None; of those that count, as `metrics` says, where there are any."""
        newest = self._trial.checkpoint
        return None if newest is None else self._checkpoint_factory(newest)

    @property
    def best_checkpoints(self) -> list[tuple[Any, dict[str, Any]]]:
        """The checkpoints that were kept, oldest first, each with the metrics that were reported with it."""
        return [(self._checkpoint_factory(r), self._metrics_at(r)) for r in self._trial.checkpoints]

    def get_best_checkpoint(self, metric: str, mode: str) -> Any:
        """The checkpoint whose report had the best `metric`; `mode` is "max" or "min". NaN never is the best.

        Raises:
            SpecError: another mode, or no checkpoint has this metric.
            RunError: the trial has no checkpoint.
        """
        target = _metric(metric, mode)
        records = self._trial.checkpoints
        if not records:
            raise RunError(f"trial {self.trial_id} has no checkpoint: give `report` one to keep")
        best: tuple[float, CheckpointRecord] | None = None
        for record in records:
            value = self._metrics_at(record).get(metric, math.nan)
            if not math.isnan(value) and (best is None or target.better(value, best[0])):
                best = value, record
        if best is None:
            known = ", ".join(sorted(self._trial.history.columns)) or "nothing"
            raise SpecError(f"no checkpoint of trial {self.trial_id} has metric {metric!r}; it has {known}")
        return self._checkpoint_factory(best[1])

    def _metrics_at(self, record: CheckpointRecord) -> dict[str, float]:
        """The numeric metrics of the report that came with a checkpoint."""
        history = self._trial.history
        steps = history.steps
        return history.row(steps.index(record.step)) if record.step in steps else {}

    @cached_property
    def metrics_dataframe(self) -> pd.DataFrame:
        """Every report, a row each: the numeric metrics, and `timestamp` (seconds since the epoch)."""
        import pandas as pd

        history = self._trial.history
        columns: dict[str, Any] = {name: list(values) for name, values in history.columns.items()}
        columns.setdefault("training_iteration", list(history.steps))
        return pd.DataFrame({**columns, "timestamp": list(history.times)})

    def __repr__(self) -> str:
        return (
            f"Result(trial_id={self.trial_id!r}, status={self.status.value}, config={self.config!r}, "
            f"metrics={self.metrics!r}, path={self.path!r})"
        )


class ResultGrid:
    """The trials of a run, in order of creation; indexing and iteration give a `Result` each.

    Args:
        state: the run, live or replayed from its journal.
        restore_config: from a journalled config to the user's own (`SearchSpace.from_json`).
        checkpoint_factory: from a `CheckpointRecord` to the user's checkpoint, an object with a `.path`.
        storage_path: the run's directory; each trial's is below it.
    """

    def __init__(
        self,
        state: RunState,
        *,
        restore_config: Callable[[Mapping[str, Any]], Config] = fresh,
        checkpoint_factory: Callable[[CheckpointRecord], Any] = _as_it_is,
        storage_path: str = "",
    ):
        self.state = state
        self._restore_config = restore_config
        self._checkpoint_factory = checkpoint_factory
        self._storage_path = storage_path.rstrip("/")

    @property
    def experiment_path(self) -> str:
        """The run's directory, in its storage."""
        return self._storage_path

    @property
    def errors(self) -> list[TrialFailedError]:
        """The errors of the trials that failed."""
        return [result.error for result in self if result.error is not None]

    @property
    def num_errors(self) -> int:
        """How many trials failed."""
        return sum(t.status is _FAILED for t in self.state.trials.values())

    @property
    def num_terminated(self) -> int:
        """How many trials are finished and did not fail; those stopped early are among them."""
        return len(self.state.observations) - self.num_errors

    def get_best_result(
        self,
        metric: str | None = None,
        mode: str | None = None,
        scope: str | None = None,
        filter_nan_and_inf: bool = True,
    ) -> Result:
        """The trial with the best `metric`, of those that finished and did not fail.

        It is the earliest among equals. What is left out is the run's own; `scope` says which of a trial's
        values counts ("last", "avg", "last-5-avg", "last-10-avg" or "all"). Trials with NaN or an infinity
        lose to all others, and are never the best unless `filter_nan_and_inf` is False.

        Raises:
            SpecError: another mode or scope, or a metric that no trial has reported.
            RunError: no trial has a usable value.
        """
        spec = self.state.spec
        target = _metric(metric or spec.metric.name, mode or self._mode_of(metric))
        scope = scope or spec.scope
        if scope not in SCOPES:
            raise SpecError(f"scope is {scope!r}; it must be one of {', '.join(SCOPES)}")
        done = [t for t in self.state.trials.values() if t.status.is_finished and t.status is not _FAILED]
        reported = [(t, v) for t in done if (v := t.value(target, scope)) is not None]
        finite = [(t, v) for t, v in reported if math.isfinite(v)]
        if finite:
            return self._result(_best(finite, target))
        if reported and not filter_nan_and_inf:
            return self._result(reported[0][0])
        raise self._no_best(target)

    def _mode_of(self, metric: str | None) -> str:
        """The mode of a metric that the run optimises, else of the run's first metric, as in Ray."""
        modes = {m.name: m.mode for m in self.state.spec.metrics}
        return modes.get(metric or "", self.state.spec.metric.mode)

    def _reported(self) -> list[str]:
        """The names of all metrics that are numbers."""
        return sorted({name for trial in self.state.trials.values() for name in trial.history.columns})

    def _no_best(self, metric: Metric) -> Exception:
        """Why there is no best trial, and what to do."""
        trials = list(self.state.trials.values())
        known = self._reported()
        if known and metric.name not in known:
            return _unknown(metric.name, known)
        message = f"no best result: none of {len(trials)} trials has a finite value of {metric.name!r}"
        if not trials:
            message = "no best result: the run has no trials yet"
        unfinished = self.state.unfinished
        if unfinished:
            message += f"; {unfinished} are not finished"
        if self.num_errors:
            first = next(t for t in trials if t.status is _FAILED)
            lines = (first.error or first.reason or "no message").strip().splitlines()
            message += f"; {self.num_errors} failed, first trial {first.id}: {lines[-1].strip()}"
        return RunError(message)

    @property
    def best_result(self) -> Result:
        """`get_best_result()`."""
        return self.get_best_result()

    @property
    def best_config(self) -> Config:
        """The config of the best result."""
        return self.best_result.config

    def get_dataframe(self, filter_metric: str | None = None, filter_mode: str | None = None) -> pd.DataFrame:
        """A row for each trial that reported: its last report, or its best one by a metric, and its config.

        Columns as in Ray: metrics by name, `config/…` (nested names joined by `/`), `trial_id`, `logdir`;
        `status` and `usage/…` (as `Result.usage`) are beside them.

        A metric without a mode has that of the run.

        Raises:
            SpecError: a mode without a metric, or one that is neither "max" nor "min", or a metric that no
                trial has reported.
        """
        import pandas as pd

        from raytune_gp.analysis.labels import flat_config, leaf_names

        if filter_mode is not None and filter_metric is None:
            raise SpecError(f"filter_mode={filter_mode!r} needs a filter_metric")
        target = None
        if filter_metric is not None:
            target = _metric(filter_metric, filter_mode or self._mode_of(filter_metric))
            if filter_metric not in (known := self._reported()):
                raise _unknown(filter_metric, known)
        leaves = leaf_names(self.state)
        rows = []
        for trial in self.state.trials.values():
            if not len(trial.history):
                continue
            config = {f"config/{k}": v for k, v in flat_config(trial.config, leaves).items()}
            ids = {"trial_id": trial.id, "status": trial.status.value, "logdir": self._path(trial)}
            usage = {f"usage/{k}": v for k, v in shown(trial.usage).items()}
            rows.append({**_report(trial, target, self.state.spec.metrics), **ids, **usage, **config})
        return pd.DataFrame(rows)

    def predict(self, configs: Sequence[Config], *, share: float = 0.9) -> pd.DataFrame:
        """What a new trial of each of `configs` (n) would come to, by the trials that are finished.

        n rows: the `median` of the run's metric, and `low` and `high`, the ends of the interval that holds
        the central `share` (0 to 1) of outcomes. A Gaussian process says so, whatever searched the run. The
        noise of a trial is in it, so that the interval of the best config says how much of its value was
        luck; that a trial may fail is not. An end that is infinite is worse or better than all that was seen.

        Raises:
            SpecError: fewer than ten trials have a value, another share, or no list of configs.
            SpaceError: a config is incomplete or not of the run's space; choices that JSON cannot hold,
                such as functions, are not known any more.
            RunError: the results say too little for a model to be trusted.
        """
        from raytune_gp.analysis.prediction import predict

        return predict(self.state, configs, share)

    def write_report(self, path: str | Path) -> Path:
        """Write the run's report, one HTML page that works offline, to the file `path`."""
        from raytune_gp.analysis.report import write_report

        return write_report(self.state, path)

    def __len__(self) -> int:
        return len(self.state.trials)

    def __iter__(self) -> Iterator[Result]:
        return (self._result(trial) for trial in self.state.trials.values())

    @overload
    def __getitem__(self, index: int) -> Result: ...
    @overload
    def __getitem__(self, index: slice) -> list[Result]: ...
    def __getitem__(self, index: int | slice) -> Result | list[Result]:
        trials = list(self.state.trials.values())
        if isinstance(index, slice):
            return [self._result(trial) for trial in trials[index]]
        return self._result(trials[index])

    def __repr__(self) -> str:
        lines = ",\n".join(f"  {result!r}" for result in self)
        return f"ResultGrid<[\n{lines}\n]>"

    def _path(self, trial: Trial) -> str:
        return f"{self._storage_path}/{trial.label}" if self._storage_path else trial.label

    def _result(self, trial: Trial) -> Result:
        return Result(
            trial,
            config=self._restore_config(trial.config),
            path=self._path(trial),
            metrics=self.state.spec.metrics,
            checkpoint_factory=self._checkpoint_factory,
        )


def _metric(name: str, mode: str | None) -> Metric:
    if mode not in ("max", "min"):
        raise SpecError(f'mode is {mode!r}; it must be "max" or "min"')
    return Metric(name, mode)


def _unknown(metric: str, known: Sequence[str]) -> SpecError:
    return SpecError(f"no trial has reported {metric!r}; they have reported {', '.join(known) or 'nothing'}")


def _best(values: list[tuple[Trial, float]], metric: Metric) -> Trial:
    best, value = values[0]
    for trial, other in values[1:]:
        if metric.better(other, value):
            best, value = trial, other
    return best


def _report(trial: Trial, metric: Metric | None, optimised: Sequence[Metric]) -> dict[str, Any]:
    """The trial's report with its best value of `metric`; the last one that counts where it has none."""
    history = trial.history
    values = history.values(metric.name, trial.decided_step) if metric is not None else ()
    known = [(position, value) for position, value in enumerate(values) if not math.isnan(value)]
    if metric is None or not known:
        return trial.last_report(optimised)
    pick = max if metric.mode == "max" else min
    return dict(history.row(pick(known, key=lambda pair: pair[1])[0]))
