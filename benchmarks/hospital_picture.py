"""Draws what `make hospitals` left: a lane for each site, and the loss beside that of the undisturbed run.

python benchmarks/hospital_picture.py runs/hospitals-TIME docs/hospitals.png
"""

import json
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch

from sim.plots.style import styled

STATES = {
    "training": "#7fb2dd",
    "training, cut off": "#f4c95d",
    "standing still": "#e8e8e8",
    "dead": "#3b3b3b",
    "starting again": "#b9a5d6",
    "lies": "#d1495b",
    "finished": "#a8d5a2",
}
"""What a site does: its color."""

STILL_S = 2.5
"""A site that took no step for so long stands still."""

SMOOTH_S = 2.0
"""Losses are averaged over so many seconds around each."""

Span = tuple[float, float, str]


class Lane:
    """What one site left. times: seconds since training began."""

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        self.name = folder.name
        began = facts["began"]
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        self.time = np.array([line["time"] - began for line in lines])
        self.step = np.array([line["step"] for line in lines])
        self.exchanges = np.array([line["exchanges"] for line in lines])
        self.loss = np.array([np.nan if line["loss"] is None else line["loss"] for line in lines])
        self.events = {what: when - began for when, site, what in facts["events"] if site == self.name}
        model = folder / "consensus.safetensors"
        self.model_s = model.stat().st_mtime - began if model.exists() else None
        self.ended = facts["ended"] - began

    def spans(self) -> Iterator[Span]:
        """(from, to, state), later ones over earlier ones."""
        moves = np.concatenate([self.time[:1], self.time[1:][np.diff(self.step) != 0]])
        for a, b in pairwise(moves):
            yield a, b, "training" if b - a < STILL_S else "standing still"
        at = self.events.get
        if "cut off" in self.events:
            yield at("cut off"), at("connected again"), "training, cut off"
        if "killed" in self.events:
            back = next((t for t in moves if t > at("started again")), self.ended)
            yield at("killed"), at("started again"), "dead"
            yield at("started again"), back, "starting again"
        if self.model_s is not None:
            yield moves[-1], self.model_s, "finished"
        if "compromised" in self.events:
            yield at("compromised"), self.ended, "lies"

    @property
    def exchanged(self) -> np.ndarray:
        """When exchanges were completed."""
        return self.time[1:][np.diff(self.exchanges) > 0]


def loss_of(lanes: list[Lane], times: np.ndarray) -> np.ndarray:
    """The median of these sites' losses around each time."""
    found = []
    for at in times:
        near = [lane.loss[np.abs(lane.time - at) < SMOOTH_S] for lane in lanes]
        means = [np.nanmean(values) for values in near if np.isfinite(values).any()]
        found.append(np.median(means) if means else np.nan)
    return np.array(found)


def draw(folder: Path, out: Path) -> None:
    """The disturbed run of this folder, with the loss of the undisturbed one."""
    facts = {name: json.loads((folder / name / "events.json").read_text()) for name in ("undisturbed", "disturbed")}
    lanes, calm = (
        [Lane(path.parent, facts[name]) for path in sorted((folder / name).glob("*/metrics.jsonl"))]
        for name in ("disturbed", "undisturbed")
    )
    with styled():
        figure, (top, bottom) = plt.subplots(
            2, 1, figsize=(8.2, 4.9), height_ratios=[2.6, 1], sharex=True, layout="constrained"
        )
        for row, lane in enumerate(lanes):
            for start, end, state in lane.spans():
                top.barh(row, end - start, left=start, height=0.66, color=STATES[state], linewidth=0)
            top.vlines(lane.exchanged, row + 0.16, row + 0.31, color="#1f3d5a", linewidth=0.35, alpha=0.55)
            if lane.model_s is not None:
                top.plot(lane.model_s, row, marker="o", color="#2e7d32", markersize=4.5, zorder=4)
                top.annotate("the model", (lane.model_s, row), (6, 0), textcoords="offset points", va="center",
                             color="#2e7d32", fontsize=7)  # fmt: skip
        notes(top, lanes)
        top.set_yticks(range(len(lanes)), [lane.name for lane in lanes], fontsize=8)
        top.invert_yaxis()
        top.tick_params(axis="y", length=0)
        for side in ("left", "bottom"):
            top.spines[side].set_visible(False)
        top.tick_params(axis="x", length=0)
        shown = {state for lane in lanes for *_, state in lane.spans()}
        top.legend(
            handles=[Patch(color=color, label=state) for state, color in STATES.items() if state in shown],
            loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(shown), handlelength=1.0, columnspacing=1.3,
        )  # fmt: skip
        end = max(lane.ended for lane in lanes)
        honest = [lane for lane in lanes if "compromised" not in lane.events]
        for group, color, style, label in (
            (calm, "#9a9a9a", (0, (4, 2)), "the same run undisturbed"),
            (honest, "#1f6fb2", "-", "these sites, without the liar"),
        ):
            times = np.arange(1.0, max(lane.time[lane.step < lane.step.max()].max() for lane in group), 0.5)
            bottom.plot(times, loss_of(group, times), color=color, linestyle=style, label=label)
        bottom.set(xlabel="seconds, of which each stands for six", ylabel="training loss", ylim=(0, 1.6))
        bottom.set_xlim(0, end * 1.09)
        bottom.legend(loc="upper right")
        figure.savefig(out, dpi=150, metadata={"Software": None})
        plt.close(figure)


def notes(axes: Any, lanes: list[Lane]) -> None:
    """In words, on the lanes, what befalls them."""

    def note(row: int, at: float, text: str, color: str = "white") -> None:
        axes.text(at, row, text, color=color, fontsize=7, va="center")

    rates = [np.ptp(lane.step) / max(1e-9, lane.time[np.argmax(lane.step)] - lane.time[0]) for lane in lanes]
    for row, (lane, rate) in enumerate(zip(lanes, rates, strict=True)):
        if rate < np.median(rates) / 5:
            note(row, 1.0, f"{np.median(rates) / rate:.0f} times slower", "#1f3d5a")
        if "killed" in lane.events:
            note(row, lane.events["killed"] + 0.7, "SIGKILL")
        if "compromised" in lane.events:
            note(row, lane.events["compromised"] + 1.0, "compromised: offers poison, claims to be far behind")
        if "cut off" in lane.events:
            note(row, lane.events["cut off"] + 1.0, "the VPN is down", "#6b4e00")


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
