"""The figures: one function for each, data frame in, Axes out; a Figure where it has several."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, NullLocator
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from ciphers.errors import InputError
from ciphers.files import atomic_write

#: Okabe and Ito (2008), told apart by readers of any colour vision; the yellow is too pale for
#: lines, and black is kept for text.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
#: Of what cannot be passed.
BOUND_LINE = (0, (6, 2))

#: For each format, what would otherwise make two equal figures differ in their bytes.
METADATA: dict[str, dict[str, None]] = {
    ".pdf": {"CreationDate": None},
    ".png": {"Software": None},
    ".svg": {"Date": None},
}
DPI = 160

#: What the paper says of its models (Huang et al. 2023, arXiv 2305.16349, introduction): the
#: perplexity gap at the start of a text and after 512 symbols, as multiples of the standard
#: model's perplexity.
PAPER_GAPS = ((9.0, "quoted from the paper (150M, the Pile): 9x at the start"),
              (1.0, "quoted: under 1x after 512 symbols"))  # fmt: skip


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
    for (decipherer, curve), style in zip(
        frame.groupby("decipherer", sort=False), _styles(), strict=False
    ):
        _plot_curve(ax, curve, "token_accuracy", str(decipherer), style)
    _length_axis(ax, frame["length"])
    ax.set_ylim(0, 1)
    ax.set_ylabel("token accuracy (share of symbols right)")
    _title(
        ax,
        "Accuracy of decipherment" + (f", {corpus}" if corpus else ""),
        f"mean of {_range(frame['ciphers'])} texts a point; band: 95 % confidence interval",
    )
    _finish(ax)
    ax.legend(frameon=False, handlelength=3.2)
    return ax


def plot_regret(
    frame: pd.DataFrame, texts: pd.DataFrame, ax: Axes | None = None, *, corpus: str = ""
) -> Axes:
    """Regret against ciphertext length: single texts, their mean with its 95 % band, and the line
    that none can pass.

    Args:
        frame: what `regret_curve` gives.
        texts: what `measure` gives, for the single texts.
        ax, corpus: see `plot_accuracy`.
    """
    if ax is None:
        ax = new_figure().add_subplot()
    (bound,) = frame["bound"].unique()
    curves = frame.groupby("decipherer", sort=False)
    for (decipherer, curve), style in zip(curves, _styles(), strict=False):
        single = texts[texts["decipherer"] == decipherer]
        ax.scatter(
            _spread(single["length"]),
            single["regret"],
            s=7,
            color=style.colour,
            alpha=0.45,
            linewidth=0,
            label=f"{decipherer}, single texts",
        )
        _plot_curve(ax, curve, "regret", f"{decipherer}, mean", style)
    ax.axhline(bound, color="black", linewidth=1.2, linestyle=(0, (6, 2)), zorder=4)
    ax.annotate(
        f"log$_2$ of the number of keys: {bound:.1f} bits",
        xy=(0, bound),
        xycoords=("axes fraction", "data"),
        xytext=(4, 4),
        textcoords="offset points",
        fontsize="small",
    )
    _length_axis(ax, frame["length"])
    ax.set_ylim(min(0.0, 1.08 * texts["regret"].min()), 1.12 * bound)
    ax.set_ylabel("regret (bits)")
    _title(
        ax,
        "The price of not knowing the key" + (f", {corpus}" if corpus else ""),
        f"{_range(frame['ciphers'])} texts a length; band: 95 % confidence interval of the mean",
    )
    _finish(ax)
    ax.legend(frameon=False, handlelength=3.2, loc="lower right")
    return ax


def plot_reliability(
    bins: pd.DataFrame, errors: pd.DataFrame, figure: Figure | None = None, *, corpus: str = ""
) -> Figure:
    """A reliability diagram for each ciphertext length: the accuracy of tokens against their
    confidence, above the share of the tokens in each bin.

    Args:
        bins: what `reliability` gives, of one decipherer.
        errors: what `calibration_error` gives, of the same.
        figure: where to draw; by default a new one.
        corpus: where the texts came from, for the title.
    """
    lengths = list(dict.fromkeys(bins["length"]))
    columns = min(3, len(lengths))
    rows = -(-len(lengths) // columns)
    if figure is None:
        figure = Figure(figsize=(2.7 * columns + 0.4, 3.1 * rows + 0.7), layout="constrained")
    grid = figure.subplots(
        2 * rows,
        columns,
        squeeze=False,
        sharex=True,
        gridspec_kw={"height_ratios": [3.2, 1] * rows},
    )
    for i, length in enumerate(lengths):
        upper = grid[2 * (i // columns), i % columns]
        lower = grid[2 * (i // columns) + 1, i % columns]
        of_length = bins[bins["length"] == length]
        (error,) = errors[errors["length"] == length].itertuples()
        _plot_diagram(upper, of_length)
        upper.set_title(
            f"{length} symbols\nECE {error.ece:.3f} ({error.ece_low:.3f}\u2013{error.ece_high:.3f})"
            f"\nby chance {error.ece_noise:.3f}",
            loc="left",
            fontsize="small",
        )
        share = of_length["tokens"] / of_length["tokens"].sum()
        lower.bar(
            of_length["low"], share, of_length["high"] - of_length["low"], align="edge",
            color=COLOURS[0], alpha=0.5, edgecolor="white", linewidth=0.8,
        )  # fmt: skip
        lower.set_ylim(0, 1)
        lower.set_yticks([0, 0.5, 1], ["0", "", "1"])
        _finish(lower)
        if i % columns == 0:
            upper.set_ylabel("accuracy (share right)")
            lower.set_ylabel("share of\ntokens", fontsize="small")
        if i + columns >= len(lengths):
            lower.set_xlabel("confidence")
            lower.xaxis.set_tick_params(labelbottom=True)
    for i in range(len(lengths), rows * columns):
        grid[2 * (i // columns), i % columns].set_axis_off()
        grid[2 * (i // columns) + 1, i % columns].set_axis_off()
    _figure_title(
        figure,
        "Is the confidence in a letter right?" + (f" {corpus}" if corpus else ""),
        f"{_range(errors['ciphers'])} texts a length; bars: 95 % confidence interval, over texts",
    )
    return figure


def plot_sbc(histogram: pd.DataFrame, figure: Figure | None = None) -> Figure:
    """The rank histograms of simulation-based calibration: a row for each decipherer, a column for
    each quantity.

    Args:
        histogram: what `sbc_histogram` gives.
        figure: where to draw; by default a new one.
    """
    decipherers = list(dict.fromkeys(histogram["decipherer"]))
    quantities = list(dict.fromkeys(histogram["quantity"]))
    if figure is None:
        size = (2.7 * len(quantities) + 0.4, 1.8 * len(decipherers) + 0.9)
        figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(decipherers), len(quantities), squeeze=False, sharex=True)
    for axes, decipherer in zip(grid, decipherers, strict=True):
        of_row = histogram[histogram["decipherer"] == decipherer]
        highest = 1.1 * max(of_row["count"].max(), of_row["band_high"].max())
        for ax, quantity in zip(axes, quantities, strict=True):
            counts = of_row[of_row["quantity"] == quantity]
            (low,), (high,) = counts["band_low"].unique(), counts["band_high"].unique()
            ax.axhspan(low, high, color="0.87", linewidth=0, zorder=0)
            outside = (counts["count"] < low) | (counts["count"] > high)
            ax.bar(
                counts["low"], counts["count"], counts["high"] - counts["low"], align="edge",
                color=np.where(outside, COLOURS[1], COLOURS[0]), alpha=0.75,
                edgecolor="white", linewidth=0.6,
            )  # fmt: skip
            ax.axhline(counts["replications"].iloc[0] / len(counts), color="black", linewidth=0.8)
            ax.set_xlim(0, 1)
            ax.set_ylim(0, highest)
            p_value = counts["p_value"].iloc[0]
            ax.set_title(f"{quantity}, p = {p_value:.2g}", loc="left", fontsize="small")
            ax.spines[["top", "right"]].set_visible(False)
        axes[0].set_ylabel(f"{decipherer}\ntexts", fontsize="small")
    for ax in grid[-1]:
        ax.set_xlabel("rank of the truth")
    _figure_title(
        figure,
        "Is the true key one among the posterior's?",
        f"{_range(histogram['replications'])} texts drawn from the model; grey: where 99 % of the "
        "bars belong; p: chi-square",
    )
    return figure


def plot_certificates(
    frame: pd.DataFrame, figure: Figure | None = None, *, corpus: str = ""
) -> Figure:
    """Against ciphertext length, the share of ciphertexts whose MAP key is proven, and, where there
    are others, how far the proof falls short for them.

    Args:
        frame: what `certificates` gives.
        figure: where to draw; by default a new one.
        corpus: where the texts came from, for the title.
    """
    gaps = frame.dropna(subset="gap")
    below = f"{_range(frame['ciphers'])} texts a length; band: 95 % confidence interval"
    if figure is None:
        figure = Figure(figsize=(6.4, 5.2 if len(gaps) else 3.6), layout="constrained")
    rows = 2 if len(gaps) else 1
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False, height_ratios=[1.4, 1][:rows])[:, 0]
    styles = _styles()
    _plot_curve(axes[0], frame, "certified_rate", "", next(styles))
    axes[0].set_ylim(0, 1)
    axes[0].set_ylabel("share with a proof")
    if len(gaps):
        _plot_curve(axes[1], gaps, "gap", "", next(styles))
        axes[1].set_ylim(bottom=0)
        axes[1].set_ylabel("gap left open (bits)")
        below += "; below: mean over texts without a proof"
    for ax in axes:
        _length_axis(ax, frame["length"])
        _finish(ax)
    for ax in axes[:-1]:
        ax.set_xlabel("")
    title = "Is the key proven to be the most probable?"
    _figure_title(figure, title + (f" {corpus}" if corpus else ""), below)
    return figure


def plot_temper(frame: pd.DataFrame, figure: Figure | None = None, *, corpus: str = "") -> Figure:
    """Log score and calibration error against the power of the likelihood, a line for each
    ciphertext length.

    Args:
        frame: what `fit_temper` gives.
        figure: where to draw; by default a new one.
        corpus: where the texts came from, for the title.
    """
    if figure is None:
        figure = Figure(figsize=(7.4, 5.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    curves = frame.groupby("length", sort=False)
    for (length, curve), style in zip(curves, _styles(), strict=False):
        _plot_curve(upper, curve, "score", f"{length} symbols", style, along="temper")
        _plot_curve(lower, curve, "ece", f"{length} symbols", style, along="temper")
    upper.set_ylabel("log score of the true letter\n(bits a token)")
    lower.set_ylabel("calibration error (ECE)")
    lower.set_ylim(bottom=0)
    lower.set_xlabel("power of the likelihood")
    for ax in (upper, lower):
        _finish(ax)
    figure.legend(
        *upper.get_legend_handles_labels(),
        loc="outside right upper",
        frameon=False,
        handlelength=3.2,
        fontsize="small",
    )
    _figure_title(
        figure,
        "How far is the model to be trusted?" + (f" {corpus}" if corpus else ""),
        f"{_range(frame['ciphers'])} texts a length; band: 95 % confidence interval",
    )
    return figure


def plot_convergence(contexts: pd.DataFrame, figure: Figure | None = None) -> Figure:
    """Against the number of symbols read, how far the Bayes mixture over all keys is from the model
    that it mixes: the mean L1 gap of its predictions so far, and the cumulative KL divergence (the
    mean regret) as a share of log2 d!; a line for each source of texts, broken lines for what none
    can pass in the mean.

    Args:
        contexts: what `context_frame` of `analysis.convergence` gives.
        figure: where to draw; by default a new one.
    """
    if figure is None:
        figure = Figure(figsize=(9.6, 5.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    several = contexts["size"].nunique() > 1
    bounded: set[int] = set()
    for (source, curve), style in zip(
        contexts.groupby("source", sort=False), _styles(), strict=False
    ):
        regret = curve[["regret_bits", "regret_bits_low", "regret_bits_high"]]
        shares = regret.div(curve["bound_bits"], axis=0)
        _plot_banded(left, curve["context"], curve, "mean_gap", str(source), style)
        _plot_banded(right, curve["context"], shares, "regret_bits", str(source), style)
        size = curve["size"].iloc[0]
        if size not in bounded:
            colour = style.colour if several else "k"
            _plot_bound(left, curve["context"], curve["mean_gap_bound"], colour)
        bounded.add(size)
    _plot_bound(right, contexts["context"].agg(["min", "max"]), pd.Series([1.0, 1.0]), "k")
    for ax in (left, right):
        _position_axis(ax, contexts.assign(last=contexts["context"]))
        ax.set_xlabel("context (symbols read)")
        _finish(ax)
    _log_axis(left)
    # 2 is the largest gap there is.
    gaps = contexts.loc[contexts["mean_gap"] > 0, "mean_gap"]
    left.set_ylim(max(1e-4, 0.8 * gaps.min()), 2)
    # The mean regret of the first few symbols may lie below 0 by chance.
    right.set_ylim(-0.1, 1.1)
    left.set_ylabel("mean L1 gap of the predictions so far")
    right.set_ylabel("cumulative KL divergence\n(mean regret) as a share of log$_2$ d!")
    _legend_below(figure, left, "bounds: sqrt(2 ln(d!) / n) and log$_2$ d!", ncols=3)
    _figure_title(
        figure,
        "The mixture over all keys becomes the model that it mixes",
        f"{_range(contexts['texts'])} texts of {_range(contexts['models'])} models a line; shaded: "
        "95 % confidence interval",
    )
    return figure


def plot_vocabulary(contexts: pd.DataFrame, figure: Figure | None = None) -> Figure:
    """Against the number of symbols of the alphabet, how far the Bayes mixture over all keys is
    from the chain that it mixes, after several contexts, with what it cannot pass in the mean.

    Args:
        contexts: what `context_frame` of `analysis.convergence` gives; the sources of the series
            "size" are drawn.
        figure: where to draw; by default a new one.
    """
    if figure is None:
        figure = Figure(figsize=(9.6, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    line = contexts[contexts["series"] == "size"].sort_values("size")
    longest = line["context"].max()
    # A quarter and a sixteenth of it, where they were measured.
    shown = line[line["context"].isin([longest, longest // 4, longest // 16])]
    for (context, curve), style in zip(shown.groupby("context"), _styles(), strict=False):
        # A mean regret below 0, by chance, has no place on a logarithmic axis.
        known = curve.assign(regret_bits=curve["regret_bits"].where(curve["regret_bits"] > 0))
        for ax, column in ((left, "mean_gap"), (right, "regret_bits")):
            _plot_curve(ax, known, column, f"after {context} symbols", style, along="size")
        _plot_bound(left, curve["size"], curve["mean_gap_bound"], style.colour)
    last = line[line["context"] == longest]
    _plot_bound(right, last["size"], last["bound_bits"], "k")
    sizes = sorted(line["size"].unique())
    for ax, column in ((left, "mean_gap"), (right, "regret_bits")):
        ax.set_xscale("log")
        ax.set_xticks(sizes, [str(size) for size in sizes])
        ax.set_xticks([], minor=True)
        ax.set_xlabel("d, symbols of the alphabet")
        _log_axis(ax)
        ax.set_ylim(bottom=0.7 * shown.loc[shown[column] > 0, column].min())
        _finish(ax)
    left.set_ylim(top=2)
    left.set_ylabel("mean L1 gap of the predictions so far")
    right.set_ylabel("cumulative KL divergence\n(mean regret, bits)")
    _legend_below(figure, left, "bounds: sqrt(2 ln(d!) / n) and log$_2$ d!", ncols=4)
    _figure_title(
        figure,
        "What a larger alphabet costs",
        f"{_range(line['texts'])} texts of {_range(line['models'])} chains a point; bars: 95 % "
        "confidence interval",
    )
    return figure


def _plot_bound(ax: Axes, x: pd.Series[float], bound: pd.Series[float], colour: str) -> None:
    """A broken line that the lines of its colour cannot pass."""
    ax.plot(x, bound, color=colour, linestyle=BOUND_LINE, linewidth=1, zorder=2)


def _log_axis(ax: Axes) -> None:
    """Logarithmic values, in plain numbers at 1, 2 and 5 times the powers of ten."""
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_locator(NullLocator())


def _legend_below(figure: Figure, ax: Axes, bound: str, ncols: int) -> None:
    """One legend for all axes: the lines of `ax`, and what the broken ones are."""
    handles, labels = ax.get_legend_handles_labels()
    handles.append(Line2D([], [], color="k", linestyle=BOUND_LINE, linewidth=1))
    figure.legend(
        handles,
        [*labels, bound],
        loc="outside lower center",
        ncols=ncols,
        frameon=False,
        handlelength=3.2,
        fontsize="small",
    )


def plot_loss(bands: pd.DataFrame, ax: Axes | None = None, *, corpus: str = "") -> Axes:
    """Loss in bits a symbol against position: a line with its 95 % band for each model but the
    n-grams, which are thin lines, named at their end.

    Args:
        bands: what `band_frame` gives; each band is a point at its geometric middle.
        ax: where to draw; by default a new figure of its own (`ax.figure`).
        corpus: where the texts came from, for the title.
    """
    if ax is None:
        ax = new_figure().add_subplot()
    styles = _styles()
    for label, curve in bands.groupby("model", sort=False):
        middle = (curve["first"] * curve["last"]) ** 0.5
        if (curve["kind"] == "n-gram").all():
            ax.plot(middle, curve["bits"], color="0.6", linewidth=0.9)
            ax.annotate(
                str(label),
                xy=(middle.iloc[-1], curve["bits"].iloc[-1]),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                color="0.4",
                fontsize="small",
            )
        else:
            _plot_banded(ax, middle, curve, "bits", str(label), next(styles))
    _position_axis(ax, bands)
    ax.set_ylim(bottom=0)
    ax.set_ylabel("loss (bits a symbol)")
    _title(
        ax,
        "What a symbol costs" + (f", {corpus}" if corpus else ""),
        f"{_texts(bands)}; mean over bands ending at 2$^{{k/4}}$; shaded: 95 % confidence interval",
    )
    _finish(ax)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, handlelength=3.2, loc="lower left")
    return ax


def plot_perplexity_gap(
    bands: pd.DataFrame, figure: Figure | None = None, *, corpus: str = ""
) -> Figure:
    """For the models that do not know the alphabet, against position: the perplexity gap as a
    multiple of the standard model's perplexity, with what the paper says of its own; and regret,
    with the line that the mixture cannot pass.

    Args:
        bands: what `band_frame` gives, with a standard model; gaps are those of the bands, regret
            is that of all symbols up to the end of each.
        figure: where to draw; by default a new one.
        corpus: where the texts came from, for the title.
    """
    if figure is None:
        figure = Figure(figsize=(9.2, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    ignorant = bands[~bands["kind"].isin(["standard", "n-gram"])]
    (bound,) = ignorant["bound"].unique()
    # The same style as in `plot_loss`, where models that know the alphabet have theirs.
    labels = bands.loc[bands["kind"] != "n-gram", "model"].unique()
    styles = dict(zip(labels, _styles(), strict=False))
    for label, curve in ignorant.groupby("model", sort=False):
        style = styles[label]
        _plot_banded(left, (curve["first"] * curve["last"]) ** 0.5, curve, "gap", str(label), style)
        _plot_banded(right, curve["last"], curve, "regret_bits", str(label), style)
    for gap, said in PAPER_GAPS:
        _reference(left, gap, said)
    _reference(right, bound, f"log$_2$ of the number of keys: {bound:.1f} bits")
    # What matters happens below 1, and the start lies far above it.
    left.set_yscale("symlog", linthresh=1.0, linscale=1.5)
    ticks = [0, 0.25, 0.5, 1, 2, 4, 8, 16, 32]
    left.set_yticks(ticks, [f"{tick:g}x" for tick in ticks])
    left.set_yticks([], minor=True)
    left.set_ylim(min(-0.1, ignorant["gap"].min()), max(12.0, 1.2 * ignorant["gap"].max()))
    left.set_ylabel("perplexity gap, times the standard model's\n(logarithmic above 1x)")
    regrets = ignorant["regret_bits"]
    right.set_ylim(min(0.0, 1.08 * regrets.min()), 1.12 * max(bound, regrets.max()))
    right.set_ylabel("regret (bits)")
    for ax in (left, right):
        _position_axis(ax, bands)
        _finish(ax)
    left.legend(frameon=False, handlelength=3.2, loc="lower left")
    _figure_title(
        figure,
        "The price of not knowing the alphabet" + (f", {corpus}" if corpus else ""),
        f"{_texts(ignorant)}; gap: mean over bands ending at 2$^{{k/4}}$; shaded: 95 % confidence "
        "interval",
    )
    return figure


def plot_reasoning(frame: pd.DataFrame, figure: Figure | None = None) -> Figure:
    """Accuracy in context: of LookUp against the number of pairs; of Permutation against the number
    of examples, whole answers above single symbols, a column for each length of the strings.

    Args:
        frame: what `accuracy_frame` gives.
        figure: where to draw; by default a new one.
    """
    lookup = frame[frame["task"] == "LookUp"]
    permutation = frame[frame["task"] == "Permutation"]
    lengths = sorted(permutation["length"].unique())
    columns = [["LookUp", "LookUp"]] if len(lookup) else []
    columns += [[f"exact {length}", f"token {length}"] for length in lengths]
    if figure is None:
        figure = Figure(figsize=(1.2 + 2.5 * max(2, len(columns)), 5.6), layout="constrained")
    axes = figure.subplot_mosaic([list(row) for row in zip(*columns, strict=True)])
    if len(lookup):
        axes["LookUp"].set_title("LookUp", loc="left", fontsize="small")
        _plot_answers(axes["LookUp"], lookup, "exact", "pairs")
    for length in lengths:
        of_length = permutation[permutation["length"] == length]
        for measure in ("exact", "token"):
            ax = axes[f"{measure} {length}"]
            _plot_answers(ax, of_length, measure, "examples")
            said = "whole answer" if measure == "exact" else "single symbols"
            ax.set_title(f"Permutation of {length}, {said}", loc="left", fontsize="small")
    for first in columns[0]:
        axes[first].set_ylabel("share right")
    handles = axes[columns[0][0]].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3, frameon=False, handlelength=3.2)
    _figure_title(
        figure,
        "What models do in context that English never taught them",
        f"{_range(frame['prompts'])} prompts a point; band: 95 % confidence interval",
    )
    return figure


def _plot_answers(ax: Axes, frame: pd.DataFrame, measure: str, along: str) -> None:
    """The accuracy of each model on one task, with what chance and a guess would get right."""
    counts = frame[along].astype(int)
    frame = frame.assign(**{along: counts})
    for (label, curve), style in zip(frame.groupby("model", sort=False), _styles(), strict=False):
        _plot_curve(ax, curve, measure, str(label), style, along=along)
    controls = frame.drop_duplicates(along).sort_values(along)
    for name, said, line in (
        ("guess", "guess among the symbols in question", (0, (6, 2))),
        ("chance", "chance", (0, (1, 2))),
    ):
        ax.plot(
            controls[along],
            controls[f"{name}_{measure}"],
            color="black",
            linewidth=1.2,
            linestyle=line,
            label=said,
            zorder=2,
        )
    ticks = sorted(counts.unique())
    ax.set_xscale("log", base=2)
    ax.set_xticks(ticks, [str(count) for count in ticks])
    ax.set_xticks([], minor=True)
    ax.set_xlabel(along)
    ax.set_ylim(0, 1)
    _finish(ax)


def plot_regularisation(
    frame: pd.DataFrame, figure: Figure | None = None, *, corpus: str = ""
) -> Figure:
    """What random embeddings cost and buy: against their probability p, perplexity and accuracy in
    context, by learned vectors and by fresh ones; against the number of swapped symbols and the
    rate of typos, bits a symbol, a line for each p. What was not measured has no panel.

    Args:
        frame: what `outcome_frame` of `analysis.regularisation` gives.
        figure: where to draw; by default a new one.
        corpus: where the texts came from, for the title.
    """
    of_all = frame[frame["band"] == "all"]
    named = frame["measure"].unique()
    tasks = [name for name in ("LookUp", "Permutation") if name in named]
    changes = [
        (f"{measure}{what}", said, along)
        for measure, what, said, along in (
            ("partial cipher", "", "loss (bits a symbol)", "symbols swapped"),
            ("misspelling", ", cost", "cost to words without a typo\n(bits a symbol)",
             "words with a typo (%)"),
        )
        if measure in named
    ]  # fmt: skip
    panels = 1 + bool(tasks) + len(changes)
    columns = min(2, panels)
    rows = -(-panels // columns)
    if figure is None:
        figure = Figure(figsize=(4.8 * columns, 3.6 * rows + 0.9), layout="constrained")
    axes = iter(figure.subplots(rows, columns, squeeze=False).flat)
    _plot_english(next(axes), of_all[of_all["measure"] == "English"])
    if tasks:
        _plot_tasks(next(axes), of_all[of_all["measure"].isin(tasks)])
    for measure, said, along in changes:
        ax = next(axes)
        of_measure = of_all[of_all["measure"] == measure]
        _plot_changed(ax, of_measure, 100 if along.endswith("(%)") else 1)
        ax.set_title(measure.removesuffix(", cost"), loc="left", fontsize="small")
        ax.set_xlabel(along)
        ax.set_ylabel(said)
        handles = ax.get_legend_handles_labels()
    for ax in axes:
        ax.set_axis_off()
    if changes:
        figure.legend(
            *handles, loc="outside lower center", ncols=4, frameon=False, handlelength=3.2,
            fontsize="small",
            title="partial cipher and misspelling, by learned vectors unless said otherwise",
            title_fontsize="small",
        )  # fmt: skip
    english = frame.loc[frame["measure"] == "English", "texts"]
    prompts = frame.loc[frame["measure"].isin(tasks), "texts"]
    said = f"{_range(english)} texts" + (f", {_range(prompts)} prompts a setting" if tasks else "")
    _figure_title(
        figure,
        "What does a little lexinvariance cost and buy?" + (f" {corpus}" if corpus else ""),
        f"{said}; p: the probability of a random vector in training; band: 95 % confidence "
        "interval",
    )
    return figure


def _plot_english(ax: Axes, frame: pd.DataFrame) -> None:
    """Perplexity against p, a line for each reading."""
    curves = frame.assign(
        perplexity=2 ** frame["value"],
        perplexity_low=2 ** frame["low"],
        perplexity_high=2 ** frame["high"],
    ).groupby("reading")
    named = (
        ("learned", "learned vectors (untrained at p = 1)"),
        ("fresh", "fresh vectors (never seen at p = 0)"),
    )
    for (reading, said), style in zip(named, _styles(), strict=False):
        if reading in curves.groups:
            _plot_curve(ax, curves.get_group(reading), "perplexity", said, style, along="p")
    _log_axis(ax)
    ax.set_ylabel("perplexity (a symbol)")
    ax.set_title("English", loc="left", fontsize="small")
    _share_axis(ax, frame["p"])
    ax.legend(frameon=False, handlelength=3.2, fontsize="small")


def _plot_tasks(ax: Axes, frame: pd.DataFrame) -> None:
    """Accuracy against p, a line for each task and reading; a broken one for who guesses."""
    styles = _styles()
    for task, of_task in frame.groupby("measure", sort=False):
        for reading in ("learned", "fresh"):
            curve = of_task[of_task["reading"] == reading].assign(
                value_low=of_task["low"], value_high=of_task["high"]
            )
            if len(curve):
                _plot_curve(ax, curve, "value", f"{task}, {reading}", next(styles), along="p")
        guess = of_task["guess"].iloc[0]
        line = BOUND_LINE if task == "LookUp" else (0, (1, 2))
        ax.axhline(
            guess, color="black", linewidth=1.2, linestyle=line, label=f"{task}, guess", zorder=2
        )
    ax.set_ylim(0, 1)
    ax.set_ylabel("share of answers right")
    ax.set_title("reasoning in context", loc="left", fontsize="small")
    _share_axis(ax, frame["p"])
    ax.legend(frameon=False, handlelength=3.2, fontsize="small", ncols=2)


def _plot_changed(ax: Axes, frame: pd.DataFrame, times: float) -> None:
    """A line for each p, from dark to light, by learned vectors where the model has them; settings
    are shown `times` what they are."""
    shares = sorted(frame["p"].unique())
    colours = matplotlib.colormaps[SEQUENTIAL](np.linspace(0, 0.88, len(shares)))
    for share, colour, marker in zip(shares, colours, cycle(MARKERS), strict=False):
        of_share = frame[frame["p"] == share]
        reading = "learned" if "learned" in of_share["reading"].unique() else "fresh"
        curve = of_share[of_share["reading"] == reading]
        curve = curve.assign(
            x=times * curve["setting"], value_low=curve["low"], value_high=curve["high"]
        )
        label = f"p = {share:g}" + ("" if reading == "learned" else ", fresh vectors")
        style = _Style(colour, marker, "-" if reading == "learned" else "--")
        _plot_curve(ax, curve, "value", label, style, along="x")
    ticks = sorted(times * frame["setting"].unique())
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    _finish(ax)


def _share_axis(ax: Axes, shares: pd.Series[float]) -> None:
    """Probabilities, each that was measured with its tick."""
    ticks = sorted(shares.unique())
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set_xlabel("p")
    _finish(ax)


class _Style(NamedTuple):
    """How one line is told from the others."""

    colour: str
    marker: str
    line: Any


def _styles() -> Iterator[_Style]:
    """Styles without end, no two of the first 42 alike."""
    return map(_Style, cycle(COLOURS), cycle(MARKERS), cycle(LINES))


def _plot_curve(
    ax: Axes, curve: pd.DataFrame, column: str, label: str, style: _Style, along: str = "length"
) -> None:
    """A line of `column`, with its interval `..._low` to `..._high` as a band."""
    curve = curve.sort_values(along)
    x, low, high = curve[along], curve[f"{column}_low"], curve[f"{column}_high"]
    ax.fill_between(x, low, high, color=style.colour, alpha=0.18, linewidth=0)
    ax.vlines(x, low, high, color=style.colour, alpha=0.4, linewidth=1)
    ax.plot(
        x,
        curve[column],
        color=style.colour,
        marker=style.marker,
        linestyle=style.line,
        markersize=5,
        label=label,
        clip_on=False,  # or the frame would cut through the markers at 0 and 1
        zorder=3,
    )


def _plot_banded(
    ax: Axes, x: pd.Series[float], curve: pd.DataFrame, column: str, label: str, style: _Style
) -> None:
    """A line of `column` against `x`, with its interval as a band: for many points."""
    low, high = curve[f"{column}_low"], curve[f"{column}_high"]
    ax.fill_between(x, low, high, color=style.colour, alpha=0.18, linewidth=0)
    ax.plot(
        x,
        curve[column],
        color=style.colour,
        marker=style.marker,
        markevery=4,
        linestyle=style.line,
        markersize=5,
        label=label,
        zorder=3,
    )


def _position_axis(ax: Axes, bands: pd.DataFrame) -> None:
    """Positions on a logarithmic scale, with ticks at powers of two."""
    largest = int(bands["last"].max())
    ticks = [1 << k for k in range(largest.bit_length())]
    ax.set_xscale("log", base=2)
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.set_xticks([], minor=True)
    ax.set_xlim(1, max(2, largest))
    ax.set_xlabel("position in the text (symbols)")


def _reference(ax: Axes, level: float, said: str) -> None:
    """A line across that says what it is."""
    ax.axhline(level, color="black", linewidth=1.2, linestyle=(0, (6, 2)), zorder=2)
    ax.annotate(
        said,
        xy=(0, level),
        xycoords=("axes fraction", "data"),
        xytext=(4, 4),
        textcoords="offset points",
        fontsize="small",
        # Readable where a curve crosses it.
        path_effects=[withStroke(linewidth=3, foreground="white")],
        zorder=4,
    )


def _texts(bands: pd.DataFrame) -> str:
    """How many texts the models read, and which of them read fewer."""
    counts = bands.groupby("model", sort=False)["texts"].first()
    fewer = counts[counts < counts.max()]
    said = "".join(f" ({model}: {count})" for model, count in fewer.items())
    return f"{counts.max()} texts{said}"


def _plot_diagram(ax: Axes, bins: pd.DataFrame) -> None:
    """One reliability diagram."""
    ax.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=(0, (4, 2)))
    ax.vlines(
        bins["confidence"],
        bins["accuracy_low"],
        bins["accuracy_high"],
        color=COLOURS[0],
        linewidth=1.4,
        alpha=0.6,
    )
    # No line: bins of a few tokens would draw the eye to what is but chance.
    ax.scatter(
        bins["confidence"],
        bins["accuracy"],
        s=8 + 60 * bins["tokens"] / bins["tokens"].sum(),
        color=COLOURS[0],
        clip_on=False,
        zorder=3,
    )
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    _finish(ax)


def _length_axis(ax: Axes, lengths: pd.Series[int]) -> None:
    """Lengths in powers of two, each that was measured with its tick."""
    ticks = sorted(lengths.unique())
    ax.set_xscale("log", base=2)
    ax.set_xticks(ticks, [str(length) for length in ticks])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("ciphertext length (symbols)")


def _spread(lengths: pd.Series[int]) -> NDArray[np.float64]:
    """`lengths` moved a little apart along a logarithmic axis, so that points do not hide."""
    rank = lengths.groupby(lengths).cumcount() / lengths.groupby(lengths).transform("size")
    return np.asarray(lengths * 2.0 ** (0.3 * (rank - 0.5)))


def _title(ax: Axes, title: str, below: str) -> None:
    ax.set_title(title, loc="left", fontsize="medium", fontweight="bold", pad=22)
    ax.annotate(
        below,
        xy=(0, 1),
        xycoords="axes fraction",
        xytext=(0, 8),
        textcoords="offset points",
        color="0.35",
        fontsize="small",
    )


def _figure_title(figure: Figure, title: str, below: str) -> None:
    """The title of a figure of several axes."""
    # The empty second line keeps room for what is written there in another hand.
    figure.suptitle(f"{title}\n", x=0.01, ha="left", fontsize="medium", fontweight="bold")
    figure.text(
        0.01,
        1,
        below,
        transform=figure.transFigure + ScaledTranslation(0, -18 / 72, figure.dpi_scale_trans),
        va="top",
        color="0.35",
        fontsize="small",
        in_layout=False,
    )


def _finish(ax: Axes) -> None:
    ax.grid(color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def _range(counts: pd.Series[int]) -> str:
    """As text: one number, or the least and the largest."""
    return " to ".join(str(count) for count in sorted({*counts.agg(["min", "max"])}))


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


# --- implicit against exact Bayes (analysis.implicit) ---------------------------------------------

#: Divergences below this, nats, are as good as none and stay outside the figures.
LEAST_DIVERGENCE = 1e-3


def plot_implicit_chains(bands: pd.DataFrame, goal: float, figure: Figure | None = None) -> Figure:
    """KL divergence from the exact mixture against position, on logarithmic scales: a panel for
    each synthetic language, in it a line with its 95 % band for each reader.

    Args:
        bands: what `divergence_frame` gives, of synthetic languages.
        goal: the divergence to reach, nats: a line across.
        figure: where to draw; by default a new one.
    """
    languages = list(dict.fromkeys(bands["language"]))
    if figure is None:
        figure = Figure(figsize=(3.2 * len(languages) + 0.6, 4.4), layout="constrained")
    axes = figure.subplots(1, len(languages), sharey=True, squeeze=False)[0]
    for ax, language in zip(axes, languages, strict=True):
        _plot_divergences(ax, bands[bands["language"] == language])
        _reference(ax, goal, f"{goal:g} nats")
        ax.set_title(language, loc="left", fontsize="small")
    axes[0].set_ylabel("KL(exact mixture || reader) (nats)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower left", ncols=min(2, len(languages)), frameon=False,
        handlelength=3.2, fontsize="small",
    )  # fmt: skip
    _figure_title(
        figure,
        "How near is what it believes to Bayes' rule?",
        f"{_range(bands['texts'])} texts a language; mean over bands; shaded: 95 % interval",
    )
    return figure


def plot_implicit_english(
    bands: pd.DataFrame, regret: pd.DataFrame, figure: Figure | None = None, *, corpus: str = ""
) -> Figure:
    """KL divergence from the Bayes mixture against position, on logarithmic scales; and regret,
    with the line that the mixture cannot pass.

    Args:
        bands: what `divergence_frame` gives, of English.
        regret: what `analysis.perplexity.band_frame` gives of the same texts.
        figure: where to draw; by default a new one.
        corpus: where the texts came from, for the title.
    """
    if figure is None:
        figure = Figure(figsize=(9.2, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    _plot_divergences(left, bands)
    left.set_ylabel("KL divergence (nats)")
    (bound,) = regret["bound"].unique()
    known = regret.dropna(subset="regret_bits")
    curves = known.groupby("model", sort=False)
    for (label, curve), style in zip(curves, _styles(), strict=False):
        _plot_banded(right, curve["last"], curve, "regret_bits", str(label), style)
    _reference(right, bound, f"log$_2$ of the number of keys: {bound:.1f} bits")
    _position_axis(right, regret)
    highest = max(bound, known["regret_bits"].max())
    right.set_ylim(min(0.0, 1.08 * known["regret_bits"].min()), 1.12 * highest)
    right.set_ylabel("regret (bits)")
    _finish(right)
    for ax in (left, right):
        # Below the axes, where no curve can run into it.
        ax.legend(
            frameon=False, handlelength=3.2, fontsize="small", loc="upper left",
            bbox_to_anchor=(0, -0.14),
        )  # fmt: skip
    _figure_title(
        figure,
        "How near is what it believes to Bayes' rule?" + (f" {corpus}" if corpus else ""),
        f"{_range(bands['texts'])} texts; divergence: mean over bands; shaded: 95 % interval",
    )
    return figure


def _plot_divergences(ax: Axes, bands: pd.DataFrame) -> None:
    """A line for each quantity and reader of one language."""
    curves = bands.groupby(["quantity", "against", "reader"], sort=False)
    for (names, curve), style in zip(curves, _styles(), strict=False):
        quantity, against, reader = names
        exact = against == "exact mixture"
        said = f"{quantity}: {reader}" if exact else f"KL({against} || {reader})"
        middle = (curve["first"] * curve["last"]) ** 0.5
        _plot_banded(ax, middle, curve, "kl_nats", said, style)
    ax.set_yscale("log")
    ax.set_ylim(LEAST_DIVERGENCE, 2 * max(1.0, bands["kl_nats"].max()))
    _position_axis(ax, bands)
    _finish(ax)


# --- probes on hidden states (analysis.probing) ---------------------------------------------------

#: From little to much, even in grey and for any colour vision.
SEQUENTIAL = "viridis"


def plot_probe_accuracy(
    frame: pd.DataFrame, figure: Figure | None = None, *, corpus: str = ""
) -> Figure:
    """`plot_accuracy` with room beside it for the names of many lines.

    Args:
        frame: what `accuracy_frame` of `analysis.probing` gives.
        figure: where to draw; by default a new one.
        corpus: where the texts came from, for the title.
    """
    if figure is None:
        figure = Figure(figsize=(8.6, 4.6), layout="constrained")
    ax = plot_accuracy(frame, figure.add_subplot(), corpus=corpus)
    legend = ax.get_legend()
    assert legend is not None
    legend.remove()
    # In the order in which the lines end, so that names are found beside them.
    ends = frame[frame["length"] == frame["length"].max()].sort_values("token_accuracy")
    handles, labels = ax.get_legend_handles_labels()
    lines = dict(zip(labels, handles, strict=True))
    order = ends["decipherer"].tolist()[::-1]
    figure.legend(
        [lines[name] for name in order], order, loc="outside right center", frameon=False,
        handlelength=3.2,
    )  # fmt: skip
    return figure


def plot_layers(layers: pd.DataFrame, figure: Figure | None = None, *, corpus: str = "") -> Figure:
    """The accuracy of a linear probe by layer and position as a heat map, a panel for each model;
    a frame around the layer where the alphabet appears.

    Args:
        layers: what `layer_frame` of `analysis.probing` gives.
        figure: where to draw; by default a new one.
        corpus: where the texts came from, for the title.
    """
    models = list(dict.fromkeys(layers["model"]))
    depth = layers["layer"].max() + 1
    if figure is None:
        size = (4.0 * len(models) + 1.0, 0.36 * depth + 1.8)
        figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, len(models), squeeze=False, sharey=True)[0]
    for ax, model in zip(axes, models, strict=True):
        of_model = layers[layers["model"] == model]
        by_band = of_model.pivot(index="layer", columns="last", values="accuracy")
        image = _plot_heat(ax, by_band.to_numpy(), Normalize(0, 1), origin="lower")
        for (row, column), share in np.ndenumerate(by_band.to_numpy()):
            colour = "white" if share < 0.5 else "black"
            ax.text(
                column, row, f"{share:.2f}", ha="center", va="center", color=colour,
                fontsize="small",
            )  # fmt: skip
        bands = of_model.drop_duplicates("last").sort_values("last")
        names = [f"{band.first}\u2013{band.last}" for band in bands.itertuples()]
        ax.set_xticks(range(len(names)), names, rotation=30, ha="right", rotation_mode="anchor")
        ax.set_yticks(range(len(by_band)), [str(layer) for layer in by_band.index])
        ax.set_xlabel("position in the text (symbols)")
        ax.set_title(model, loc="left", fontsize="small")
        for row in np.flatnonzero(of_model.groupby("layer")["appears"].any()):
            ax.add_patch(
                Rectangle(
                    (-0.5, row - 0.5), len(names), 1, fill=False, edgecolor=COLOURS[1],
                    linewidth=2.5, clip_on=False, zorder=4,
                )
            )  # fmt: skip
    axes[0].set_ylabel("layer (0: before the first block)")
    figure.colorbar(image, ax=list(axes), label="token accuracy (share right)")
    _figure_title(
        figure,
        "Where the letters can be read" + (f", {corpus}" if corpus else ""),
        f"linear probe, {_range(layers['texts'])} texts; framed: the layer where the alphabet "
        "appears",
    )
    return figure


def plot_counts(counts: pd.DataFrame, ax: Axes | None = None, *, corpus: str = "") -> Axes:
    """The share of the symbols that are read right against how often they were seen, a line for
    each reader with its 95 % band.

    Args:
        counts: what `count_frame` of `analysis.probing` gives.
        ax: where to draw; by default a new figure of its own (`ax.figure`).
        corpus: where the texts came from, for the title.
    """
    if ax is None:
        ax = new_figure().add_subplot()
    curves = counts.groupby("decipherer", sort=False)
    for (decipherer, curve), style in zip(curves, _styles(), strict=False):
        _plot_curve(ax, curve, "accuracy", str(decipherer), style, along="last")
    bands = counts.drop_duplicates("last").sort_values("last")
    names = [
        f"{first}\u2013{last}" if first < last else str(last)
        for first, last in bands[["first", "last"]].to_numpy().tolist()
    ]
    ax.set_xscale("log", base=2)
    ax.set_xticks(bands["last"], names, fontsize="small")
    ax.set_xticks([], minor=True)
    ax.set_xlabel("times that the symbol was seen")
    ax.set_ylim(0, 1)
    ax.set_ylabel("share of the symbols read right")
    _title(
        ax,
        "What is known of a symbol by how often it was seen" + (f", {corpus}" if corpus else ""),
        f"{_range(counts.groupby('decipherer')['texts'].max())} texts a line, over all lengths; "
        "band: 95 % confidence interval",
    )
    _finish(ax)
    ax.legend(frameon=False, handlelength=3.2, loc="lower right")
    return ax


def plot_confusions(
    confusions: pd.DataFrame, figure: Figure | None = None, *, corpus: str = ""
) -> Figure:
    """Which letters are taken for which, a heat map for each reader: a row for each true letter,
    from the most frequent down, in it the probability that it is given of each letter.

    Args:
        confusions: what `confusion_frame` of `analysis.probing` gives.
        figure: where to draw; by default a new one.
        corpus: where the texts came from, for the title.
    """
    readers = list(dict.fromkeys(confusions["decipherer"]))
    tokens = confusions.groupby("truth", sort=False)["tokens"].max()
    letters = tokens.sort_values(ascending=False, kind="stable").index
    if figure is None:
        side = 0.165 * len(letters)
        size = ((side + 0.6) * len(readers) + 1.0, side + 1.7)
        figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, len(readers), squeeze=False, sharey=True)[0]
    for ax, reader in zip(axes, readers, strict=True):
        of_reader = confusions[confusions["decipherer"] == reader]
        matrix = of_reader.pivot(index="truth", columns="read", values="probability")
        # Mistakes are rare beside what is right: the root brings them out.
        image = _plot_heat(ax, matrix.loc[letters, letters].to_numpy(), PowerNorm(0.5, 0, 1))
        for ticks in (ax.set_xticks, ax.set_yticks):
            ticks(range(len(letters)), list(letters), fontsize="x-small")
        ax.set_xlabel("read as")
        ax.set_title(reader, loc="left", fontsize="small")
    axes[0].set_ylabel("true letter")
    figure.colorbar(image, ax=list(axes), label="probability (root scale)", shrink=0.9)
    (length,) = confusions["length"].unique()
    counts = confusions.drop_duplicates(["decipherer", "truth"]).groupby("decipherer")["tokens"]
    _figure_title(
        figure,
        f"What is taken for what after {length} symbols" + (f", {corpus}" if corpus else ""),
        f"mean over {_range(counts.sum())} symbols; grey: a letter that did not occur",
    )
    return figure


def _plot_heat(ax: Axes, values: NDArray[np.float64], norm: Normalize, **options: Any) -> AxesImage:
    """A heat map of shares; grey where there is none."""
    colours = matplotlib.colormaps[SEQUENTIAL].with_extremes(bad="0.8")
    image = ax.imshow(values, cmap=colours, aspect="auto", norm=norm, **options)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return image
