"""What trials have started and nobody will end is told from what has its worker or its reaper."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid

from raytune_gp.execution import reaper
from raytune_gp.execution.family import MARK
from raytune_gp.execution.strays import find_strays

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def test_a_process_without_worker_and_reaper_is_a_stray() -> None:
    lost, watched = (MARK + uuid.uuid4().hex for _ in range(2))
    stray, other, unmarked, watcher = processes = [
        subprocess.Popen(SLEEP, env={**os.environ, lost: "1"}),
        subprocess.Popen(SLEEP, env={**os.environ, watched: "1"}),
        subprocess.Popen(SLEEP),
        subprocess.Popen([*SLEEP, reaper.__file__, watched]),
    ]
    try:
        found = [process.pid for process in find_strays()]
        assert stray.pid in found
        assert not {other.pid, unmarked.pid, watcher.pid} & set(found)
    finally:
        for process in processes:
            process.kill()
            process.wait()
