"""Which module may import which: the table of the design, read off every import statement.

Imports inside functions count as well; those under `if TYPE_CHECKING` do not, for they never run.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import raytune_gp
from tests.patience import HANGS_S

ROOT = Path(raytune_gp.__file__).parent

LAYERS = (
    ("errors", "__version__"),
    ("naming", "kinds", "secrets"),
    ("failures", "patience", "usage", "packing"),
    ("trial", "events", "codec", "messages", "spec", "status", "retention"),
    ("due", "crew", "suggestions", "unheard", "transitions", "state"),
    ("snapshots",),
    ("space",),
    ("protocols", "options"),
    ("surrogate",),
    ("acquisition",),
    ("storage",),
    ("searchers",),
    ("schedulers",),
    ("unreported", "advice", "endings", "planning"),
    ("experiment",),
    ("recovery",),
    ("trainable",),
    ("execution",),
    ("analysis", "results", "replay"),
    ("callbacks", "progress", "settings", "dashboard"),
    ("afterwards", "audience"),
    ("attaching", "launch"),
    ("tune",),
    ("runfile", "demo"),
    ("sagemaker", "integrations", "cli"),
)
"""A row may import itself and the rows above it. A new module of the package gets its place here."""

LEVEL = {name: level for level, row in enumerate(LAYERS) for name in row}

APART = {
    "experiment": {"searchers", "schedulers", "storage", "space", "surrogate", "acquisition"},
    "state": {"protocols"},
    "recovery": {"storage", "space", "searchers", "schedulers", "surrogate", "acquisition"},
    "schedulers": {"searchers", "storage", "space"},
    "searchers": {"storage"},
    "surrogate": {"trial", "events", "messages", "state", "protocols", "space"},
    "acquisition": {"trial", "events", "messages", "state", "protocols", "space"},
    "storage": {"state", "space"},
    "analysis": {"execution", "experiment", "storage"},
}
"""What a module keeps away from although it lies above: a searcher and a scheduler come by constructor,
numerics know tensors alone, and analysis reads states."""

PURE = frozenset(
    {
        *(
            "errors",
            "naming",
            "failures",
            "patience",
            "usage",
            "packing",
            "trial",
            "events",
            "messages",
            "spec",
            "status",
            "retention",
            "due",
            "crew",
            "suggestions",
            "unheard",
            "transitions",
            "state",
            "snapshots",
        ),
        *("protocols", "options", "unreported", "advice", "endings", "planning", "experiment"),
        *("space", "surrogate", "acquisition", "searchers", "schedulers"),
    }
)
WORLD = frozenset(
    {
        *("ray", "time", "datetime", "random", "secrets"),
        *("os", "io", "pathlib", "shutil", "tempfile", "glob", "logging", "sqlite3", "sqlalchemy", "pyarrow"),
        *("socket", "urllib", "http", "requests", "fsspec", "subprocess", "signal", "psutil"),
        *("threading", "multiprocessing", "asyncio", "concurrent", "queue"),
        *("pandas", "plotly", "rich", "typer"),
    }
)
"""Clock, chance, files, processes and networks, which are injected: the pure modules import none of them."""

EXCEPTIONS = {"searchers/asking.py": {"time"}, "searchers/optimizer.py": {"threading"}}
"""The one measures how long the searcher took, for the provenance, and decides nothing by it; the other is
called by the user, perhaps from several threads."""


def imports(source: str) -> Iterator[str]:
    """The full names that the source imports: `from a import b` gives `a.b`."""

    class Visitor(ast.NodeVisitor):
        def __init__(self) -> None:
            self.found: list[str] = []

        def visit_If(self, node: ast.If) -> None:
            if "TYPE_CHECKING" not in ast.unparse(node.test):
                self.generic_visit(node)
            for other in node.orelse if "TYPE_CHECKING" in ast.unparse(node.test) else ():
                self.visit(other)

        def visit_Import(self, node: ast.Import) -> None:
            self.found += [alias.name for alias in node.names]

        def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
            assert node.level == 0, "imports are absolute"
            self.found += [f"{node.module}.{alias.name}" for alias in node.names]

    visitor = Visitor()
    visitor.visit(ast.parse(source))
    return iter(visitor.found)


def top(parts: tuple[str, ...]) -> str:
    return parts[0].removesuffix(".py")


def faults(path: str, source: str) -> list[str]:
    """What the file at `path`, below the package, imports against the rules."""
    name = top(Path(path).parts)
    found = []
    for imported in imports(source):
        package, _, rest = imported.partition(".")
        if package != "raytune_gp":
            if name in PURE and package in WORLD - EXCEPTIONS.get(path, set()):
                found.append(f"{path} is pure and imports {package}")
            continue
        other = rest.partition(".")[0]
        if other not in LEVEL:
            found.append(f"{path} imports {imported}, which has no place in LAYERS")
        elif other != name and LEVEL[other] > LEVEL[name]:
            found.append(f"{path} imports {imported}, which lies below it")
        elif other in APART.get(name, ()):
            found.append(f"{path} imports {imported}, which {name} is kept apart from")
    return found


FILES = sorted(
    p.relative_to(ROOT).as_posix() for p in ROOT.rglob("*.py") if p.parent != ROOT or p.stem != "__init__"
)


def test_every_module_has_its_place() -> None:
    assert {top(Path(f).parts) for f in FILES} <= set(LEVEL)


@pytest.mark.parametrize("path", FILES)
def test_imports_point_up_the_table(path: str) -> None:
    assert faults(path, (ROOT / path).read_text()) == []


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("errors.py", "from raytune_gp.trial import Trial"),
        ("state.py", "import raytune_gp.experiment"),
        ("space/domains.py", "from raytune_gp import protocols"),
        ("storage/journal.py", "from raytune_gp.execution.loop import Loop"),
        ("experiment.py", "from raytune_gp.searchers.gp import GPSearcher"),
        ("experiment.py", "def late():\n    import ray"),
        ("schedulers/asha.py", "if True:\n    from time import time"),
        ("surrogate/gp.py", "from raytune_gp.trial import Trial"),
        ("searchers/gp.py", "from os import path"),
        ("execution/loop.py", "from raytune_gp import nonsense"),
        ("tune.py", "try:\n    from raytune_gp import cli\nexcept ImportError:\n    pass"),
    ],
)
def test_a_wrong_import_is_found(path: str, line: str) -> None:
    source = f"from __future__ import annotations\n{line}\n"
    assert len(faults(path, source)) == 1


def test_imports_for_the_type_checker_alone_do_not_count() -> None:
    source = "if TYPE_CHECKING:\n    import ray\nelse:\n    import os\n"
    assert list(imports(source)) == ["os"]


def loaded(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter holds after `statement`."""
    code = f"{statement}\nimport sys\nprint(*{{m.partition('.')[0] for m in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=HANGS_S
    )
    return set(done.stdout.split())


def test_importing_the_package_loads_neither_torch_nor_ray() -> None:
    assert not loaded("import raytune_gp") & {"torch", "ray", "gpytorch", "sqlalchemy", "pandas"}


def test_the_core_runs_without_them_too() -> None:
    core = "import raytune_gp.experiment, raytune_gp.schedulers, raytune_gp.execution.simulated"
    assert not loaded(core) & {"torch", "ray", "gpytorch", "sqlalchemy", "pandas", "scipy"}
