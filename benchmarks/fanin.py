"""How many reports a second one coordinator takes from many light actors on Ray.

    python -m benchmarks.fanin --out benchmarks/results/fanin.json

Each trial is a worker, a process of its own, which Ray starts two at a time. Once all are there they report
at a steady rate, one rate after another. Actors, coordinator, driver and Ray's own processes share this
machine: where its CPUs are busy, what is measured is the machine. A report's time is read on the worker's
clock, its decision's on the coordinator's. What Ray's processes do for its own observation is turned off
(`QUIET`).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import ray

from benchmarks.measure import command_line, events_of, percentile, write
from raytune_gp import events as ev
from raytune_gp import tune
from raytune_gp.execution.worker import NAMESPACE

QUIET = {
    "RAY_enable_metrics_collection": "0",
    "RAY_task_events_report_interval_ms": "0",
    "RAY_event_stats": "0",
    "RAY_core_worker_internal_heartbeat_ms": "10000",
    "RAY_raylet_death_check_interval_milliseconds": "10000",
    "RAY_report_worker_backlog_interval_ms": "10000",
    "RAY_grpc_client_check_connection_status_interval_milliseconds": "10000",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_grpc_keepalive_time_ms": "600000",
    "MALLOC_ARENA_MAX": "2",
}
"""Settings of Ray for hundreds of processes on a few cores: its metrics, task events, statistics and memory
monitor off, its heartbeats each ten seconds, and time for a process to start."""

PAUSE_S = 5.0
"""Between two rates, for what still waits."""

SETTLE_S = 2.0
"""An agent that has come may say so before it is stopped."""

EDGE = 0.1
"""This share of a rate's first reports, and of its last, is left out: not all agents report yet, or still."""


def steady(
    config: Mapping[str, Any], meeting: str, agents: int, rates: Sequence[float], seconds: float
) -> None:
    """Wait until all `agents` are there; then report at each of `rates` (reports a second) for `seconds`."""
    Path(meeting, str(os.getpid())).touch()
    while len(os.listdir(meeting)) < agents:
        time.sleep(1.0)
    time.sleep(PAUSE_S)
    for phase, rate in enumerate(rates):
        due = time.perf_counter() + config["x"] / rate
        for _ in range(int(rate * seconds)):
            time.sleep(max(0.0, due - time.perf_counter()))
            tune.report({"score": config["x"], "phase": phase})
            due += 1 / rate
        time.sleep(PAUSE_S)


class Patience(threading.Thread):
    """Has the agents that are there wait without the CPU, by SIGSTOP, until all `agents` are.

    An actor of Ray looks for signals a hundred times a second: hundreds that only wait leave no CPU for those
    that are to start.
    """

    def __init__(self, meeting: Path, agents: int) -> None:
        super().__init__(daemon=True)
        self._meeting, self._agents = meeting, agents
        self._over = threading.Event()

    def run(self) -> None:
        there: list[Path] = []
        while len(there) < self._agents and not self._over.wait(1.0):
            there = list(self._meeting.iterdir())
            for agent in there:
                if time.time() - agent.stat().st_mtime > SETTLE_S:
                    os.kill(int(agent.name), signal.SIGSTOP)
        self.end()

    def end(self) -> None:
        """Let all go on."""
        self._over.set()
        for agent in self._meeting.iterdir():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(agent.name), signal.SIGCONT)


