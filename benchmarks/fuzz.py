"""Bad input of every kind: run files, search spaces, reports, journals, and what programs print.

    python -m benchmarks.fuzz --minutes 10 --out benchmarks/results/fuzz.json

Each input follows from its target and a seed, so that `--target journals --seed 17 --inputs 1` tries one
again. An input is taken, or refused by an error of raytune-gp's own; anything else is a crash, as is what
takes longer than LIMIT_S, and what was in a journal and is there no more. With `--out` the seeds go on behind
those of the file, and counts add up.
"""

from __future__ import annotations

import json
import math
import signal
import sqlite3
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from benchmarks.measure import command_line, write
from raytune_gp import tune
from raytune_gp.analysis.report import write_report
from raytune_gp.analysis.summary import summary
from raytune_gp.codec import event_from_json, event_to_json
from raytune_gp.errors import RaytuneError
from raytune_gp.messages import Item
from raytune_gp.replay import derive
from raytune_gp.runfile.plan import read_plan
from raytune_gp.space import Encoding, SearchSpace
from raytune_gp.space.definition import definition, space_of
from raytune_gp.state import RunState
from raytune_gp.storage.journal import SQLJournal
from raytune_gp.trainable.program import Lines
from raytune_gp.trainable.scraper import Scraper
from raytune_gp.trainable.session import Context, Session

__all__ = ["TARGETS", "CrashError", "attempt"]

LIMIT_S = 5.0

SHOWN = 12
"""Lines of a crash that are printed."""

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


class CrashError(Exception):
    """What must not happen."""


class _TooLongError(BaseException):
    """The alarm: no `except Exception` takes it."""


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def ring(*_: Any) -> None:
        raise _TooLongError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def attempt(target: str, rng: Random) -> bool:
    """Try one input of `target`; whether it was taken. Raises CrashError."""
    try:
        with _limited(LIMIT_S):
            TARGETS[target](rng)
        return True
    except RaytuneError as error:
        if not str(error).strip():
            raise CrashError("an error without a word") from error
        return False
    except _TooLongError as error:
        raise CrashError(f"more than {LIMIT_S:g} s\n{traceback.format_exc()}") from error
    except CrashError:
        raise
    except Exception as error:
        raise CrashError(traceback.format_exc()) from error


# --- values ---


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


# --- run files ---

RUN_FILE: dict[str, Any] = {
    "trainable": "json:dumps",
    "metric": "score",
    "mode": "max",
    "num_samples": 3,
    "max_concurrent_trials": 2,
    "search_alg": {"name": "gp", "initial": 4},
    "scheduler": {"name": "median", "grace_period": 2},
    "storage_path": "results",
    "resources_per_trial": {"cpu": 1, "gpu": 0.5},
    "stop": {"score": 0.9},
    "time_budget_s": 60,
    "checkpoint": {"num_to_keep": 2},
    "points_to_evaluate": [{"x": 0.5, "kind": "a"}],
    "env": {"MARK": 7},
    "space": {
        "x": {"uniform": [0, 1]},
        "rate": {"loguniform": {"lower": 0.001, "upper": 1}},
        "kind": {"choice": ["a", "b"]},
        "depth": {"when": {"parent": "kind", "values": ["a"], "then": {"qrandint": [2, 8, 2]}}},
        "nested": {"n": {"grid_search": [1, 2]}, "fixed": "text"},
    },
}
PROGRAM = {"command": ["python", "train.py", 3], "metrics": {"score": "score=([0-9.e-]+)"}}
YAML = (
    "a: &a [x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\n" + "c: &c [*b, *b, *b, *b, *b, *b, *b, *b]\n",
    "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join(9 * [f'*a{i - 1}'])}]\n" for i in range(1, 12)),
    "a0: &a0 {x: 1}\n"
    + "".join(f"a{i}: &a{i} {{<<: [{', '.join(9 * [f'*a{i - 1}'])}]}}\n" for i in range(1, 12)),
    "? [a, b]\n: c\n",
    "!!python/object/apply:os.system ['true']\n",
    "--- a\n--- b\n",
    "a: &a {b: *a}\n",
    "[" * 3000,
    "{a: " * 500,
    "seed: " + "9" * 5000 + "\n",
    "a: 0x\n",
    "a: 1e999\nb: -.inf\nc: .nan\n",
    "a: 2001-01-01\nb: !!binary aGVsbG8=\nc: !!set {x}\n",
    "<<: {a: 1}\n",
)


