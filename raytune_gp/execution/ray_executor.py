"""The executor that runs on Ray: commands become calls of worker actors, their streams become inputs.

An event loop in a thread of its own attends to the workers, one task each; the searcher is asked in
another thread. `send` only schedules, so that the loop around the experiment never waits for Ray.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray
from ray.exceptions import RayTaskError

from raytune_gp import messages as msg
from raytune_gp.errors import RaytuneError
from raytune_gp.execution.calls import deliver, grace_left, hello, items
from raytune_gp.execution.cluster import kill_actor, wait_until_gone
from raytune_gp.execution.growth import has_autoscaler
from raytune_gp.execution.losses import draining_nodes, kind_of_absence, kind_of_loss
from raytune_gp.execution.placement import Demand
from raytune_gp.execution.resources import slots_free, slots_in_all
from raytune_gp.execution.worker import NAMESPACE, make_worker
from raytune_gp.execution.worker_settings import WorkerSettings
from raytune_gp.failures import FailureKind
from raytune_gp.searchers.asking import Asker
from raytune_gp.storage.artifacts import Storage

__all__ = ["RayExecutor"]

MAX_INPUTS = 500
ACKNOWLEDGE_S = 0.1
"""So long at least lies between two acknowledgements to one worker, in seconds."""

LOOK_S = 1.0
"""How often a worker is asked whether an attempt that was told to end may go on, in seconds."""

CAPACITY_S = 2.0
"""How often the cluster is asked what it has free, in seconds."""

MOST_STARTS = 20
"""So often a worker is made again that is not in the Python of its trials: once for each node, as a rule."""

PENDING = 4
"""So many workers wait for resources where an autoscaler may bring nodes: actors that wait are what it scales
by. Each of its rounds, of a minute or more, adds nodes for so many; a run that has fewer trials left, or a
smaller max_concurrent_trials, asks for less."""


class RayExecutor:
    """One coordinator's hands. `term` fences its messages; workers are named after `run_id`.

    `retain` deletes checkpoints, as `Storage.retain` and `Backup.retain` do.
    """

    def __init__(
        self,
        run_id: str,
        settings: WorkerSettings,
        asker: Asker,
        retain: Callable[[str, Sequence[str], bool], None],
    ):
        self._run_id = run_id
        self._settings = settings
        self._asker = asker
        self._retain = retain
        self.term = 0
        self._inputs: queue.SimpleQueue[msg.Input] = queue.SimpleQueue()
        self._handles: dict[str, Any] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._up: set[str] = set()
        self._attempts: dict[str, tuple[str, int]] = {}
        self._opened = asyncio.Event()
        self._killed: dict[str, str] = {}
        self._nodes: dict[str, str] = {}
        self._draining: frozenset[str] = frozenset()
        self._to_acknowledge: dict[str, int] = {}
        self._acknowledged_at: dict[str, float] = {}
        self._waiting: dict[str, list[msg.Start | msg.Interrupt | msg.Acknowledge]] = {}
        self._searching = ThreadPoolExecutor(1, "raytune-search")
        self._housekeeping = ThreadPoolExecutor(1, "raytune-storage")
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="raytune-ray", daemon=True).start()
        self._first_look_s = 0.0
        self._trials_per_gpu = 1
        self._seen_whole: int | None = None
        self._spawn(self._watch_capacity())
        self._spawn(self._watch_nodes())

    # --- the seam ---

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def next(self, deadline: float | None) -> list[msg.Input]:
        """Wait for inputs until `deadline`; at most 500 at a time."""
        if not self._opened.is_set():
            self._later(self._opened.set)
        timeout = None if deadline is None else max(0.0, deadline - time.time())
        try:
            inputs = [self._inputs.get(timeout=timeout)]
        except queue.Empty:
            return []
        with contextlib.suppress(queue.Empty):
            while len(inputs) < MAX_INPUTS:
                inputs.append(self._inputs.get_nowait())
        return inputs

    def send(self, command: msg.Command) -> None:
        """Carry out `command`, later and elsewhere."""
        match command:
            case msg.Suggest():
                self._searching.submit(lambda: self._inputs.put(self._asker.ask(command)))
            case msg.Retain():
                self._housekeeping.submit(
                    self._retain, f"trial_{command.trial}", command.paths, command.is_finished
                )
            case msg.Connect():
                self._later(self._connect, command)
            case msg.Pack():
                self._later(self._pack, command)
            case msg.Start():
                self._later(self._start, command)
            case msg.Interrupt():
                self._later(self._interrupt, command)
            case msg.Acknowledge():
                self._later(self._acknowledge, command)
            case msg.Release():
                self._later(self._release, command.worker)

    def offer(self, slots: int) -> None:
        """Offer `slots` at once, before the cluster is asked: the driver has made so many workers."""
        self._first_look_s = CAPACITY_S
        self._seen_whole = slots
        self.put(msg.SlotsOffered(slots))

    def put(self, input: msg.Input) -> None:
        """Add an input from elsewhere, such as a person's wish to stop."""
        self._inputs.put(input)

    def close(self) -> None:
        """Stop attending to the workers; what is to be deleted is deleted first."""
        self._housekeeping.shutdown(wait=True)
        self._searching.shutdown(wait=False, cancel_futures=True)
        self._later(self._end)

    # --- in the event loop's thread ---

    def _end(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.call_soon(self._loop.stop)

    def _later(self, action: Callable[..., None], *arguments: Any) -> None:
        self._loop.call_soon_threadsafe(action, *arguments)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _tell(self, command: msg.Start | msg.Interrupt) -> None:
        """Send a message; it waits where the worker is not connected yet."""
        if command.worker in self._up:
            handle = self._handles[command.worker]
            self._spawn(deliver(handle, command, self.term, lambda: self._goes_on(command)))
        else:
            self._waiting.setdefault(command.worker, []).append(command)

    def _goes_on(self, command: msg.Start | msg.Interrupt) -> bool:
        """Whether the end of the attempt that it is about has not been heard."""
        return self._attempts.get(command.worker) == (command.trial, command.attempt)

    def _acknowledge(self, command: msg.Acknowledge) -> None:
        """Acknowledge at once, as a report may wait for it; often, many items by one message."""
        worker = command.worker
        waits = worker in self._to_acknowledge
        self._to_acknowledge[worker] = command.seq
        if not waits:
            soonest = self._acknowledged_at.get(worker, -ACKNOWLEDGE_S) + ACKNOWLEDGE_S
            if soonest > self._loop.time():
                self._loop.call_at(soonest, self._flush_acknowledgement, worker)
            else:
                self._flush_acknowledgement(worker)

    def _flush_acknowledgement(self, worker: str) -> None:
        """Send it on the way that an interrupt takes, behind those that were sent before."""
        self._spawn(self._send_acknowledgement(worker, self._to_acknowledge.pop(worker)))

    async def _send_acknowledgement(self, worker: str, seq: int) -> None:
        if worker in self._up:  # one that is lost is made good by the next
            self._acknowledged_at[worker] = self._loop.time()
            self._handles[worker].acknowledge.remote(seq, self.term)
        elif worker in self._tasks:
            self._waiting.setdefault(worker, []).append(msg.Acknowledge(worker, seq))

    def _pack(self, command: msg.Pack) -> None:
        self._trials_per_gpu = command.trials_per_gpu

    def _connect(self, command: msg.Connect) -> None:
        task = self._tasks.get(command.worker)
        if task is not None:
            task.cancel()
        self._tasks[command.worker] = self._loop.create_task(self._attend(command))

    def _start(self, command: msg.Start) -> None:
        self._attempts[command.worker] = (command.trial, command.attempt)
        self._tell(command)

    def _interrupt(self, command: msg.Interrupt) -> None:
        self._tell(command)
        self._spawn(self._end_in_time(command))

    async def _end_in_time(self, command: msg.Interrupt) -> None:
        """End the worker by force if its attempt goes on after the grace period, as the worker counts it."""
        await asyncio.sleep(command.grace_s)
        while self._goes_on(command):
            left = await grace_left(self._handles[command.worker], command, self.term)
            if left <= 0:
                break
            await asyncio.sleep(min(left, LOOK_S))
        if self._goes_on(command):
            self._kill(command.worker, f"it did not stop within {command.grace_s:g} s")

    def _release(self, worker: str) -> None:
        if worker in self._handles:
            self._kill(worker, "it was released")
            return
        kill_actor(f"{self._run_id}/{worker}")  # a coordinator before this one may have made it
        task = self._tasks.get(worker)
        if task is not None:
            task.cancel()
        self._lost(worker, "it was released")

    def _kill(self, worker: str, reason: str) -> None:
        """End a worker; its stream then ends with its death, which is told as an input."""
        self._killed[worker] = reason
        ray.kill(self._handles[worker])

    def _lost(self, worker: str, reason: str, failure: FailureKind = FailureKind.WORKER_LOST) -> None:
        """Tell that the worker is gone; one whose messages alone have failed is ended."""
        handle = self._handles.pop(worker, None)
        if handle is not None:
            ray.kill(handle)
        self._tasks.pop(worker, None)
        self._attempts.pop(worker, None)
        self._waiting.pop(worker, None)
        self._nodes.pop(worker, None)
        self._up.discard(worker)
        self._acknowledged_at.pop(worker, None)
        self._inputs.put(msg.WorkerVanished(worker, self._killed.pop(worker, reason), failure))

    async def _attend(self, command: msg.Connect) -> None:
        """Make or find a worker and read its stream until it is dead."""
        worker = command.worker
        name = f"{self._run_id}/{worker}"
        try:
            if command.create and self._settings.freight.packages:
                await asyncio.to_thread(self._hand_in)
            handle, about = await self._arrive(command, name)
            self._up.add(worker)
            self._nodes[worker] = about["node"]
            if about["current"] is not None:
                self._attempts.setdefault(worker, tuple(about["current"]))
            for message in self._waiting.pop(worker, ()):
                if isinstance(message, msg.Acknowledge):
                    self._acknowledge(message)
                else:
                    self._tell(message)
            self._inputs.put(msg.WorkerArrived(worker, about["node"], about["pid"]))
            async for item in items(handle, command.after_seq, self.term):
                if item.kind == "ended":
                    self._attempts.pop(worker, None)
                self._inputs.put(item)
        except Exception as error:
            if isinstance(error, ValueError) and not command.create:
                what, kind = await asyncio.to_thread(kind_of_absence, name, self._draining)
                what = _on_one_line(what)
            else:
                error = _ours(error) or error
                what = f"{type(error).__name__}: {_on_one_line(str(error))}"
                kind = await asyncio.to_thread(kind_of_loss, error, self._nodes.get(worker), self._draining)
            if worker not in self._handles:  # it was not found, and may live all the same
                await asyncio.to_thread(kill_actor, name)
            self._lost(worker, self._settings.freight.hidden(what), kind)

    async def _arrive(self, command: msg.Connect, name: str) -> tuple[Any, dict[str, Any]]:
        """Make or find the worker; one that has made the packages of its trials is made again, with these.

        Ray may then place it on another node, which has them not yet.
        """
        for _ in range(MOST_STARTS):
            handle = self._find(name, command)
            self._handles[command.worker] = handle
            about = await hello(handle, self.term)
            if about["at_home"]:
                return handle, about
            ray.kill(handle)
            await asyncio.to_thread(wait_until_gone, name)
            if command.worker in self._killed:
                break
        raise RuntimeError(f"it was started {MOST_STARTS} times, and not with the packages of its trials")

    def _hand_in(self) -> None:
        self._settings.freight.hand_in(Storage(self._settings.storage_path, self._settings.run))

    def _find(self, name: str, command: msg.Connect) -> Any:
        if command.create:
            return make_worker(self._run_id, command.worker, self._settings, command.trials_per_gpu)
        return ray.get_actor(name, NAMESPACE)

    async def _watch_capacity(self) -> None:
        """Tell how many workers the cluster can hold.

        The first time is after the loop has taken the run over, and called for connections to its workers.
        """
        await self._opened.wait()
        await asyncio.sleep(self._first_look_s)
        while True:
            with contextlib.suppress(Exception):  # the cluster's head may be away for a while
                trials_per_gpu = self._trials_per_gpu
                slots = await self._slots()
                if slots is not None and trials_per_gpu == self._trials_per_gpu:
                    self._inputs.put(msg.SlotsOffered(slots, trials_per_gpu))
            await asyncio.sleep(CAPACITY_S)

    async def _watch_nodes(self) -> None:
        """Tell of nodes that the cluster is about to take away."""
        await self._opened.wait()
        while True:
            with contextlib.suppress(Exception):  # the cluster's head may be away for a while
                found = await asyncio.to_thread(draining_nodes)
                self._draining |= found.keys()
                for node in found.keys() & set(self._nodes.values()):
                    self._inputs.put(msg.NodeDrained(node, found[node]))
            await asyncio.sleep(LOOK_S)

    async def _slots(self) -> int | None:
        """How many workers to have: what is up and free, and some to wait where the cluster may grow.

        While workers are on their way nobody knows how much of what is free will be theirs: then None for a
        cluster that cannot grow, while in one that can others take the place of those that have come up.
        """
        coming = len(self._tasks) - len(self._up)
        pending = PENDING if await asyncio.to_thread(has_autoscaler) else 0
        demand = self._settings.demand.sharing(self._trials_per_gpu)
        if coming and (not pending or demand.bundles):
            return None
        up = len(self._up)
        free = 0 if coming else await asyncio.to_thread(slots_free, demand, up)
        if coming != len(self._tasks) - len(self._up):
            return None
        if demand.bundles:
            return await self._whole_slots(demand, up, free, bool(pending))
        return max(1, len(self._up) + max(coming, free + pending))

    async def _whole_slots(self, demand: Demand, up: int, free: int, grows: bool) -> int:
        """How many workers whose trials start others to have: as many as have room for all of these.

        What is free lags behind what was taken, so that two looks must agree. In a cluster that grows, one
        more waits with its workers for nodes.
        """
        most = await asyncio.to_thread(slots_in_all, demand)
        found = max(1, min(up + free, most) + grows)
        before, self._seen_whole = self._seen_whole or found, found
        return min(found, before)


def _ours(error: Exception) -> RaytuneError | None:
    """The error that a worker has raised on purpose, to be read without a traceback."""
    cause = error.cause if isinstance(error, RayTaskError) else None
    return cause if isinstance(cause, RaytuneError) else None


def _on_one_line(text: str) -> str:
    """What an error says, long ones without their middle: of a traceback the last line says most."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    text = " ".join(lines)
    return text if len(text) <= 500 else f"{text[:150]} … {text[-350:]}"
