"""Start or resume a run, follow it, and return its results: `tune.run` once its settings are clear."""

from __future__ import annotations

import contextlib
import math
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raytune_gp.afterwards import command_for, how_to_resume, results_of
from raytune_gp.audience import Audience
from raytune_gp.callbacks import CallbackList
from raytune_gp.errors import RunNotFoundError, SpecError
from raytune_gp.events import Event, RunCreated, RunResumed
from raytune_gp.execution.parts import Parts
from raytune_gp.execution.restoring import bring_back
from raytune_gp.recovery import state_of
from raytune_gp.results import ResultGrid
from raytune_gp.space import SearchSpace
from raytune_gp.spec import ExperimentSpec
from raytune_gp.state import RunState
from raytune_gp.status import RunStatus
from raytune_gp.storage.artifacts import Storage
from raytune_gp.storage.backup import TERMS_AHEAD, Backup
from raytune_gp.storage.journal import SQLJournal
from raytune_gp.storage.urls import client_environment, unsafe_place
from raytune_gp.trainable.classes import WhenToSave

__all__ = ["Launch"]

_LASTING = ("metrics", "scope", "seed", "storage_path")
"""Settings that a run keeps for life: its results would not fit together otherwise. But a metric that no
trial ever reported may be put right."""

_OWN = ("name", "run_id", "space", "fingerprints", "trainable")
"""Entries of a spec that say which run it is; the rest may change when a run is resumed."""


