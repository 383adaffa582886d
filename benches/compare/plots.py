"""The plots: side by side, over time, small calls, and growth."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import small_calls
from report import LABELS, main_phase
from session import Measurement, Session


def label(measurement: Measurement) -> str:
    name = LABELS.get(measurement.system, measurement.system).strip("*")
    return f"{name}\n{measurement.variant}" if measurement.variant else name


def color(measurement: Measurement) -> str:
    return "tab:blue" if measurement.system == "damo" else "tab:gray"


def bars(
    axis: plt.Axes, measurements: list[Measurement], title: str, field: str, unit: float, name: str
) -> None:
    values = [main_phase(m.result).get(field, 0) / unit for m in measurements]
    places = range(len(measurements))
    drawn = axis.barh(places, values, color=[color(m) for m in measurements])
    axis.bar_label(drawn, labels=[f"{value:.3g}" for value in values], padding=3)
    axis.set_yticks(places, [label(m) for m in measurements], fontsize=8)
    axis.invert_yaxis()
    axis.set_xlim(0, 1.15 * max([*values, 1e-9]))
    axis.set_xlabel(name)
    axis.set_title(title)


def compared(session: Session, path: Path) -> bool:
    """Rates side by side, and the sustained run over time. False if nothing of it was measured."""
    wanted = [
        ("table", "Full table in memory, fresh batches", "steps_per_second", 1, "steps/s"),
        ("table-50M", "The same with 50 M rows", "steps_per_second", 1, "steps/s"),
        ("reference", "Reference workload", "steps_per_second", 1, "steps/s"),
        ("resident-lookup", "Lookup, 1 M resident rows", "rows_per_second", 1e6, "million rows/s"),
        ("resident-adam", "Adam, 1 M resident rows", "rows_per_second", 1e6, "million rows/s"),
        (
            "disk-uniform",
            "Table 10 x the cache, uniform keys",
            "rows_per_second",
            1e3,
            "thousand rows (reads) / s",
        ),
        ("disk-zipf", "Table 10 x the cache, Zipf keys", "steps_per_second", 1, "steps/s"),
    ]
    found = {
        name: [m for m in session.measurements if m.ok and m.scenario == name]
        for name, *_ in wanted
    }
    over_time = [
        m
        for m in session.measurements
        if m.ok
        and m.scenario == "sustained"
        and m.result["following"]["steps_per_second_over_time"]
    ]
    shown = [(found[name], *rest) for name, *rest in wanted if found[name]]
    count = len(shown) + bool(over_time)
    if not count:
        return False
    columns = min(2, count)
    figure, axes = plt.subplots(
        (count + 1) // columns,
        columns,
        squeeze=False,
        figsize=(7.5 * columns, 4.2 * ((count + 1) // columns)),
    )
    flat = list(axes.flat)
    for axis, (measurements, title, field, unit, name) in zip(flat, shown):
        bars(axis, measurements, title, field, unit, name)
    if over_time:
        axis = flat[len(shown)]
        for m in over_time:
            rates = m.result["following"]["steps_per_second_over_time"]
            seconds = m.result["following"]["seconds"]
            axis.plot(
                [seconds * (i + 0.5) / len(rates) for i in range(len(rates))],
                rates,
                label=f"damo, {m.variant}",
            )
        axis.set(title="Reference workload, sustained", xlabel="seconds", ylabel="steps/s")
        axis.set_ylim(bottom=0)
        axis.legend()
    for axis in flat[count:]:
        axis.set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return True


def calls(session: Session, path: Path) -> bool:
    """Microseconds a sample over its keys, and what 2 and 4 threads gain."""
    shown = small_calls.measured(session)
    if not shown:
        return False
    figure, axes = plt.subplots(len(shown), 2, squeeze=False, figsize=(14, 4.6 * len(shown)))
    for (title, measurements), (times, gains) in zip(shown, axes):
        for m in measurements:
            points = [p for p in m.result["calls"] if p["work"] == "both"]
            keys = [p["keys"] for p in points]
            drawn = times.plot(
                keys, [p["us"]["1"] for p in points], "o-", label=small_calls.name_of(m)
            )
            for threads, style in (("2", "o-"), ("4", "s--")):
                gains.plot(
                    keys,
                    [p["speedup"][threads] for p in points],
                    style,
                    color=drawn[0].get_color(),
                )
        times.set(title=title, ylabel="us a sample (lookup, apply), one thread", yscale="log")
        gains.set(title="o: 2 threads, s: 4 threads", ylabel="samples, one thread = 1")
        gains.set_ylim(bottom=0)
        times.legend()
        for axis in (times, gains):
            axis.set(xscale="log", xlabel="keys a call")
            axis.set_xticks(keys, [str(count) for count in keys], minor=False)
            axis.minorticks_off()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return True


def growth(session: Session, path: Path) -> bool:
    """Rate and memory over the number of rows and over their width."""
    rows = [m for m in session.measurements if m.ok and m.scenario == "growth-rows"]
    dims = [m for m in session.measurements if m.ok and m.scenario == "growth-dim"]
    if not rows and not dims:
        return False
    figure, axes = plt.subplots(1, 2, figsize=(14, 4.6))
    for axis, measurements, x, name in (
        (axes[0], rows, [m.task["ids"] / 1e6 for m in rows], "million rows (dim 16, cache 2 GiB)"),
        (axes[1], dims, [m.task["dim"] for m in dims], "dim (1 M rows)"),
    ):
        if not measurements:
            axis.set_visible(False)
            continue
        axis.plot(
            x,
            [m.result["following"]["steps_per_second"] for m in measurements],
            "o-",
            color="tab:blue",
        )
        axis.set(xscale="log", xlabel=name)
        axis.set_xticks(x, [f"{value:g}" for value in x], minor=False)
        axis.minorticks_off()
        axis.set_ylabel("steps/s, durability process", color="tab:blue")
        axis.set_ylim(bottom=0)
        memory = axis.twinx()
        memory.plot(
            x,
            [m.result["peak_rss_bytes"] / 1e9 for m in measurements],
            "s--",
            color="tab:orange",
            label="peak RSS",
        )
        memory.plot(
            x,
            [m.result["disk_bytes"] / 1e9 for m in measurements],
            "^:",
            color="tab:green",
            label="on disk",
        )
        memory.set_ylabel("GB")
        memory.set_ylim(bottom=0)
        memory.legend(loc="upper left")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return True