def run_files(rng: Random) -> None:
    """A valid file with its structure altered, its bytes damaged, or YAML's own traps in it."""
    import yaml

    document: Any = {**RUN_FILE, **(PROGRAM if rng.random() < 0.3 else {})}
    if "command" in document:
        del document["trainable"]
    for _ in range(rng.choice([1, 1, 2, 4])):
        document = altered(rng, document)
    try:
        text = yaml.safe_dump(document, sort_keys=False).encode("utf-8", "surrogatepass")
    except yaml.YAMLError:  # not what YAML can say
        text = repr(document).encode("utf-8", "surrogatepass")
    if rng.random() < 0.3:
        text = damaged(rng, text)
    if rng.random() < 0.1:
        text = rng.choice(YAML).encode() + rng.choice([b"", text])
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "run.yaml")
        path.write_bytes(text)
        plan = read_plan(path)
        plan.check()
        plan.arguments()


# --- search spaces ---

DOMAINS: tuple[Callable[..., Any], ...] = (
    tune.uniform,
    tune.quniform,
    tune.loguniform,
    tune.qloguniform,
    tune.randint,
    tune.qrandint,
    tune.lograndint,
    tune.qlograndint,
    tune.randn,
    tune.qrandn,
    tune.choice,
    tune.grid_search,
    tune.sample_from,
    tune.when,
    tune.reverse_loguniform,
)


def domain(rng: Random, depth: int) -> Any:
    """A call of a domain, sound or not."""
    if rng.random() < 0.2:
        return value(rng, depth)
    made = rng.choice(DOMAINS)
    if made is tune.when:
        values = rng.choice([["a"], [1], [True], value(rng, 1)])
        return tune.when(rng.choice(["a", "b", "a/b", "x", "", 3]), values, domain(rng, depth))
    if made in (tune.choice, tune.grid_search):
        return made([value(rng, 1) for _ in range(rng.randrange(5))] if rng.random() < 0.8 else value(rng))
    if made is tune.sample_from:
        functions = (lambda: 1, lambda config: config["x"], lambda config: config.a, lambda rng: rng.random())
        return made(rng.choice([*functions, lambda: object(), lambda: 1 / 0, None]))
    if rng.random() < 0.5:
        low, high = sorted((rng.randrange(1, 50), rng.randrange(51, 200)))
        return made(*[low, high, rng.choice([1, 2, 0.5])][: rng.choice([2, 2, 3])])
    return made(*[value(rng, 0) for _ in range(rng.choice([1, 2, 2, 3]))])


def spaces(rng: Random) -> None:
    """A space of odd domains: made, sampled, encoded, described, kept and made again."""
    config: Any = {}
    for _ in range(rng.randrange(1, 6)):
        place = config
        if rng.random() < 0.3:
            place = config.setdefault(key(rng), {})
        try:
            made = domain(rng, 1)
        except TypeError:
            continue  # a wrong number of arguments is Python's own affair
        if isinstance(place, dict):
            place[key(rng)] = made
    if rng.random() < 0.05:
        config = value(rng)
    space = SearchSpace(config)
    if math.prod(axis.size for axis in space.grid_axes.values()) > 1000:
        return
    sample = space.sample(np.random.default_rng(rng.randrange(2**32)))
    space.validate({name: v for name, v in space.flat(sample).items() if name not in space.sample_from})
    form = json.loads(json.dumps(space.to_json(sample)))
    again = space.from_json(form)
    encoding = Encoding(space)
    encoding.place([sample, again])
    decoded = encoding.decode(np.random.default_rng(0).random((3, len(encoding.dimensions))))
    space.key(decoded[0])
    space.snap(altered(rng, sample))
    said = json.dumps(space.describe(), allow_nan=True)
    kept = definition(space)
    if "leaves" in kept:
        other = space_of(json.loads(json.dumps(kept)))
        if not space.sample_from and json.dumps(other.describe()) != said:
            raise CrashError(f"not the same space: {said} and {other.describe()}")