class Observer(threading.Thread):
    """Reads each second what CPU time coordinator, agents and the machine have taken.

    `meeting` is the directory in which agents leave the numbers of their processes.
    """

    def __init__(self, meeting: Path) -> None:
        super().__init__(daemon=True)
        self._meeting = meeting
        self.samples: list[tuple[float, float, float, float]] = []
        self.memory_mb = 0.0
        self.least_free_mb = float("inf")

    def run(self) -> None:
        coordinator = self._find()
        while coordinator.is_running():
            try:
                agents = sum(_cpu_s(psutil.Process(int(pid))) for pid in os.listdir(self._meeting))
                own, whole = _cpu_s(coordinator), psutil.cpu_times()
                self.memory_mb = max(self.memory_mb, coordinator.memory_info().rss / 1e6)
            except (psutil.Error, FileNotFoundError):  # the run is over
                return
            self.least_free_mb = min(self.least_free_mb, psutil.virtual_memory().available / 1e6)
            self.samples.append((time.time(), own, agents, sum(whole) - whole.idle - whole.iowait))
            time.sleep(1.0)

    @staticmethod
    def _find() -> psutil.Process:
        while True:
            try:
                actor: Any = ray.get_actor("fanin", NAMESPACE)
                return psutil.Process(ray.get(actor.hello.remote())["pid"])
            except ValueError:
                time.sleep(0.2)

    def shares(self, since: float, until: float) -> dict[str, float]:
        """CPUs that the coordinator, the agents, and everything together had between two times."""
        within = [sample for sample in self.samples if since <= sample[0] <= until]
        seconds, *taken = (b - a for a, b in zip(within[0], within[-1], strict=True))
        names = ("coordinator_cpus", "agents_cpus", "machine_cpus")
        return {name: round(cpu_s / seconds, 3) for name, cpu_s in zip(names, taken, strict=True)}


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def per_second(times: Sequence[float]) -> float:
    """How many there are a second, the first and the last ones left out."""
    spread = percentile(times, 1 - EDGE) - percentile(times, EDGE)
    return round((1 - 2 * EDGE) * len(times) / spread, 1)


def figures(reports: Sequence[ev.Reported], offered: float, observer: Observer) -> dict[str, Any]:
    """What became of the reports of one rate."""
    made, taken = [r.time for r in reports], [r.at for r in reports]
    delays = [1000 * (r.at - r.time) for r in reports]
    turns = len({r.at for r in reports})
    shares = observer.shares(percentile(made, EDGE), percentile(taken, 1 - EDGE))
    return {
        "offered_per_s": offered,
        "made_per_s": per_second(made),
        "journalled_per_s": per_second(taken),
        "reports": len(reports),
        "reports_a_turn": round(len(reports) / turns, 2),
        "report_to_decision_ms": {
            name: round(percentile(delays, share), 1) for name, share in (("p50", 0.5), ("p99", 0.99))
        },
        "coordinator_cpu_ms_a_report": round(1000 * shares["coordinator_cpus"] / per_second(taken), 3),
        **shares,
    }


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--agents", type=int, default=50)
    parser.add_argument("--rates", type=float, nargs="+", default=[2, 5, 10, 20], help="a second and agent")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each rate")
    arguments = parser.parse_args()
    agents, rates, seconds = arguments.agents, arguments.rates, arguments.seconds
    os.environ.update(QUIET)
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as directory:
        meeting = Path(directory, "meeting")
        meeting.mkdir()
        observer = Observer(meeting)
        observer.start()
        patience = Patience(meeting, agents)
        patience.start()
        url = f"sqlite:///{directory}/journal.db"
        began = time.time()
        try:
            results = tune.run(
                tune.with_parameters(
                    steady, meeting=str(meeting), agents=agents, rates=rates, seconds=seconds
                ),
                config={"x": tune.uniform(0, 1)},
                metric="score",
                mode="max",
                search_alg="random",
                num_samples=agents,
                max_concurrent_trials=agents,
                resources_per_trial={"cpu": 1 / agents},
                name="fanin",
                storage_path=directory,
                journal=url,
                verbose=0,
            )
        finally:
            patience.end()
        assert results.num_errors == 0
        events = events_of(url, "fanin")
    ray.shutdown()
    reports = [event for event in events if isinstance(event, ev.Reported)]
    all_started = max(event.at for event in events if isinstance(event, ev.AttemptStarted))
    reports.sort(key=lambda report: report.metrics["phase"])
    by_rate = itertools.groupby(reports, key=lambda report: report.metrics["phase"])
    write(
        {
            "command": f"python -m benchmarks.fanin --agents {agents}"
            f" --rates {' '.join(f'{rate:g}' for rate in rates)} --seconds {seconds:g}",
            "agents": agents,
            "lost": int(sum(agents * int(rate * seconds) for rate in rates)) - len(reports),
            "all_started_after_s": round(all_started - began, 1),
            "all_wait": observer.shares(all_started, min(report.time for report in reports)),
            "rates": [figures(list(group), agents * rates[phase], observer) for phase, group in by_rate],
            "coordinator_memory_mb": round(observer.memory_mb, 1),
            "least_free_memory_mb": round(observer.least_free_mb),
        },
        arguments.out,
    )


if __name__ == "__main__":
    main()