@dataclass
class Launch:
    """A run that is ready to start."""

    spec: ExperimentSpec
    trainable: Any
    space: SearchSpace
    parts: Parts
    journal_url: str = field(repr=False)
    when_to_save: WhenToSave
    runtime_env: Mapping[str, Any] = field(default_factory=dict, repr=False)
    resume: bool | str = False
    executor: str = "ray"
    callbacks: Sequence[Any] = ()
    verbose: int = 1
    raise_on_failed_trial: bool = False
    detached: bool = False
    _cargo: Any = field(default=None, init=False)

    def go(self) -> ResultGrid:
        """Run to the end, or set a detached run going; returns the results, those so far."""
        self._warn_of_place()
        journal = SQLJournal(self.journal_url)
        try:
            state = self._enter(journal)
            if self.detached and not state.status.is_ended:
                self._detach(state)
                self._say_how_to_follow()
                return results_of(state, self.space.from_json)
            storage = Storage(self.spec.storage_path, self.spec.name)
            callbacks = CallbackList(self.callbacks, self.space.from_json, storage.checkpoint)
            with Audience(self.spec.name, callbacks, self.verbose) as audience:
                audience.begin(state)
                goes = not state.status.is_ended
                if goes:
                    self._execute(journal, state, audience)
                audience.end(state, ran=goes)
            self._say_how_to_resume(state)
        finally:
            journal.close()
        return results_of(state, self.space.from_json, self.raise_on_failed_trial)

    def _warn_of_place(self) -> None:
        found = unsafe_place(self.journal_url)
        if found is not None:
            warnings.warn(found, UserWarning, stacklevel=4)

    # --- entering a run in the journal ---

    def _enter(self, journal: SQLJournal) -> RunState:
        """Create the run, or take it up again; returns its state so far."""
        name = self.spec.name
        exists = journal.exists(name)
        if self.resume and not exists:
            exists = self._restore(journal)
        if self.resume and (self.resume != "auto" or exists):
            return self._reenter(journal)
        if not exists:
            self._admit()
        journal.create_run(name, RunCreated(time.time(), self.spec.to_json()))
        return state_of(journal, name)

    def _restore(self, journal: SQLJournal) -> bool:
        """Take a run that the journal lacks from the backup beside its checkpoints, if there is one."""
        spec = self.spec
        about = bring_back(journal, self.journal_url, spec.name, spec.storage_path, self.executor)
        if about is not None:
            warnings.warn(about.explain(spec.name, journal.shown), UserWarning, stacklevel=5)
        return about is not None

    def _reenter(self, journal: SQLJournal) -> RunState:
        try:
            state = state_of(journal, self.spec.name)
        except RunNotFoundError as error:
            raise RunNotFoundError(f'{error}. resume="auto" begins a run that is not there') from None
        fresh_id, space = self.spec.run_id, self.spec.space
        changes = self._changes(state)
        self.spec = state.spec.changed(changes)
        if state.status is RunStatus.COMPLETED and not changes:
            return state
        if space != state.spec.space:  # in another order, or by a version that said less of it
            changes["space"] = space
            self.spec = self.spec.changed({"space": space})
        self._admit()
        term = journal.raise_term(self.spec.name)
        if term > state.term + TERMS_AHEAD:
            self._leave_workers_behind(fresh_id, changes)
        event = RunResumed(max(time.time(), state.now), changes)
        stale = journal.open_requests(self.spec.name)
        journal.append(self.spec.name, term, state.index + 1, [event], stale)
        state.apply(event)
        return state

    def _leave_workers_behind(self, fresh_id: str, changes: dict[str, Any]) -> None:
        """Of a restored run: its workers have said more than the journal holds, so it gets others."""
        if self.executor == "ray":
            from raytune_gp.execution.driver import end_workers

            end_workers(self.spec.run_id)
        changes["run_id"] = fresh_id
        self.spec = self.spec.changed({"run_id": fresh_id})

    def _admit(self) -> None:
        """Refuse what cannot run while nothing is written yet: no name is used up, no other run ended."""
        storage = Storage(self.spec.storage_path, self.spec.name)
        if self.executor == "ray":
            from raytune_gp.execution.cargo import Cargo
            from raytune_gp.execution.driver import admit
            from raytune_gp.execution.searcher_gpu import gpu_share

            admit(self.spec, gpu_share(self.parts.searcher), self.detached)
            self._cargo = Cargo.of(
                self.trainable, self.space, self.parts, self.runtime_env, storage, detached=self.detached
            )

    def _changes(self, state: RunState) -> dict[str, Any]:
        """What this call asks for beyond the run in the journal; tells what else has changed."""
        old = state.spec
        for name in _LASTING:
            was, now = getattr(old, name), getattr(self.spec, name)
            if was != now and not (name == "metrics" and state.unheard.metrics):
                raise SpecError(
                    f"{name} is {now!r}, and run {old.name!r} was started with {was!r}: resume it with that, "
                    f"or start a new run under another name"
                )
        if self.spec.fingerprints.get("space") != old.fingerprints.get("space"):
            raise SpecError(
                f"the search space differs from the one that run {old.name!r} was started with: resume it "
                f"with the same space, or start a new run under another name"
            )
        changes: dict[str, Any] = {}
        if self.spec.fingerprints.get("trainable") != old.fingerprints.get("trainable"):
            warnings.warn(
                f"the trainable of run {old.name!r} has changed since it was started: finished trials keep "
                f"their results of the old one",
                UserWarning,
                stacklevel=5,
            )
            changes["fingerprints"] = dict(self.spec.fingerprints)
        now, was = self.spec.to_json(), old.to_json()
        for name in now.keys() - {*_LASTING, *_OWN} | {"metrics"}:
            if now[name] != was[name]:
                changes[name] = now[name]
        created = len(state.trials)
        if 0 <= self.spec.num_samples < created:
            raise SpecError(
                f"num_samples is {self.spec.num_samples}, and run {old.name!r} has {created} trials already: "
                f"resume it with num_samples={created} or more"
            )
        return changes

    # --- execution ---

    def _execute(self, journal: SQLJournal, state: RunState, audience: Audience) -> None:
        if self.executor == "inline":
            self._execute_inline(journal, state, audience)
        else:
            self._execute_on_ray(state, audience)

    def _execute_inline(self, journal: SQLJournal, state: RunState, audience: Audience) -> None:
        from raytune_gp.execution.foreign import Foreign
        from raytune_gp.execution.inline import InlineExecutor
        from raytune_gp.execution.loop import Loop

        spec = self.spec
        Foreign.of(self.trainable).prepare()
        storage = Storage(spec.storage_path, spec.name)
        asker = self.parts.make_asker(spec.seed)
        backup = Backup.of(journal, self.journal_url, spec.name, storage, audience.warn)
        retain = storage.retain if backup is None else backup.retain
        executor = InlineExecutor(
            spec.name,
            self.trainable,
            self.space,
            asker,
            storage,
            retain,
            spec.resources,
            self.when_to_save,
        )

        def committed(events: Sequence[Event]) -> None:
            for event in events:
                state.apply(event)
            audience.hear(state, events)

        make = self.parts.make_experiment
        loop = Loop(spec.name, make, journal, executor, on_commit=committed, on_trouble=audience.pause)
        executor.turn = loop.turn
        loop.open()
        with backup or contextlib.nullcontext():
            loop.run()

    def _execute_on_ray(self, state: RunState, audience: Audience) -> None:
        from raytune_gp.execution.driver import Follower, follow

        coordinator = self._start(state)
        follow(Follower(coordinator, state, audience.hear, audience.pause, audience.warn, fresh=True))

    def _detach(self, state: RunState) -> None:
        """Start the run and leave it to itself, once its coordinator is at work."""
        from raytune_gp.execution.driver import Follower, let_go

        with Audience(self.spec.name, CallbackList((), self.space.from_json, str), 0) as audience:
            let_go(Follower(self._start(state), state, on_trouble=audience.pause, fresh=True))

    def _start(self, state: RunState) -> Any:
        """Start the coordinator, with all that it needs to go on alone."""
        from raytune_gp.execution.coordinator import RunPlan
        from raytune_gp.execution.driver import start_coordinator
        from raytune_gp.execution.foreign import Foreign
        from raytune_gp.execution.placement import Demand
        from raytune_gp.execution.searcher_gpu import gpu_share
        from raytune_gp.execution.worker_settings import WorkerSettings

        spec, cargo = self.spec, self._cargo
        foreign = Foreign.of(self.trainable)
        if self.verbose and foreign.is_missing_here:
            print(
                f"the environment of {foreign.env} is made on each node before its first trial",
                file=sys.stderr,
            )
        worker = WorkerSettings(
            run=spec.name,
            coordinator=spec.name,
            storage_path=spec.storage_path,
            demand=Demand.of(spec),
            trainable=cargo.trainable,
            parameters=cargo.parameters,
            when_to_save=self.when_to_save,
            freight=cargo.freight,
            foreign=foreign,
            stops_trials=spec.stops_trials or self.parts.stopper is not None,
        )
        plan = RunPlan(
            run=spec.name,
            run_id=spec.run_id,
            journal=self.journal_url,
            seed=spec.seed,
            parts=cargo.parts,
            worker=worker,
            gpus=gpu_share(self.parts.searcher),
            detached=self.detached,
            environment=client_environment(self.journal_url),
        )
        return start_coordinator(plan, self._workers_ahead(state))

    def _workers_ahead(self, state: RunState) -> float:
        """How many workers a new run wants at first; one that was begun before asks for its own."""
        if state.term:
            return 0
        return min(self.spec.max_concurrent_trials or math.inf, state.budget)

    # --- afterwards ---

    def _say_how_to_resume(self, state: RunState) -> None:
        if state.status is RunStatus.STOPPED and self.verbose:
            print(
                f"{state.reason}. Trials finished: {len(state.observations)}, waiting: {state.unfinished}. "
                f"Go on with {how_to_resume(state.spec, self.journal_url)}",
                file=sys.stderr,
            )

    def _say_how_to_follow(self) -> None:
        name, url = self.spec.name, self.journal_url
        if self.verbose:
            print(
                f"run {name!r} goes on in the cluster. Follow it with {command_for('attach', name, url)}; "
                f"stop it with {command_for('stop', name, url)}",
                file=sys.stderr,
            )
