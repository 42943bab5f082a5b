"""A module that a worker does not find although the driver did: what to say of it."""

from __future__ import annotations

import os
import sys

__all__ = ["explain_missing"]


def explain_missing(error: BaseException, node: str) -> None:
    """Add to `error`, where a module is missing on `node`, where that was looked for, and the fix."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return
    looked = [os.getcwd(), *(path for path in sys.path if path and "site-packages" not in path)]
    places = ", ".join(dict.fromkeys(looked[:6]))
    error.add_note(
        f"the module {error.name!r} is not on node {node}, where this trial ran: it was looked for in "
        f"{places} and among the installed packages. If it is code of yours, send it to every node by "
        f'runtime_env={{"working_dir": "."}} or {{"py_modules": ["path/to/it"]}}; if it is a package, '
        f'install it there, or by runtime_env={{"pip": ["its name"]}}'
    )
