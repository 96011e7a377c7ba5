"""The figures: one function for each, data frame in, Axes out."""

from __future__ import annotations

import os
from itertools import cycle
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ciphers.errors import InputError
from ciphers.files import atomic_write

#: Okabe and Ito (2008), told apart by readers of any colour vision; the yellow is too pale for
#: lines, and black is kept for text.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))

#: For each format, what would otherwise make two equal figures differ in their bytes.
METADATA: dict[str, dict[str, None]] = {
    ".pdf": {"CreationDate": None},
    ".png": {"Software": None},
    ".svg": {"Date": None},
}
DPI = 160


def new_figure() -> Figure:
    """An empty figure as wide as a column of text."""
    return Figure(figsize=(6.4, 4.2), layout="constrained")


def plot_accuracy(frame: pd.DataFrame, ax: Axes | None = None, *, corpus: str = "") -> Axes:
    """Token accuracy against ciphertext length, a line for each decipherer with its 95 % band.

    Args:
        frame: what `accuracy_curve` gives.
        ax: where to draw; by default a new figure of its own (`ax.figure`).
        corpus: where the texts came from, for the title.
    """
    if ax is None:
        ax = new_figure().add_subplot()
    styles = zip(cycle(COLOURS), cycle(MARKERS), cycle(LINES), strict=False)
    for (decipherer, curve), (colour, marker, line) in zip(
        frame.groupby("decipherer", sort=False), styles, strict=False
    ):
        curve = curve.sort_values("length")
        low, high = curve["token_accuracy_low"], curve["token_accuracy_high"]
        ax.fill_between(curve["length"], low, high, color=colour, alpha=0.18, linewidth=0)
        ax.vlines(curve["length"], low, high, color=colour, alpha=0.4, linewidth=1)
        ax.plot(
            curve["length"],
            curve["token_accuracy"],
            color=colour,
            marker=marker,
            linestyle=line,
            markersize=5,
            label=str(decipherer),
            clip_on=False,  # or the frame would cut through the markers at 0 and 1
            zorder=3,
        )

    lengths = sorted(frame["length"].unique())
    ax.set_xscale("log", base=2)
    ax.set_xticks(lengths, [str(length) for length in lengths])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("ciphertext length (symbols)")
    ax.set_ylim(0, 1)
    ax.set_ylabel("token accuracy (share of symbols right)")
    ax.set_title(
        "Accuracy of decipherment" + (f", {corpus}" if corpus else ""),
        loc="left",
        fontsize="medium",
        fontweight="bold",
        pad=22,
    )
    counts = " to ".join(str(count) for count in sorted({*frame["ciphers"].agg(["min", "max"])}))
    ax.annotate(
        f"mean of {counts} texts a point; band: 95 % confidence interval",
        xy=(0, 1),
        xycoords="axes fraction",
        xytext=(0, 8),
        textcoords="offset points",
        color="0.35",
        fontsize="small",
    )
    ax.grid(color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, handlelength=3.2)
    return ax


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure in the format that the suffix of `path` names; equal figures give equal bytes.

    Raises:
        InputError: the format is none of PNG, SVG and PDF, or the file cannot be written.
    """
    suffix = figure_suffix(path)
    # The salt makes the ids within an SVG file the same each time.
    with (
        atomic_write(path) as temporary,
        matplotlib.rc_context({"svg.hashsalt": "bayesian-decipher"}),
    ):
        figure.savefig(temporary, format=suffix[1:], dpi=DPI, metadata=METADATA[suffix])


def figure_suffix(path: str | os.PathLike[str]) -> str:
    """The suffix of a figure's path, in lower case.

    Raises:
        InputError: it names no format that figures are written in.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in METADATA:
        raise InputError(
            f"cannot write a figure to {str(path)!r}: give a name that ends in "
            + " or ".join(METADATA)
        )
    return suffix
