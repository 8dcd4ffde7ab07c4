"""Plots of kept figures: python -m benchmarks.plots FILE FOLDER [--as svg] draws a JSON file of `make bench`.

Owns what is drawn of which figure, and how it looks. Each plot is drawn where there is something for it: the share of
each ceiling, CPU a message by part, the latency of each step, memory, and a soak's minutes.
"""

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, GRID = "#1f2933", "#667085", "#e4e7ec"
OURS = "#2563eb"
COLORS = {
    "API": "#2563eb", "worker": "#7c3aed", "PostgreSQL": "#0d9488", "bearerbox": "#ea580c", "smsbox": "#f59e0b",
    "supervisor": "#94a3b8", "identity": "#64748b", "api": "#2563eb",
}  # fmt: skip
MORE_COLORS = ("#0ea5e9", "#db2777", "#84cc16", "#475569")
DOTS_AN_INCH = 160
MEMORY = {"rss_mib": "resident", "pss_mib": "proportional"}
SHARES = {"p50_ms": "p50", "p90_ms": "p90", "p99_ms": "p99", "p999_ms": "p99.9"}
NUMBERED = ("p50_ms", "p99_ms")
STYLE = {
    "font.size": 10, "axes.edgecolor": GRID, "axes.labelcolor": MUTED, "text.color": INK, "xtick.color": MUTED,
    "ytick.color": INK, "axes.titlesize": 12, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": GRID, "axes.axisbelow": True,
    "legend.frameon": False, "svg.fonttype": "none", "svg.hashsalt": "ghasi", "figure.facecolor": "white",
    "font.family": "sans-serif", "font.sans-serif": ["Inter", "Helvetica", "Arial", "DejaVu Sans"],
}  # fmt: skip


def draw(file: Path, folder: Path, kinds: Iterable[str] = ("png", "svg"), prefix: str = "") -> list[Path]:
    """Draw what a file of figures has to a folder; return the plots' files, named after what they show."""
    figures = json.loads(file.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with plt.rc_context(STYLE):
        for name, plotted in plots_of(figures):
            for kind in kinds:
                written.append(folder / f"{prefix}{name}.{kind}")
                # without a date, so that the same figures are the same file
                metadata = {"Date": None} if kind == "svg" else {}
                plotted.savefig(written[-1], dpi=DOTS_AN_INCH, bbox_inches="tight", pad_inches=0.2, metadata=metadata)
            plt.close(plotted)
    return written


def plots_of(figures: Mapping[str, Any]) -> Iterable[tuple[str, Figure]]:
    """Give the plots that these figures have something for."""
    comparisons = figures.get("comparisons", {})
    where = f"{figures['at'][:10]}, {figures['cores']} cores, Python {figures['python']}"
    bars = [
        (
            name if ratio["what"] == name else f"{name}: {ratio['what']}",
            ratio["ceiling"].partition(",")[0],
            ratio["ratio"],
        )
        for name, result in comparisons.items()
        for ratio in result["ratios"]
    ]
    if bars:
        yield "ceilings", ratios(bars, where)
    rows = [
        (contender, one["cpu_us"])
        for name in ("peers", "cycle") for contender, one in comparisons.get(name, {}).get("medians", {}).items()
    ]  # fmt: skip
    if rows:
        yield "cpu", stacked(rows, "CPU a message, by part", "microseconds", where)
    for one in comparisons.get("cycle", {}).get("medians", {}).values():
        if "rate" in one:
            rate = f"{one['rate']:,.0f} messages a second"
            yield "latency", latencies(one["steps"], f"Latency at {rate}", where)
            held = [(words, {part: kept[name] for part, kept in one["memory"].items() if part != "all"})
                    for name, words in MEMORY.items()]  # fmt: skip
            yield "memory", stacked(held, f"Memory at {rate}, without PostgreSQL's", "MiB", where)
    if "minutes" in figures:
        yield "soak", minutes(figures["minutes"], where)


def _opened(rows: int, title: str, where: str) -> tuple[Figure, Axes]:
    figure, axes = plt.subplots(figsize=(8, 0.6 + 0.5 * rows))
    axes.set_title(title, pad=24)
    axes.annotate(where, (0, 1), (0, 8), "axes fraction", textcoords="offset points", color=MUTED, fontsize=9)
    axes.tick_params(length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_ylim(-0.6, rows - 0.4)
    return figure, axes


def _legend(axes: Axes, parts: list[str]) -> None:
    handles, labels = axes.get_legend_handles_labels()
    ordered = sorted(zip(labels, handles, strict=True), key=lambda one: parts.index(one[0]))
    # in inches below the axes, however high those are
    below = 0.62 / axes.get_window_extent().transformed(axes.figure.dpi_scale_trans.inverted()).height
    axes.legend(
        [handle for _, handle in ordered], [label for label, _ in ordered], ncols=len(parts), fontsize=9,
        loc="upper left", bbox_to_anchor=(0, -below), handlelength=1, columnspacing=1.4, borderpad=0, borderaxespad=0,
    )  # fmt: skip


def ratios(bars: list[tuple[str, str, float]], where: str) -> Figure:
    """Draw ratios to ceilings as horizontal bars, the first on top."""
    figure, axes = _opened(len(bars), "Share of the ceiling that is reached", where)
    names, ceilings, values = zip(*reversed(bars), strict=True)
    axes.axvline(1, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=0.5)
    axes.barh(range(len(bars)), values, color=OURS, height=0.55)
    axes.set_yticks(range(len(bars)), names, fontsize=10)
    axes.set_xlim(0, max(1.0, *values) * 1.25)
    for at, (value, ceiling) in enumerate(zip(values, ceilings, strict=True)):
        told = axes.annotate(f"{value:.2f}", (value, at), (6, 0), textcoords="offset points", va="center", fontsize=10)
        axes.annotate(f"of {ceiling}", (1, 0.5), (5, 0), told, textcoords="offset points", va="center", fontsize=9,
                      color=MUTED)  # fmt: skip
    return figure


def stacked(rows: list[tuple[str, Mapping[str, float]]], title: str, unit: str, where: str) -> Figure:
    """Draw what parts add up to as stacked horizontal bars, the first row on top."""
    figure, axes = _opened(len(rows), title, where)
    parts = list({part: None for _, row in rows for part in row})
    more = iter(MORE_COLORS * len(parts))
    colors = {part: COLORS[part] if part in COLORS else next(more) for part in parts}
    most = max(sum(row.values()) for _, row in rows)
    for at, (_, row) in enumerate(reversed(rows)):
        left = 0.0
        for part, value in row.items():
            label = part if part not in axes.get_legend_handles_labels()[1] else None
            axes.barh(at, value, 0.55, left, color=colors[part], edgecolor="white", linewidth=1, label=label)
            if value > most * 0.05:
                axes.text(left + value / 2, at, f"{value:,.0f}", color="white", ha="center", va="center", fontsize=9)
            left += value
        axes.text(left + most * 0.012, at, f"{left:,.0f}", va="center", fontsize=10, fontweight="bold")
    axes.set_yticks(range(len(rows)), [name for name, _ in reversed(rows)])
    axes.set_xlim(0, most * 1.1)
    axes.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
    axes.set_xlabel(unit)
    _legend(axes, parts)
    return figure


def latencies(steps: Mapping[str, Mapping[str, float]], title: str, where: str) -> Figure:
    """Draw percentiles of each step as a line of dots, on a log scale."""
    figure, axes = _opened(len(steps), title, where)
    figure.set_figheight(1.0 + 0.65 * len(steps))
    shades = ("#93c5fd", "#60a5fa", "#2563eb", "#1e3a8a")
    for at, step in enumerate(reversed(steps.values())):
        values = [step[share] for share in SHARES]
        axes.plot(values, [at] * len(values), color=GRID, linewidth=5, solid_capstyle="round", zorder=1)
        for value, (share, name), shade in zip(values, SHARES.items(), shades, strict=True):
            axes.scatter(value, at, s=70, color=shade, zorder=2, label=name if at == 0 else None)
            if share in NUMBERED:
                axes.annotate(f"{value:.3g}", (value, at), (0, 8), textcoords="offset points", ha="center", fontsize=9)
    axes.set_xscale("log")
    axes.tick_params(which="minor", length=0)
    axes.grid(visible=True, which="minor", axis="x", linewidth=0.4)
    low, high = (edge(step[share] for step in steps.values()) for edge, share in ((min, "p50_ms"), (max, "p999_ms")))
    axes.set_xlim(low / 1.6, high * 1.6)
    # 1, 2, 5, 10, 20 ...: a power of ten alone is too few
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5), numticks=20))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    axes.set_yticks(range(len(steps)), list(reversed(steps)))
    axes.set_xlabel("milliseconds (log scale)")
    _legend(axes, list(SHARES.values()))
    return figure


