"""Ray's `runtime_env` of a run's workers: checked, its local directories packed, its variables kept quiet.

Ray keeps packages of code in the memory of the cluster's head, and forgets one that nobody uses. Those of a
run lie in its storage too, and are handed in again where a worker is to be made without them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raytune_gp.errors import SpecError
from raytune_gp.naming import suggestion
from raytune_gp.storage.artifacts import Storage
from raytune_gp.storage.staging import StagingDirectory

__all__ = ["NO_FREIGHT", "Freight", "check_runtime_env", "pack"]

_GCS = "gcs://"
_HIDDEN = "***"
_SHORTEST = 4
"""Values of fewer characters are not looked for in messages: they would be found everywhere."""


def check_runtime_env(env: Mapping[str, Any], executor: str) -> None:
    """Raise SpecError for a `runtime_env` that Ray would refuse, or that the executor has no use for."""
    if not env:
        return
    if executor != "ray":
        raise SpecError(
            f'runtime_env is for workers on Ray, and executor="{executor}" runs trials in this very process: '
            f"leave it out"
        )
    modules = env.get("py_modules")
    for path in (env.get("working_dir"), *(modules if isinstance(modules, list | tuple) else ())):
        if _is_local(path) and not Path(_in_full(path)).exists():
            raise SpecError(f"runtime_env names {str(path)!r}, and there is no such directory: correct it")
    _parsed(env)


@dataclass(frozen=True)
class Freight:
    """What every worker of a run is made with: a `runtime_env` without local paths.

    `packages` maps the address of each package in Ray's store to its file in the run's storage. No
    representation shows the environment, as its variables may be secrets.
    """

    env: Mapping[str, Any] = field(default_factory=dict, repr=False)
    packages: Mapping[str, str] = field(default_factory=dict)

    def hand_in(self, storage: Storage) -> None:
        """Give Ray the packages that it has forgotten."""
        from ray._private.runtime_env.packaging import package_exists, upload_package_to_gcs

        for uri, path in self.packages.items():
            if not package_exists(uri):
                upload_package_to_gcs(uri, storage.read_bytes(path))

    def hidden(self, text: str) -> str:
        """`text` without the values of the environment's variables."""
        return hidden(text, self.env)


NO_FREIGHT = Freight()


def pack(env: Mapping[str, Any], storage: Storage) -> Freight:
    """Pack the local directories of `env`, give them to Ray and keep them in `storage`.

    This process must be connected to Ray. Raises SpecError where a directory cannot be packed, say since it
    is larger than Ray takes.
    """
    if not env:
        return NO_FREIGHT
    from ray._private.runtime_env.py_modules import upload_py_modules_if_needed
    from ray._private.runtime_env.working_dir import upload_working_dir_if_needed
    from ray.experimental.internal_kv import _internal_kv_get

    made = _parsed(env)
    try:
        with StagingDirectory() as scratch:
            made = upload_py_modules_if_needed(made, include_gitignore=True, scratch_dir=scratch)
            made = upload_working_dir_if_needed(made, include_gitignore=True, scratch_dir=scratch)
    except Exception as error:  # Ray's own errors, and those of the disk
        raise SpecError(f"runtime_env cannot be packed: {hidden(str(error), env)}") from error
    made.pop("excludes", None)
    packages = {}
    for uri in _code(made):
        content = _internal_kv_get(uri) if str(uri).startswith(_GCS) else None
        if content is not None:
            path = f"package_{hashlib.sha256(content).hexdigest()[:16]}.zip"
            storage.write_bytes(path, content)
            packages[uri] = path
    return Freight(made, packages)


def hidden(text: str, env: Mapping[str, Any]) -> str:
    """`text` without the values of the variables of `env`."""
    for value in (env.get("env_vars") or {}).values():
        if len(str(value)) >= _SHORTEST:
            text = text.replace(str(value), _HIDDEN)
    return text


def _parsed(env: Mapping[str, Any]) -> dict[str, Any]:
    """`env` as Ray reads it, with what it names of local files read, and local directories in full."""
    from ray.runtime_env import RuntimeEnv

    plain = dict(env)
    if _is_local(plain.get("working_dir")):
        plain["working_dir"] = _in_full(plain["working_dir"])
    if isinstance(plain.get("py_modules"), list | tuple):
        plain["py_modules"] = [_in_full(m) if _is_local(m) else m for m in plain["py_modules"]]
    for name in plain:
        if name not in RuntimeEnv.known_fields:  # Ray would leave it out
            known = sorted(field for field in RuntimeEnv.known_fields if not field.startswith("_"))
            raise SpecError(f"runtime_env has no {name!r}{suggestion(name, known)}")
    try:
        return dict(RuntimeEnv(**plain))
    except Exception as error:  # of several kinds, TypeErrors and ValueErrors among them
        raise SpecError(f"runtime_env cannot be: {hidden(str(error), env)}") from None


def _code(env: Mapping[str, Any]) -> list[Any]:
    """Where the code is that `env` brings: its working directory and modules."""
    found = [env.get("working_dir"), *(env.get("py_modules") or ())]
    return [entry for entry in found if entry is not None]


def _is_local(entry: Any) -> bool:
    return isinstance(entry, str | Path) and "://" not in str(entry)


def _in_full(path: str | Path) -> str:
    return str(Path(path).expanduser().absolute())
