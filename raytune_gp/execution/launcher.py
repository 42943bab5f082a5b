"""`python -m raytune_gp.execution.launcher DIGEST …`: what Ray starts for a worker that has a `PythonEnv`.

Where this node has that environment, its interpreter takes the place of this process; where it has not,
this interpreter goes on, and the worker makes the environment before it is started again. Either way a
process comes up in the time that Ray allows, and what goes wrong is told by the worker.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from raytune_gp.trainable.python_env import code_folder, is_whole, python_of

__all__ = ["INSIDE", "launch"]

INSIDE = "RAYTUNE_INSIDE_ENV"
"""The environment variable that has the digest of the environment that a worker runs in."""


def launch(digest: str, arguments: Sequence[str]) -> None:
    """Become the worker: never returns."""
    if is_whole(digest):
        interpreter = str(python_of(digest))
        inherited = [p for p in (os.environ.get("PYTHONPATH"),) if p]
        os.environ["PYTHONPATH"] = os.pathsep.join([*inherited, str(code_folder())])
        os.environ[INSIDE] = digest
    else:
        interpreter = sys.executable
    os.execv(interpreter, [interpreter, *arguments])


if __name__ == "__main__":
    launch(sys.argv[1], sys.argv[2:])
