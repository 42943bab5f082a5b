"""What is kept about workers so that no event looks through all of them agrees with a look through all."""

from __future__ import annotations

import random

from raytune_gp import events as ev
from raytune_gp.crew import STARTING_S, Crew, Worker, WorkerStatus
from raytune_gp.due import Due


def _a_step(crew: Crew, rng: random.Random, now: float, due: Due) -> None:
    """Something that may happen to a crew. A worker is not always requested for the lowest free slot."""
    worker = rng.choice(list(crew.workers.values())) if crew.workers else None
    kind = rng.choice(["request", "request", "come", "release", "lose"])
    if kind == "request" or worker is None:
        slot = rng.choice([crew.free_slot, crew.free_slot, len(crew.incarnations) + rng.randrange(3)])
        if slot not in crew.slots:
            incarnation = crew.incarnations.get(slot, 0) + 1
            crew.requested(ev.WorkerRequested(now, f"w{slot}/{incarnation}", slot, incarnation), due)
    elif kind == "come" and worker.status is WorkerStatus.REQUESTED:
        crew.up(ev.WorkerUp(now, worker.id, "node", 1), due)
    elif kind == "release" and worker.status is not WorkerStatus.RELEASED:
        crew.released(ev.WorkerReleased(now, worker.id, "no trial is left for it"), due)
    elif kind == "lose":
        crew.lost(ev.WorkerLost(now, worker.id, "it died", "worker_lost"), due)


def _waiting(crew: Crew) -> list[Worker]:
    return [worker for worker in crew.workers.values() if worker.status is WorkerStatus.REQUESTED]


def test_what_is_kept_agrees_with_a_look_at_all_workers() -> None:
    rng, crew, now = random.Random(0), Crew(), 0.0
    seen: set[str] = set()
    for _ in range(3000):
        now += rng.choice([0.0, 0.5, 3.0])
        _a_step(crew, rng, now, {})
        waiting = _waiting(crew)
        assert list(crew.coming) == [worker.id for worker in waiting]
        assert crew.overdue(now) == sum(now - worker.requested_at > STARTING_S for worker in waiting)
        assert crew.free_slot == next(slot for slot in range(10_000) if slot not in crew.slots)
        alive = [w.id for w in crew.workers.values() if w.status is not WorkerStatus.RELEASED]
        assert list(crew.slots.values()) == alive
        restored = Crew(crew.workers, crew.idle, crew.slots, crew.incarnations, crew.draining)
        restored.losses_in_a_row = crew.losses_in_a_row
        assert restored == crew
        seen |= {f"{crew.overdue(now) > 0}", f"vacant {len(crew.vacant) > 1}"}
    assert seen == {"True", "False", "vacant True", "vacant False"}
