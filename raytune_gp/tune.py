"""Everything that a Ray Tune user expects under the name `tune`, and ask/tell beside it.

from raytune_gp import tune

results = tune.run(train, config={"lr": tune.loguniform(1e-4, 1)}, metric="loss", mode="min")
results.get_best_result().config
"""

from __future__ import annotations

import datetime
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raytune_gp.callbacks import Callback
from raytune_gp.errors import SpecError, TrialInterrupted
from raytune_gp.patience import AUTO
from raytune_gp.schedulers import resolve_scheduler
from raytune_gp.searchers import resolve_searcher
from raytune_gp.searchers.asking import make_guesses
from raytune_gp.searchers.optimizer import Optimizer
from raytune_gp.settings import (
    CheckpointConfig,
    FailureConfig,
    RunConfig,
    TuneConfig,
    absolute_storage_path,
    check_allowed,
    check_detached,
    check_kind,
    check_name,
    check_objective,
    default_name,
    default_storage_path,
    fingerprints,
    make_callbacks,
    resolve_stop,
    seconds,
    total_trials,
)
from raytune_gp.space import SearchSpace, domains
from raytune_gp.space.domains import *  # noqa: F403  # the one list of their names is there
from raytune_gp.space.plain import unboxed
from raytune_gp.spec import ExperimentSpec
from raytune_gp.storage.artifacts import Checkpoint
from raytune_gp.trainable.classes import Trainable
from raytune_gp.trainable.parameters import (
    PlacementGroupFactory,
    resources_of,
    runtime_env_of,
    with_parameters,
    with_python_env,
    with_resources,
    with_runtime_env,
)
from raytune_gp.trainable.python_env import PythonEnv
from raytune_gp.trainable.run import check_trainable, is_trainer, trainable_name
from raytune_gp.trainable.script import Script, check_program_metric
from raytune_gp.trainable.session import Context, current_session
from raytune_gp.trial import Config

if TYPE_CHECKING:
    from raytune_gp.results import Result, ResultGrid

__all__ = [
    "Callback",
    "Checkpoint",
    "CheckpointConfig",
    "FailureConfig",
    "Optimizer",
    "PlacementGroupFactory",
    "PythonEnv",
    "Result",
    "ResultGrid",
    "RunConfig",
    "Script",
    "SearchSpace",
    "Trainable",
    "TrialInterrupted",
    "TuneConfig",
    "Tuner",
    "attach",
    "get_checkpoint",
    "get_context",
    "report",
    "run",
    "with_parameters",
    "with_python_env",
    "with_resources",
    "with_runtime_env",
]
__all__ += domains.__all__


def __getattr__(name: str) -> Any:
    """`Result` and `ResultGrid` load pandas, and only when they are asked for."""
    if name in ("Result", "ResultGrid"):
        from raytune_gp import results

        return getattr(results, name)
    raise AttributeError(  # with name and obj, for which Python asks "did you mean"
        f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__]
    )


# --- inside a trainable ---


def report(metrics: Mapping[str, Any], checkpoint: Checkpoint | str | Path | None = None) -> None:
    """Report `metrics` of the running trial, with a checkpoint (a directory) if given.

    Where the trial is to end, this raises TrialInterrupted, a BaseException. For the word of a scheduler or a
    stop criterion it waits some milliseconds, and never longer than a hundredth of the time since the report
    before.
    """
    current_session().report(metrics, checkpoint)


def get_checkpoint() -> Checkpoint | None:
    """Where the running trial goes on from, or None for a fresh start."""
    return current_session().get_checkpoint()


def get_context() -> Context:
    """The running trial's name, directory and resources."""
    return current_session().context


# --- running ---


