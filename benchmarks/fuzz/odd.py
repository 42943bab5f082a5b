"""Odd values, and sound data made odd: altered in its structure, or damaged in its bytes."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import numpy as np

__all__ = ["altered", "damaged", "key", "value"]

ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    0.5,
    1e-3,
    "",
    "x",
    "x/y",
    "é\n\x00",
    "\ud800",
    "$choice",
    "a" * 300,
    10**30,
    -(10**400),
    2**63,
    1e308,
    -1e308,
    5e-324,
    math.nan,
    math.inf,
    -math.inf,
    b"\xff",
    1j,
    object,
    [],
    {},
    (),
    set(),
    [[]],
    {"": {}},
    {1: 2},
    {None: 1},
    {"$float": "nan"},
    {"$choice": 0, "repr": "a"},
    np.float32(0.1),
    np.int64(3),
    np.array([1.0, 2.0]),
    np.array(3),
    np.nan,
    np.bool_(True),
    len,
    range(3),
    "tune.uniform(0, 1)",
    "1e-3",
    "nan",
    "../..",
    "__class__",
    "{{x}}",
    "<script>",
    "%s%n",
    "-",
    ".",
)


def value(rng: Random, depth: int = 3) -> Any:
    """Something, perhaps nested."""
    kind = rng.random()
    if depth and kind < 0.12:
        return [value(rng, depth - 1) for _ in range(rng.randrange(4))]
    if depth and kind < 0.24:
        return {key(rng): value(rng, depth - 1) for _ in range(rng.randrange(4))}
    if kind < 0.4:
        return rng.choice(
            [rng.random(), rng.randrange(-5, 50), rng.gauss(0, 10.0 ** rng.randrange(-300, 300))]
        )
    return rng.choice(ODD)


def key(rng: Random) -> Any:
    """Something that a dictionary takes."""
    return rng.choice(
        ["a", "b", "a/b", "x", "score", "", 3, None, "\ud800", ("t",), 1.5, True, "$float", "é"]
    )


def altered(rng: Random, data: Any) -> Any:
    """JSON-like `data` with a part replaced, removed, doubled or moved."""
    if isinstance(data, dict) and data and rng.random() < 0.85:
        name = rng.choice(list(data))
        copy = dict(data)
        match rng.randrange(6):
            case 0:
                del copy[name]
            case 1:
                copy[key(rng)] = copy.pop(name)
            case _:
                copy[name] = altered(rng, copy[name])
        return copy
    if isinstance(data, list | tuple) and data and rng.random() < 0.85:
        items = list(data)
        place = rng.randrange(len(items))
        match rng.randrange(4):
            case 0:
                del items[place]
            case 1:
                items.insert(place, value(rng, 1))
            case _:
                items[place] = altered(rng, items[place])
        return items
    return value(rng)


def damaged(rng: Random, data: bytes) -> bytes:
    """`data` cut, with bits flipped, parts doubled, removed or overwritten."""
    some = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 40])):
        if not some:
            break
        at = rng.randrange(len(some))
        match rng.randrange(6):
            case 0:
                del some[at:]
            case 1:
                some[at] ^= 1 << rng.randrange(8)
            case 2:
                del some[at : at + rng.randrange(1, 30)]
            case 3:
                some[at:at] = some[at : at + rng.randrange(1, 200)]
            case 4:
                some[at : at + 4] = rng.randbytes(4)
            case _:
                some[at] = rng.choice(b"{}[]:,-#&*!|>'\"%@`\t\n\r\0 \x80\xff")
    return bytes(some)