def minutes(rows: list[Mapping[str, Any]], where: str) -> Figure:
    """Draw what a soak saw each minute, one panel a figure."""
    panels = {
        "Memory of all our processes, MiB": [("rss_mib", "resident")],
        "p99, ms": [("post_p99_ms", "POST answered"), ("webhook_p99_ms", "receipt to webhook")],
        "Queue tables and their indexes, MiB": [("queues_mib", "queues")],
        "Dead tuples in tables that change all the time": [("dead_tuples", "dead")],
        "Oldest due row, s": [("queue_age_s", "queue age")],
        "Cycles a second": [("per_s", "webhooks")],
    }
    figure, all_axes = plt.subplots(len(panels), 1, figsize=(8, 1.75 * len(panels)), sharex=True)
    figure.suptitle("Steady load, minute by minute", x=0.01, ha="left", fontsize=12, fontweight="bold")
    at = [row["minute"] for row in rows]
    for axes, (title, lines) in zip(all_axes, panels.items(), strict=True):
        for (name, label), color in zip(lines, (OURS, "#ea580c"), strict=False):
            axes.plot(
                at, [row[name] for row in rows], color=color, marker="o", markersize=3.5, label=label, clip_on=False
            )
        axes.set_title(title, fontsize=10, fontweight="normal", color=INK)
        axes.set_ylim(bottom=0, top=max(1.0, *(row[name] for row in rows for name, _ in lines)) * 1.2)
        axes.tick_params(length=0)
        if len(lines) > 1:
            axes.legend(ncols=2, fontsize=9, loc="lower right", bbox_to_anchor=(1, 0.98), borderpad=0)
    all_axes[-1].set_xlabel(f"minute ({where})")
    all_axes[-1].xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    figure.tight_layout(rect=(0, 0, 1, 0.985))
    return figure


def main() -> None:
    """Draw one file."""
    parser = argparse.ArgumentParser(prog="benchmarks.plots", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--as", dest="kinds", choices=("png", "svg"), action="append")
    arguments = parser.parse_args()
    for written in draw(arguments.file, arguments.folder, arguments.kinds or ("png", "svg")):
        print(written)


if __name__ == "__main__":
    main()