def run(
    trainable: Any,
    *,
    config: Mapping[str, Any] | None = None,
    metric: str | None = None,
    mode: str | None = None,
    num_samples: int | None = None,
    max_concurrent_trials: int | None = None,
    resources_per_trial: Any = None,
    runtime_env: Mapping[str, Any] | None = None,
    search_alg: Any = None,
    scheduler: Any = None,
    points_to_evaluate: Iterable[Config] | None = None,
    stop: Any = None,
    time_budget_s: float | datetime.timedelta | None = None,
    scope: str = "last",
    name: str | None = None,
    seed: int = 0,
    storage_path: str | Path | None = None,
    journal: str | Path | None = None,
    checkpoint_config: CheckpointConfig | None = None,
    max_failures: int = 0,
    fail_fast: bool = False,
    trial_timeout_s: float | datetime.timedelta | None = None,
    report_timeout_s: float | str | None = AUTO,
    grace_period_s: float = 10.0,
    resume: bool | str = False,
    raise_on_failed_trial: bool = False,
    callbacks: Sequence[Callback] | None = None,
    verbose: int = 1,
    executor: str = "ray",
    detached: bool = False,
    run_file: Mapping[str, str] | None = None,
) -> ResultGrid:
    """Tune `trainable` and return a `ResultGrid`.

    Args:
        trainable: a function of one config that calls `tune.report`, a subclass of `tune.Trainable`, a
            `tune.Script`, or a trainer of Ray Train.
        config: the search space: name to domain, constant or nested dictionary.
        metric, mode: what to optimise, and whether `"max"` or `"min"` is better.
        num_samples: trials, for each cell of the grid if there are `grid_search` axes; -1 without bound
            (then give a time budget). The default is 1, and the whole grid for `search_alg="grid"`.
        max_concurrent_trials: at most so many at a time; by default what the cluster's free resources hold.
        resources_per_trial: such as `{"cpu": 1, "gpu": 0.5}`; 1 CPU by default. With `"gpu": "auto"` as many
            trials share each GPU as its memory holds, which the run finds out. With `"placement": "spread"`
            trials go to the nodes in turn; `"pack"`, the default, fills few of them. `"label_selector"` says
            which labels a node must have, such as `{"ray.io/market-type": "!spot"}`. Where a trial starts
            workers of its own, a `PlacementGroupFactory` or Ray Train's `ScalingConfig`.
        runtime_env: Ray's, for the workers: `working_dir` and `py_modules` (directories here, which are sent
            to every node), `env_vars`, `pip`, … It is not journalled: give it again to resume.
        search_alg: `"gp"` (the default), `"random"`, `"sobol"`, `"grid"`, `{"name": …, options}`, a searcher.
        scheduler: `"fifo"` (the default) or `"median"`, `{"name": …, options}`, or a scheduler.
        points_to_evaluate: configs of your own to try first; what they lack is drawn at random.
        stop: metric to the value that ends a trial once reached, or a function of (trial_id, result).
        time_budget_s: no new trials after so many seconds, and running ones end at their next report.
        scope: which of a trial's values counts: last, all (the best), avg, last-5-avg, last-10-avg.
        name: of the run; its directory below `storage_path` is called by it.
        seed: of the searcher.
        storage_path: where checkpoints and logs go: a directory or URI; `~/raytune_results` by default.
        journal: the journal's database URL, SQLite or PostgreSQL, or the path of an SQLite file;
            `$RAYTUNE_JOURNAL` or `~/.raytune_gp/journal.db` by default.
        checkpoint_config: which checkpoints stay, and how often class trainables are saved.
        max_failures: a trial that raises is tried again so often, from its last checkpoint (-1: always).
        fail_fast: the first trial that fails for good ends the run.
        trial_timeout_s: a trial that has trained so long in all is stopped; the value it has reported counts.
        report_timeout_s: a trial that reports nothing for so long hangs: its stacks go to its log, and it is
            tried again. `"auto"`: 10 times the longest that this or another trial took to a report, at least
            10 minutes; None: never.
        grace_period_s: so long a trial that is told to stop may take to its next report. Checkpoints on their
            way to the storage are stored first, for which there is half an hour.
        resume: go on with the run of this name; `"auto"` starts it where there is none. A run that is not in
            the journal is taken from the backup in `storage_path`, if there is one.
        raise_on_failed_trial: raise TrialFailedError at the end if a trial failed.
        callbacks: `tune.Callback` objects, called in this process.
        verbose: 0 for silence, 1 for a progress table.
        executor: `"ray"`, or `"inline"` for this very process, one trial at a time (for a debugger).
        detached: return as soon as the run is going, with the results so far; it goes on in the cluster
            without this process, and ends by itself. The cluster must stay too: one of `ray start --head`,
            not one that `ray.init` starts. `tune.attach(name)` follows the run.
        run_file: of `raytune-gp run`: the `path` and `sha256` of what these settings were read from.

    Raises:
        SpecError, SpaceError, TrainableError: for what cannot be, before anything starts.
        RunExistsError: the name is taken; RunNotFoundError: there is nothing to resume.
        RunFailedError: the run could not go on.
    """
    if is_trainer(trainable):
        from raytune_gp.execution.ray_train import as_trainable

        trainable = as_trainable(trainable)
    check_trainable(trainable)
    target = check_objective(metric, mode)
    check_program_metric(trainable, target.name)
    check_allowed("executor", executor, ("ray", "inline"))
    check_allowed("resume", resume, (False, True, "auto"))
    check_allowed("fail_fast", fail_fast, (False, True))
    check_allowed("detached", detached, (False, True))
    if detached:
        check_detached(executor, callbacks, raise_on_failed_trial)
    if not isinstance(verbose, int):
        raise SpecError(f"verbose is {verbose!r}; it must be 0 for silence, or 1 for a progress table")
    if resume and name is None:
        raise SpecError("resume needs the name of the run to go on with: give name=…")
    space = SearchSpace(config or {})
    seed = unboxed(seed)
    searcher, searcher_about = resolve_searcher(search_alg, space, target, seed)
    make_scheduler, scheduler_about = resolve_scheduler(scheduler, target)
    criteria, stopper = resolve_stop(stop, space)
    checkpoints = check_kind("checkpoint_config", checkpoint_config or CheckpointConfig(), CheckpointConfig)
    when = checkpoints.when_to_save(trainable)
    heard = make_callbacks(callbacks)
    from raytune_gp.execution.foreign import check_python_env
    from raytune_gp.execution.parts import Parts
    from raytune_gp.execution.resources import check_demand, check_sharing
    from raytune_gp.execution.shipping import check_runtime_env
    from raytune_gp.launch import Launch
    from raytune_gp.space.definition import definition
    from raytune_gp.storage.urls import absolute_url, default_journal_url

    environment = runtime_env_of(trainable, runtime_env)
    check_runtime_env(environment, executor)
    check_python_env(trainable, environment, executor)
    demand = check_demand(resources_of(trainable, resources_per_trial))
    check_sharing(demand.resources, executor)
    guesses = make_guesses(points_to_evaluate, space)
    spec = ExperimentSpec(
        name=check_name(name) if name is not None else default_name(trainable),
        metrics=(target,),
        run_id=uuid.uuid4().hex[:12],
        num_samples=total_trials(num_samples, space, searcher, len(guesses)),
        scope=scope,
        seed=seed,
        max_concurrent_trials=unboxed(max_concurrent_trials),
        resources=demand.resources,
        bundles=list(demand.bundles),
        placement_strategy=demand.strategy,
        time_budget_s=seconds(time_budget_s),
        stop=criteria,
        max_failures=unboxed(max_failures),
        fail_fast=fail_fast,
        trial_timeout_s=seconds(trial_timeout_s),
        report_timeout_s=seconds(report_timeout_s),
        grace_s=seconds(grace_period_s),
        keep_checkpoints=checkpoints.num_to_keep,
        checkpoint_metric=checkpoints.metric,
        storage_path=absolute_storage_path(storage_path or default_storage_path()),
        searcher=searcher_about,
        scheduler=scheduler_about,
        trainable=trainable_name(trainable),
        space={**space.describe(), "definition": definition(space)},
        points_to_evaluate=[space.to_json(guess) for guess in guesses],
        fingerprints=fingerprints(trainable, space),
        run_file=dict(run_file or {}),
    ).as_read()
    return Launch(
        spec=spec,
        trainable=trainable,
        space=space,
        parts=Parts(space, searcher, make_scheduler, guesses, stopper),
        journal_url=absolute_url(journal or default_journal_url()),
        when_to_save=when,
        runtime_env=environment,
        resume=resume,
        executor=executor,
        callbacks=heard,
        verbose=verbose,
        raise_on_failed_trial=raise_on_failed_trial,
        detached=detached,
    ).go()


