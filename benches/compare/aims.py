"""The aims beside what was measured."""

from __future__ import annotations

import beyond_aims
from report import LABELS, main_phase, markdown
from session import Measurement, Session


def aims(session: Session) -> str:
    """The issue's aims beside what was measured; only those whose scenario ran."""
    rows: list[tuple[str, ...]] = []

    def rate(m: Measurement | None, name: str) -> float | None:
        return main_phase(m.result).get(name) if m else None

    def line(measure: str, aim: str, value: str, met: bool | None) -> None:
        rows.append((measure, aim, value, "" if met is None else "yes" if met else "no"))

    for durability in ("checkpoint", "process"):
        ours = rate(session.find("table", "damo", durability), "steps_per_second")
        peer = rate(session.find("table", "torch_newest"), "steps_per_second")
        factor = 3.5 if durability == "checkpoint" else 3.0
        if ours and peer:
            line(
                f"full table, fresh batches, {durability}, against {LABELS['torch_newest']}",
                f">= {factor:g} x",
                f"{ours / peer:.2f} x",
                ours / peer >= factor,
            )
    for durability in ("checkpoint", "process"):
        for optimizer in ("rowwise_adagrad", "adagrad"):
            variant = f"{durability}, {optimizer}"
            ours = rate(session.find("table", "damo", variant), "steps_per_second")
            peer = rate(session.find("table", "fbgemm", optimizer), "steps_per_second")
            if ours and peer:
                of = f"full table, fresh batches, {variant}, against {LABELS['fbgemm']}"
                line(of, "", f"{ours / peer:.2f} x", None)
    large = rate(session.find("table-50M", "damo", "checkpoint"), "steps_per_second")
    small = rate(session.find("table", "damo", "checkpoint"), "steps_per_second")
    if large and small:
        share = large / small
        line("50 M rows against 6 M, in memory", ">= 0.85", f"{share:.2f}", share >= 0.85)
    reference = rate(session.find("reference", "damo", "checkpoint"), "steps_per_second")
    if reference:
        line("reference workload, checkpoint", ">= 40 steps/s", f"{reference:.1f}", reference >= 40)
        for system, factor in (
            ("torch_sparse_adam", 2),
            ("damo_embedding", None),
            ("damo_embedding_1_1", None),
            ("tfra", None),
            ("lmdb_numpy", None),
        ):
            peer = rate(session.find("reference", system), "steps_per_second")
            if peer:
                line(
                    f"... against {LABELS[system]}",
                    f">= {factor} x" if factor else "",
                    f"{reference / peer:.2f} x",
                    reference / peer >= factor if factor else None,
                )
    process = session.find("sustained", "damo", "process")
    if process:
        following = process.result["following"]
        steps, longest = following["steps_per_second"], following["longest_call_ms"]
        line(
            "reference workload, process",
            ">= 25 steps/s over 120 s",
            f"{steps:.1f} over {following['seconds']:.0f} s",
            steps >= 25 and following["seconds"] >= 119,
        )
        line("... longest call", "< 250 ms", f"{longest:.0f} ms", longest < 250)
    lookups = rate(session.find("resident-lookup", "damo"), "rows_per_second")
    if lookups:
        line("lookup of resident rows", ">= 6 M rows/s", f"{lookups / 1e6:.2f}", lookups >= 6e6)
    for durability, aim in (("checkpoint", 5e6), ("process", 3e6)):
        for duplicates in ("sequential", "sum"):
            found = rate(
                session.find("resident-adam", "damo", f"{durability}, {duplicates}"),
                "rows_per_second",
            )
            if found:
                line(
                    f"adam on resident rows, {durability}, {duplicates}",
                    f">= {aim / 1e6:g} M rows/s",
                    f"{found / 1e6:.2f}",
                    found >= aim,
                )
    uniform, fio = session.find("disk-uniform", "damo"), session.find("disk-uniform", "fio")
    if uniform and fio:
        share = rate(uniform, "rows_per_second") / rate(fio, "rows_per_second")
        line(
            "table 10 x the cache, uniform keys",
            ">= 80 % of fio's reads/s",
            f"{100 * share:.0f} %",
            share >= 0.8,
        )
    for durability in ("checkpoint", "process"):
        memory = rate(
            session.find("disk-zipf", "damo", f"{durability}, in memory"), "steps_per_second"
        )
        peer = rate(session.find("disk-zipf", "damo_embedding"), "steps_per_second")
        for suffix in ("", ", prefetch"):
            found = rate(
                session.find("disk-zipf", "damo", f"{durability}, cache 1/10{suffix}"),
                "steps_per_second",
            )
            if found and memory:
                line(
                    f"table 10 x the cache, Zipf keys, {durability}{suffix}",
                    "> half of damo in memory",
                    f"{100 * found / memory:.0f} %",
                    found > memory / 2,
                )
            if found and peer:
                line(
                    f"... {durability}{suffix}, against damo-embedding",
                    ">= 5 x",
                    f"{found / peer:.1f} x",
                    found / peer >= 5,
                )
    for m in session.measurements:
        cache = m.task.get("options", {}).get("cache_bytes")
        if (
            m.ok
            and m.system == "damo"
            and m.task.get("table_bytes")
            and cache
            and cache < m.task["table_bytes"]
        ):
            used = m.result["peak_rss_bytes"] - m.result["rss_before_bytes"]
            line(
                f"memory, {m.scenario} {m.variant}",
                f"cache ({cache / 1e6:.0f} MB) + a constant",
                f"{used / 1e6:.0f} MB, {(used - cache) / 1e6:+.0f} MB",
                None,
            )
    built = session.find("build", "damo")
    if built:
        floats = 4 * 3 * built.task["dim"]
        extra = built.result["disk_bytes"] / built.task["rows"] - floats
        how = (
            "compacted"
            if built.result["compacted"]
            else "flushed; damo_storage_compact not available"
        )
        line(f"bytes on disk a row ({how})", "floats + 32", f"{floats} {extra:+.1f}", extra <= 32)
    for found in beyond_aims.aims(session):
        line(*found)
    return markdown(("measure", "aim", "measured", "met"), rows) if rows else ""
