"""Turns measurements into the table."""

from __future__ import annotations

from typing import Any

from session import CHECKS, Measurement, Session

LABELS = {
    "damo": "**damo**",
    "damo_before": "damo, before",
    "torch_sparse_adam": "PyTorch SparseAdam",
    "torch_newest": "PyTorch SparseAdam, newest",
    "tfra": "TFRA dynamic embedding",
    "fbgemm": "FBGEMM, CPU",
    "damo_embedding": "damo-embedding (C++)",
    "damo_embedding_1_1": "damo-embedding 1.1 (C++)",
    "lmdb_numpy": "LMDB and NumPy",
    "plain_array": "array in memory",
    "hash_map": "std::unordered_map",
    "fio": "fio",
}

# What a row of these scenarios is compared with: the first that was measured.
COMPARED_WITH: dict[str, list[tuple[str, str, str]]] = {
    "table": [("table", "damo", "checkpoint")],
    "table-50M": [("table-50M", "damo", "checkpoint")],
    "reference": [("reference", "damo", "checkpoint")],
    "resident-lookup": [("resident-lookup", "damo", "")],
    "disk-uniform": [("disk-uniform", "damo", "lookup")],
    "disk-zipf": [("disk-zipf", "damo", "process, cache 1/10")],
}


def optimizer_of(measurement: Measurement) -> str:
    return measurement.task.get("options", {}).get("optimizer", "adam")


def main_phase(result: dict[str, Any]) -> dict[str, Any]:
    for phase in ("following", "lookup", "apply", "build"):
        if result.get(phase, {}).get("steps"):
            return result[phase]
    if "fio" in result:
        return {"rows_per_second": result["fio"]["reads_per_second"]}
    return {}


def number(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:,.{digits}f}".replace(",", " ")


def megabytes(value: float | None) -> str:
    return "" if not value else number(value / 1e6, 0)


def verdict(result: dict[str, Any]) -> str:
    checks = [result[name] for name in CHECKS if name in result]
    if not checks:
        return ""
    return "ok" if all(check["passed"] for check in checks) else "**FAILED**"


def ratio(session: Session, measurement: Measurement) -> str:
    """damo's rate divided by this one's, with the same optimizer."""
    optimizer = optimizer_of(measurement)
    for scenario, system, variant in COMPARED_WITH.get(measurement.scenario, []):
        variant += f", {optimizer}" if optimizer != "adam" else ""
        damo = session.find(scenario, system, variant)
        if damo is None or damo is measurement:
            return ""
        ours, theirs = (main_phase(m.result).get("rows_per_second") for m in (damo, measurement))
        return f"{ours / theirs:.2f}" if ours and theirs else ""
    return ""


HEADER = (
    "scenario",
    "system",
    "variant",
    "first pass, steps/s",
    "then steps/s",
    "M rows/s",
    "damo ÷ this",
    "longest call, ms",
    "p99 call, ms",
    "peak RSS, MB",
    "of it the system, MB",
    "on disk, MB",
    "self-check",
    "other work, cores",
)


def table(session: Session) -> str:
    rows = []
    for m in session.measurements:
        label = LABELS.get(m.system, m.system)
        if not m.ok:
            rows.append(
                (m.scenario, label, m.variant, f"absent: {m.absent}", *[""] * (len(HEADER) - 4))
            )
            continue
        phase = main_phase(m.result)
        trains = m.result.get("following") is not None
        peak = m.result.get("peak_rss_bytes")
        rows.append(
            (
                m.scenario,
                label,
                m.variant,
                number(m.result.get("first_pass", {}).get("steps_per_second"), 2),
                number(phase.get("steps_per_second"), 2) if trains else "",
                number(phase["rows_per_second"] / 1e6, 3) if phase else "",
                ratio(session, m),
                number(phase.get("longest_call_ms")),
                number(phase.get("p99_call_ms")),
                megabytes(peak),
                megabytes(peak - m.result["rss_before_bytes"] if peak else None),
                megabytes(m.result.get("disk_bytes")),
                verdict(m.result),
                number(m.result.get("other_work_cores"), 2),
            )
        )
    return markdown(HEADER, rows)


def markdown(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def remarks(session: Session) -> list[str]:
    """What has to be known to read the table."""
    found = []
    busy = [m for m in session.measurements if m.ok and m.result.get("other_work_cores", 0) > 0.2]
    if busy:
        found.append(
            f"**The machine was not idle: {len(busy)} of {len(session.measurements)} measurements"
            " shared it with more than 0.2 cores of other work (last column). Their figures are"
            " too low, PyTorch's most of all.**"
        )
    for m in session.measurements:
        if m.ok and "page_cache_dropped" in m.result:
            read = m.result["lookup"]["read_bytes"]
            rows = m.result["lookup"]["steps"] * m.task["batch"]
            found.append(
                f"{m.scenario}: the page cache was"
                f" {'' if m.result['page_cache_dropped'] else 'NOT '}dropped before opening; the"
                f" disk delivered {read / rows:,.0f} bytes a row"
                if read is not None
                else f"{m.scenario}: what the disk delivered is unknown"
            )
    if any(m.task.get("mixed") for m in session.measurements):
        found.append("ids are spread over int64, but for PyTorch and other arrays: 0..n-1")
    else:
        found.append("ids are 0..n-1 for every system")
    return found


# The floats of a row for each of its weights, and those it has besides.
FLOATS = {"adam": (3, 0), "adagrad": (2, 0), "rowwise_adagrad": (1, 1)}


def row_memory(session: Session) -> str:
    """What a row of damo takes in memory beside its floats, in full tables at rest."""
    rows = []
    for m in session.measurements:
        filled = m.result.get("filled")
        if not m.ok or m.system != "damo" or not filled:
            continue
        a_weight, besides = FLOATS[optimizer_of(m)]
        floats = 4 * (a_weight * m.task["dim"] + besides)
        everything = filled["rss_bytes"] / filled["rows"] - floats
        counted = filled["bytes_in_memory"] / filled["rows_in_memory"] - floats
        cells = (number(filled["rows"], 0), str(floats), f"{everything:.1f}", f"{counted:.1f}")
        rows.append((m.scenario, m.variant, *cells))
    header = (
        "scenario",
        "damo",
        "rows",
        "bytes of floats a row",
        "beside them, resident",
        "beside them, of bytes_in_memory",
    )
    return markdown(header, rows) if rows else ""
