"""The aims of tables larger than memory, beside what was measured: beyond_memory.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import beyond
import beyond_calls
import beyond_files
from beyond_memory import (
    BUILD,
    CALL_SIZES,
    CALLS,
    COLD,
    FILES,
    HUNDRED_MILLION,
    IN_MEMORY,
    NAMES,
    NEW,
    UNIFORM,
    ZIPF,
    millions,
)
from beyond_tables import BEYOND_MEMORY, beyond_a_step_in_memory
from session import Measurement, Session
from turns import median, quotient

# The disk must have delivered so much for each miss, or else the page cache was not cold.
COLD_READ = 2048
# Measure, aim, measured, met.
Line = tuple[str, str, str, bool | None]


def aims(session: Session) -> Iterator[Line]:
    for m in session.measurements:
        if m.ok and m.system == "damo" and m.scenario in NAMES and "rounds" in m.result:
            for line in AIMS[m.scenario](session, m):
                yield (f"{TITLES_OF_AIMS[m.scenario]}, {m.variant}{line[0]}", *line[1:])


def at_most(m: Measurement, figure: str, most: float, told: str = "") -> Iterator[Line]:
    value = median(m, figure)
    if value is not None:
        yield f": {told or figure}", f"<= {most:g}", f"{value:.2f}", value <= most


def at_least(value: float | None, least: float, told: str, unit: str = "") -> Iterator[Line]:
    if value is not None:
        yield f": {told}", f">= {least:g}{unit}", f"{value:.2f}{unit}", value >= least


def beside(session: Session, m: Measurement) -> Iterator[Line]:
    """Its rate beside that of the library before."""
    before = session.find(m.scenario, "damo_before", m.variant)
    if before is not None:
        found = quotient(m, before, beyond.RATE)
        yield from at_least(found, 3.5, "steps/s of those before", " x")


def of_zipf(session: Session, m: Measurement) -> Iterator[Line]:
    if m.task["series"] == IN_MEMORY:
        return
    miss = beyond_a_step_in_memory(session, m)
    if miss is not None:
        yield f": {BEYOND_MEMORY}", "<= 2.2", f"{miss:.2f}", miss <= 2.2
    yield from beside(session, m)
    if m.task["rows"] == HUNDRED_MILLION:
        rate = median(m, beyond.RATE)
        if m.result["cores"] == 2:
            yield from at_least(rate, 7, beyond.RATE)
        title = m.variant.replace(millions(HUNDRED_MILLION), millions(10_000_000))
        small = session.find(ZIPF, "damo", title)
        if small is not None:
            yield from at_least(rate / median(small, beyond.RATE), 0.5, "of the rate at 10 M rows")
    extra = median(m, beyond.BESIDE_CACHE)
    yield f": {beyond.BESIDE_CACHE}, anonymous", "28 to 102", f"{extra:.0f}", extra <= 102


def of_disk(session: Session, m: Measurement) -> float | None:
    """Misses a second as a share of fio's reads, in percent."""
    fio = session.find(COLD, "fio", f"{millions(m.task['rows'])}, best depth")
    misses, rate = median(m, beyond.MISSES), median(m, beyond.RATE)
    if fio is None or misses is None:
        return None
    return 100 * misses * rate / fio.result["fio"]["reads_per_second"]


def of_cold(session: Session, m: Measurement, least: float = 90) -> Iterator[Line]:
    share, read = of_disk(session, m), median(m, beyond.READ)
    if share is None or read is None:
        return
    told = f">= {least:g} %"
    if read < COLD_READ:
        yield ": misses, of fio's reads", told, f"not cold: {read:.0f} bytes read a miss", None
    else:
        yield ": misses, of fio's reads", told, f"{share:.2f} %", share >= least


def of_uniform(session: Session, m: Measurement) -> Iterator[Line]:
    if m.task["page_cache"] == "cold":
        yield from of_cold(session, m, 95)
    elif m.result["cores"] >= 16:
        yield from at_least(median(m, beyond.KEYS_RATE) / 1e6, 8, "M keys/s")


def of_build(session: Session, m: Measurement) -> Iterator[Line]:
    if m.task["rows"] == HUNDRED_MILLION:
        yield from at_most(m, beyond.A_ROW, 4)
        title = m.variant.replace(millions(HUNDRED_MILLION), millions(10_000_000))
        small = session.find(BUILD, "damo", title)
        if small is not None:
            ratio = median(m, beyond.A_ROW) / median(small, beyond.A_ROW)
            yield ": that of 10 M rows", "<= 1.5 x", f"{ratio:.2f} x", ratio <= 1.5
    if m.result["cores"] >= 16:
        yield from at_least(median(m, beyond.ROWS_RATE) / 1e6, 3, "M rows/s")


def of_calls(_: Session, m: Measurement) -> Iterator[Line]:
    for size, most in zip(CALL_SIZES, (0.8, 0.7, 0.6, 0.5)):
        yield from at_most(m, beyond_calls.figure("lookup", size, "us"), most)


def of_files(_: Session, m: Measurement) -> Iterator[Line]:
    for format in beyond_files.FORMATS:
        name = beyond_files.dumped(format)
        yield from at_least(median(m, name), 600, name)
    yield from at_most(m, beyond_files.CHECKPOINT, 0.7)
    yield from at_most(m, beyond_files.COMPACT, 16)
    if m.task.get("close_only"):
        yield from at_most(m, beyond_files.CLOSE, 2.5)


AIMS: dict[str, Callable[[Session, Measurement], Iterator[Line]]] = {
    BUILD: of_build,
    ZIPF: of_zipf,
    COLD: of_cold,
    UNIFORM: of_uniform,
    NEW: lambda _, m: at_most(m, beyond.A_KEY, 0.1),
    CALLS: of_calls,
    FILES: of_files,
}
TITLES_OF_AIMS = {
    BUILD: "build",
    ZIPF: "Zipf keys",
    COLD: "Zipf keys, cold",
    UNIFORM: "uniform keys",
    NEW: "new keys",
    CALLS: "calls",
    FILES: "files",
}