# --- reports ---


def reports(rng: Random) -> None:
    """What is handed to `tune.report`, to the journal and back."""
    sent: list[Any] = []
    session = Session(lambda kind, body: sent.append((kind, body)), Context("run", "00000", "/tmp", {}))
    metrics: Any = {"score": 0.5, "nested": {"a": 1, "b": [1, 2]}}
    for _ in range(rng.choice([1, 2, 4])):
        metrics = altered(rng, metrics)
    if rng.random() < 0.1:
        metrics = _trap(rng)
    session.report(metrics)
    for kind, body in sent:
        item = Item("w0/1", 1, "00000", 1, kind, 1.0, body)
        _through_a_journal(item)


def _trap(rng: Random) -> Any:
    """What is not nested as trees are, or not small."""
    loop: Any = {"a": 1}
    loop["b"] = loop
    ring: list[Any] = []
    ring.append(ring)
    deep: Any = 1.0
    for _ in range(5000):
        deep = {"d": deep} if rng.random() < 0.9 else [deep]
    return rng.choice([loop, {"a": ring}, deep, {"a": "x" * 10**6}, {"a": [0.5] * 10**5}, {"a": [deep]}])


def _through_a_journal(item: Item) -> None:
    from raytune_gp import events as ev
    from raytune_gp.trial import History

    step, metrics = item.body["step"], item.body["metrics"]
    event = ev.Reported(1.0, item.worker, item.seq, item.trial, item.attempt, step, metrics, item.time)
    text = event_to_json(event)
    text.encode()
    back = event_from_json("Reported", text)
    if repr(back) != repr(event):
        raise CrashError(f"not what was reported: {event!r} came back as {back!r}")
    history = History()
    history.append(step, metrics, item.time)


# --- journals ---

_MADE: dict[str, bytes] = {}


def _journal() -> bytes:
    """The file of a journal with two runs, made once."""
    if not _MADE:
        with tempfile.TemporaryDirectory() as directory:

            def train(config: Mapping[str, Any]) -> None:
                if config["x"] > 0.8:
                    raise ValueError("on purpose")
                for step in range(3):
                    tune.report({"score": config["x"] * step, "text": "ü"})

            for name in ("one", "two"):
                tune.run(
                    train,
                    config={"x": tune.uniform(0, 1), "kind": tune.choice(["a", "b"])},
                    metric="score",
                    mode="max",
                    num_samples=5,
                    max_failures=1,
                    search_alg="sobol",
                    scheduler="median",
                    name=name,
                    executor="inline",
                    verbose=0,
                    storage_path=directory,
                    journal=f"{directory}/journal.db",
                )
            connection = sqlite3.connect(f"{directory}/journal.db")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.close()
            _MADE["file"] = Path(directory, "journal.db").read_bytes()
    return _MADE["file"]


