"""A package in a folder, for pip to install without a network."""

from __future__ import annotations

import zipfile
from pathlib import Path

from raytune_gp.trainable.python_env import PythonEnv


def make_wheel(folder: Path, name: str = "raytune_probe", code: str = "ANSWER = 42\n") -> list[str]:
    """Version 1.0 of a package `name`, of one module with `code`; returns pip's options to find it."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", code)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return ["--no-index", "--find-links", str(folder)]


def probe(folder: Path, imports: tuple[str, ...] = ()) -> PythonEnv:
    """An environment with that package."""
    return PythonEnv(("raytune_probe==1.0",), pip_options=tuple(make_wheel(folder)), imports=imports)