def attach(
    name: str,
    *,
    journal: str | Path | None = None,
    callbacks: Sequence[Callback] | None = None,
    verbose: int = 1,
    raise_on_failed_trial: bool = False,
) -> ResultGrid:
    """Follow the run called `name` to its end, and return its results; those of a run that is over at once.

    The run need not have been started here, and does not depend on this process: Ctrl-C ends the following,
    raises KeyboardInterrupt, and leaves the run alone. Configs in the results are as the journal keeps them:
    an object among the values of a `choice` is told by its index and its label.

    Args:
        name: of the run.
        journal: where it is, as in `run`.
        callbacks: `tune.Callback` objects, which hear of what happens from now on.
        verbose: 0 for silence, 1 for a progress table.
        raise_on_failed_trial: as in `run`.

    Raises:
        RunNotFoundError: the journal does not hold the run.
        RunError: it is not over, and nobody goes on with it in this cluster: resume it.
        RunFailedError: the run could not go on.
    """
    from raytune_gp.attaching import attach
    from raytune_gp.storage.urls import absolute_url, default_journal_url

    url = absolute_url(journal or default_journal_url())
    return attach(check_name(name), url, make_callbacks(callbacks), verbose, raise_on_failed_trial)


_PARTS: dict[Any, str] = {
    TuneConfig: "tune_config",
    RunConfig: "run_config",
    FailureConfig: "failure_config of run_config",
}


