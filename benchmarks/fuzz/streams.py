"""What programs print, and the patterns that find metrics in it."""

from __future__ import annotations

from random import Random

from benchmarks.fuzz.attempts import CrashError
from benchmarks.fuzz.odd import damaged
from raytune_gp.trainable.program import Lines
from raytune_gp.trainable.scraper import Scraper

__all__ = ["streams"]

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
