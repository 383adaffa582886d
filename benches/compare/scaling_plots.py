"""The plots of growth: over cores, over callers; and of what layers get of damo's rate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import cores
import many_callers
import torch_layers
from layers import CALLS, share
from session import Session
from turns import median


def over_cores(session: Session, path: Path) -> bool:
    """Steps over cores, and times those of one core. False if nothing of it was measured."""
    found = cores.measured(session)
    if not found:
        return False
    figure, (rates, gains) = plt.subplots(1, 2, figsize=(14, 5.4))
    for (system, variant), series in found.items():
        counts = sorted(series)
        style = "o-" if system == "damo" else "s--"
        steps = [median(series[count], cores.RATE) for count in counts]
        grown = {count: cores.growth(series, count) for count in counts}
        label = with_growth(cores.name_of(system, variant), grown[counts[-1]])
        drawn = rates.plot(counts, steps, style, label=label)
        known = [count for count in counts if grown[count]]
        gains.plot(known, [grown[count] for count in known], style, color=drawn[0].get_color())
    every = sorted({count for series in found.values() for count in series})
    rates.set(title="Reference workload on as many cores", ylabel="steps/s", xlabel="cores")
    gains.set(title="Growth", ylabel="steps, one core = 1", xlabel="cores")
    finish(rates, gains, every, every)
    return save(figure, path)


def over_callers(session: Session, path: Path) -> bool:
    """Rows over callers, and how often those of one caller."""
    found = many_callers.measured(session)
    if not found:
        return False
    counts = many_callers.CALLERS
    figure, axes = plt.subplots(len(found), 2, squeeze=False, figsize=(14, 5 * len(found)))
    for (shared, measurements), (rates, gains) in zip(found.items(), axes):
        for m in measurements:
            style = "o-" if m.system == "damo" else "s--"
            rows = [median(m, many_callers.figure(count)) / 1e6 for count in counts]
            grown = [median(m, many_callers.growth(count)) for count in counts]
            label = with_growth(many_callers.name_of(m), grown[-1])
            drawn = rates.plot(counts, rows, style, label=label)
            gains.plot(counts, grown, style, color=drawn[0].get_color())
        title = f"Callers: {shared}, lookup and adam"
        rates.set(title=title, ylabel="million rows/s", xlabel="callers")
        gains.set(title="Growth", ylabel="rows, one caller = 1", xlabel="callers")
        available = measurements[0].result["cores"]
        finish(rates, gains, counts, [min(count, available) for count in counts])
    return save(figure, path)


def with_growth(name: str, grown: float | None) -> str:
    return f"{name}: {grown:.1f} x" if grown else name


def finish(rates: plt.Axes, gains: plt.Axes, counts: Sequence[int], all_used: list[int]) -> None:
    """Legends and axes; the grey line is where every core adds as much as the first."""
    gains.plot(counts, all_used, ":", color="tab:gray", label="a core's work for each core")
    for axis in (rates, gains):
        axis.set_xscale("log", base=2)
        axis.set_xticks(counts, [str(count) for count in counts], minor=False)
        axis.minorticks_off()
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)


def layers(session: Session, path: Path) -> bool:
    """Bars: the calls, what the layers get of them, and models with a GPU where there was one."""
    found = torch_layers.measured(session, "layers")
    gpu = torch_layers.measured(session, "gpu")
    shown = [(m, torch_layers.TIMED, f"damo.torch.Embedding, {m.variant}") for m in found]
    shown += [(m, torch_layers.ON_GPU, f"damo, {m.variant}") for m in gpu]
    if not shown:
        return False
    figure, axes = plt.subplots(len(shown), 1, squeeze=False, figsize=(12, 3.6 * len(shown)))
    for (m, names, title), axis in zip(shown, axes.flat):
        steps = [median(m, name) for name in names]
        shares = [median(m, share(name, CALLS)) for name in names]
        labels = [
            f"{rate:.1f}" + (f" ({part:.2f} of the two calls)" if part else "")
            for rate, part in zip(steps, shares)
        ]
        colors = ["tab:blue" if "layer" in name or "damo" in name else "tab:gray" for name in names]
        drawn = axis.barh(range(len(names)), steps, color=colors)
        axis.bar_label(drawn, labels=labels, padding=3)
        axis.set_yticks(range(len(names)), names, fontsize=8)
        axis.invert_yaxis()
        axis.set(title=title, xlabel="steps/s", xlim=(0, 1.35 * max(steps)))
    return save(figure, path)


def save(figure: plt.Figure, path: Path) -> bool:
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return True