class Tuner:
    """Ray's object form of `tune.run`: `Tuner(train, param_space=…, tune_config=…, run_config=…).fit()`.

    Further `settings` are those of `tune.run`, such as `executor`, `journal` or `resources_per_trial`. Raises
    SpecError for one that a configuration has.
    """

    def __init__(
        self,
        trainable: Any,
        *,
        param_space: Mapping[str, Any] | None = None,
        tune_config: TuneConfig | None = None,
        run_config: RunConfig | None = None,
        **settings: Any,
    ):
        self._trainable = trainable
        self._space = param_space or {}
        self._tune = check_kind("tune_config", tune_config or TuneConfig(), TuneConfig)
        self._run = check_kind("run_config", run_config or RunConfig(), RunConfig)
        for name in settings:
            for kind, part in _PARTS.items():
                if name in kind.__dataclass_fields__:
                    raise SpecError(f"{name} belongs in {part}=tune.{kind.__name__}({name}=…)")
        self._settings = settings

    def fit(self) -> ResultGrid:
        """Run to the end and return the results."""
        failure = check_kind("failure_config", self._run.failure_config, FailureConfig)
        return run(
            self._trainable,
            config=self._space,
            **vars(self._tune),
            name=self._run.name,
            storage_path=self._run.storage_path,
            stop=self._run.stop,
            callbacks=self._run.callbacks,
            max_failures=failure.max_failures,
            fail_fast=failure.fail_fast,
            trial_timeout_s=failure.trial_timeout_s,
            report_timeout_s=failure.report_timeout_s,
            checkpoint_config=self._run.checkpoint_config,
            runtime_env=self._run.runtime_env,
            verbose=self._run.verbose,
            detached=self._run.detached,
            **self._settings,
        )

    @classmethod
    def restore(
        cls,
        name: str,
        trainable: Callable[[Config], Any],
        *,
        param_space: Mapping[str, Any],
        tune_config: TuneConfig,
        run_config: RunConfig | None = None,
        **settings: Any,
    ) -> Tuner:
        """A tuner that goes on with the run called `name`, with the same space and settings."""
        return cls(
            trainable,
            param_space=param_space,
            tune_config=tune_config,
            run_config=replace(run_config or RunConfig(), name=name),
            **{**settings, "resume": True},
        )
