"""What a run takes along to the cluster, packed before anything is written of it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray import cloudpickle
from ray.util import inspect_serializability

from raytune_gp.errors import SpecError
from raytune_gp.execution.parts import Parts
from raytune_gp.execution.payload import Payload
from raytune_gp.execution.shipping import Freight, pack
from raytune_gp.space import SearchSpace
from raytune_gp.storage.artifacts import Storage
from raytune_gp.trainable.parameters import Equipped
from raytune_gp.trainable.run import trainable_name

__all__ = ["Cargo"]


@dataclass(frozen=True)
class Cargo:
    """What the coordinator and the workers of a run are made with.

    `trainable` holds the pickled (trainable, space), `parts` the pickled parts, and `freight` the runtime
    environment; `parameters` are references to the objects of `tune.with_parameters` in Ray's object store.
    """

    trainable: Payload
    parts: Payload
    freight: Freight
    parameters: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        trainable: Any,
        space: SearchSpace,
        parts: Parts,
        runtime_env: Mapping[str, Any],
        storage: Storage,
        *,
        detached: bool = False,
    ) -> Cargo:
        """Pack it; what is large goes into `storage`. The objects of a `detached` run go with the trainable.

        Raises SpecError for what cannot be pickled, and for a runtime environment that cannot be packed.
        """
        freight = pack(runtime_env, storage)
        name = trainable_name(trainable)
        references: dict[str, Any] = {}
        if isinstance(trainable, Equipped):
            trainable = trainable.bare()
            if not detached:  # they go with their driver
                references = {key: _put(key, value, name) for key, value in trainable.parameters.items()}
                trainable = trainable.without()
        whole = {f"the trainable {name}": trainable, "the search space": space}
        deciding = {
            "the searcher": parts.searcher,
            "the scheduler": parts.scheduler,
            "the stop function": parts.stopper,
        }
        content = _pickled((trainable, space), whole, storage)
        return cls(content, _pickled(parts, deciding, storage), freight, references)


def _put(key: str, value: Any, name: str) -> Any:
    try:
        return ray.put(value)
    except Exception as error:
        raise _refusal(f"the parameter {key!r} of {name}", value, error) from None


def _pickled(content: Any, members: Mapping[str, Any], storage: Storage) -> Payload:
    """The payload of `content`, which consists of `members`: an error says which of them is at fault."""
    try:
        return Payload.of(content, storage)
    except OSError:
        raise  # the storage's
    except Exception as error:
        failing = [name for name, member in members.items() if not _can_be_sent(member)]
        what = (failing or list(members))[0]
        raise _refusal(what, members[what], error) from None


def _can_be_sent(member: Any) -> bool:
    try:
        cloudpickle.dumps(member)
    except Exception:
        return False
    return True


def _refusal(what: str, suspect: Any, error: Exception) -> SpecError:
    """Why `suspect` cannot be sent, with the names of the objects in it that are at fault."""
    suspect = suspect.function if isinstance(suspect, Equipped) else suspect
    culprits = inspect_serializability(suspect, print_file=io.StringIO())[1]
    held = sorted({f"{_name(c)} ({type(c.obj).__name__})" for c in culprits if c.obj is not suspect})
    reason = str(error.__cause__ or error).strip().partition("\n")[0] or type(error).__name__
    named = f" It holds {', '.join(held)}." if held else ""
    return SpecError(
        f"{what} cannot be sent to the cluster: {reason}.{named} Make such objects inside of the function "
        f'that uses them, or use executor="inline"'
    )


def _name(culprit: Any) -> str:
    """The name of the variable that holds it; newer versions of Ray give the path to it."""
    path = getattr(culprit, "path", None)
    return str(path[-1] if path else getattr(culprit, "name", "?"))