def journals(rng: Random) -> None:
    """A journal that is torn, altered, or of a newer version, read by everything that reads one."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "journal.db")
        data = _journal()
        if rng.random() < 0.4:
            file.write_bytes(damaged(rng, data))
        else:
            file.write_bytes(data)
            _alter_rows(rng, file)
        before = _rows(file)
        try:
            _read_all(rng, file, directory)
        finally:
            after = _rows(file)
            if before is not None and (after is None or not before <= after):
                raise CrashError(f"{len(before - (after or set()))} rows are gone")


def _read_all(rng: Random, file: Path, directory: str) -> None:
    journal = SQLJournal(f"sqlite:///{file}")
    try:
        refused: RaytuneError | None = None
        for row in journal.runs():
            try:
                events = [event for _, event in journal.read(row.name)]
                state = RunState.of(events)
                json.dumps(summary(state))
                if rng.random() < 0.1:
                    write_report(state, Path(directory, "report.html"))
                for _ in derive(events):
                    pass
            except RaytuneError as error:
                refused = error
        journal.open_requests("one")
        if refused is not None:
            raise refused
    finally:
        journal.close()


def _alter_rows(rng: Random, file: Path) -> None:
    connection = sqlite3.connect(file)
    for _ in range(rng.choice([1, 1, 1, 3])):
        positions = connection.execute("SELECT run, position, body FROM events").fetchall()
        if not positions:
            break
        run, position, body = rng.choice(positions)
        where = ("WHERE run = ? AND position = ?", (run, position))
        body = body if isinstance(body, str) else "{}"
        put = "UPDATE events SET {} = ? " + where[0]
        match rng.randrange(9):
            case 0:
                connection.execute("DELETE FROM events " + where[0], where[1])
            case 1:
                connection.execute(put.format("version"), (rng.choice([5, 99, -1, "x", 1, 2.5]), *where[1]))
            case 2:
                kinds = ("Reported", "TrialEnded", "RunCreated", "Nobody", "", 5, "Event", "WorkerLost")
                connection.execute(put.format("kind"), (rng.choice(kinds), *where[1]))
            case 3:
                torn = damaged(rng, body.encode()).decode("utf-8", "replace")
                connection.execute(put.format("body"), (torn, *where[1]))
            case 4:
                raw = rng.choice([b"\xff\xfe", "", "null", "[]", "3", "{}", '"x"', "[" * 5000, 7])
                connection.execute(put.format("body"), (raw, *where[1]))
            case 5:
                moved = "SELECT 1 FROM events WHERE run = ? AND position IN (1000000, -5, 0)"
                if not connection.execute(moved, (run,)).fetchone():
                    connection.execute(put.format("position"), (rng.choice([10**6, -5, 0]), *where[1]))
            case 6:
                column = rng.choice(["created_at", "term"])
                odd = rng.choice(["x", -1, 10**12, b"\xff"])
                connection.execute(f"UPDATE runs SET {column} = ? WHERE name = ?", (odd, run))
            case 7:
                statements = (
                    "UPDATE layout SET version = 99",
                    "DELETE FROM layout",
                    "UPDATE layout SET version = 'x'",
                    "DROP TABLE events",
                    "DROP TABLE layout",
                    "ALTER TABLE events DROP COLUMN term",
                    "INSERT INTO layout VALUES (1)",
                    "UPDATE layout SET version = -3",
                )
                try:
                    connection.execute(rng.choice(statements))
                except sqlite3.Error:
                    continue
            case _:
                try:
                    text = json.dumps(altered(rng, json.loads(body)), default=str, skipkeys=True)
                except (ValueError, RecursionError):
                    continue
                connection.execute(put.format("body"), (text, *where[1]))
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'events'").fetchone():
            break
    connection.commit()
    connection.close()


def _rows(file: Path) -> set[Any] | None:
    """Every row of events that SQLite itself can read; None where it can read none."""
    try:
        connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
        connection.text_factory = bytes
        try:
            return set(connection.execute("SELECT run, position, kind, version, body FROM events"))
        finally:
            connection.close()
    except sqlite3.Error:
        return None


# --- what programs print ---

PATTERNS = (
    r"score=([0-9.e+-]+)",
    "score={float}",
    ".*({float}).*",
    r"score=(.*)",
    r"(\d+)",
    r"([^,]*),",
    r".*score=(.+).*",
    r"^(?:.*,)?(.*)$",
    r"()",
    r"\s*score:\s*(\S+)\s*",
    r"(?:\w+ )*score=(\d+)",
    r"(.*?)%",
    r"[\s\S]*?(\d)",
)


def streams(rng: Random) -> None:
    """Output of a program, in chunks as they come: binary, long lines, progress bars, broken UTF-8."""
    scraper = Scraper({name: rng.choice(PATTERNS) for name in ("score", "loss", "n")[: rng.randrange(1, 4)]})
    parts = (
        b"score=0.5\n",
        b"score=nan loss=inf\r\n",
        b"10%|\xe2\x96\x88| 3/7\r",
        rng.randbytes(2000),
        b"\0" * 500,
        b"score=" + b"9" * 5000,
        b"a " * 20_000,
        b"score=" * 20_000,
        b"\xff\xfe\n",
        b"\n" * 5000,
        b"\r" * 99,
        b"score=1e999\n",
        b"score=1_0\n",
        "score=٣\n".encode(),
        b"\x1b[2Kscore=1\r",
        b"x" * 3_000_000,
        b",",
    )
    weights = [8] * len(parts)
    weights[parts.index(b"x" * 3_000_000)] = 1
    data = b"".join(rng.choices(parts, weights, k=rng.randrange(1, 12)))
    if rng.random() < 0.3:
        data = damaged(rng, data)
    lines = Lines()
    size = rng.choice([len(data) or 1, 1 << 16, 1000])
    for start in range(0, len(data), size):
        for line in lines.feed(data[start : start + size]):
            _scraped(scraper, line)
    for line in lines.finish():
        _scraped(scraper, line)
    scraper.finish()


def _scraped(scraper: Scraper, line: str) -> None:
    for report in scraper.feed(line):
        if not all(type(v) is float for v in report.values()):
            raise CrashError(f"no numbers: {report}")


TARGETS: Mapping[str, Callable[[Random], None]] = {
    "run files": run_files,
    "spaces": spaces,
    "reports": reports,
    "journals": journals,
    "streams": streams,
}


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--target", choices=TARGETS)
    parser.add_argument("--seed", type=int, help="begin here; default: behind the seeds of --out, else 0")
    parser.add_argument("--inputs", type=int, help="so many of each target, instead of --minutes")
    arguments = parser.parse_args()
    known: dict[str, Any] = {}
    if arguments.out and arguments.out.exists():
        known = json.loads(arguments.out.read_text())["targets"]
    chosen = [arguments.target] if arguments.target else list(TARGETS)
    seconds = 60 * arguments.minutes / len(chosen)
    crashes: set[str] = set()
    for target in chosen:
        count = known.setdefault(target, {"inputs": 0, "taken": 0, "refused": 0, "crashes": 0})
        first = count["inputs"] if arguments.seed is None else arguments.seed
        deadline, tried = time.monotonic() + seconds, 0
        while tried < arguments.inputs if arguments.inputs else time.monotonic() < deadline:
            seed = first + tried
            tried += 1
            count["inputs"] += 1
            try:
                count["taken" if attempt(target, Random(f"{target} {seed}")) else "refused"] += 1
            except CrashError as crash:
                count["crashes"] += 1
                lines = str(crash).strip().splitlines()
                place = next((line for line in reversed(lines) if "raytune_gp" in line), lines[-1])
                if place not in crashes:
                    crashes.add(place)
                    shown = "\n".join(lines[-SHOWN:])
                    print(f"--- {target}, seed {seed}\n{shown}", flush=True)
        print(f"{target}: {count}", flush=True)
    total = {name: sum(count[name] for count in known.values()) for name in ("inputs", "crashes")}
    command = (
        f"python -m benchmarks.fuzz --minutes {arguments.minutes:g} --out F, once or again: counts add up"
    )
    write({"command": command, **total, "targets": known}, arguments.out)


if __name__ == "__main__":
    main()
