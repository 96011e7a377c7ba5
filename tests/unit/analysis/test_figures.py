from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import plot_accuracy
from analysis.figures import COLOURS, save_figure
from ciphers import InputError

LENGTHS = [16, 64, 256]


def curve(decipherer: str, accuracy: float) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "decipherer": decipherer,
            "length": LENGTHS,
            "ciphers": 20,
            "token_accuracy": accuracy,
            "token_accuracy_low": accuracy - 0.1,
            "token_accuracy_high": accuracy + 0.1,
        }
    )


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.concat([curve("ngram", 0.8), curve("frequency", 0.3).iloc[::-1]])


def test_a_line_and_a_band_for_each_decipherer(frame) -> None:
    ax = plot_accuracy(frame, corpus="brown/test")
    assert isinstance(ax, Axes)
    assert [line.get_label() for line in ax.get_lines()] == ["ngram", "frequency"]
    for line, accuracy in zip(ax.get_lines(), [0.8, 0.3], strict=True):
        np.testing.assert_array_equal(line.get_xdata(), LENGTHS)
        np.testing.assert_allclose(line.get_ydata(), accuracy)
    bands = [c for c in ax.collections if c.get_alpha() == 0.18]
    for band, accuracy in zip(bands, [0.8, 0.3], strict=True):
        heights = band.get_paths()[0].vertices[:, 1]
        np.testing.assert_allclose([heights.min(), heights.max()], [accuracy - 0.1, accuracy + 0.1])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["ngram", "frequency"]


def test_axes_say_what_they_are(frame) -> None:
    ax = plot_accuracy(frame, corpus="brown/test")
    assert ax.get_xlabel() == "ciphertext length (symbols)"
    assert ax.get_ylabel() == "token accuracy (share of symbols right)"
    assert ax.get_xscale() == "log"
    assert [label.get_text() for label in ax.get_xticklabels()] == ["16", "64", "256"]
    assert ax.get_ylim() == (0, 1)
    assert ax.get_title(loc="left").endswith("brown/test")
    assert "mean of 20 texts" in ax.texts[0].get_text()


def test_lines_differ_in_colour_and_in_shape() -> None:
    frame = pd.concat([curve(name, 0.5) for name in "abcdefgh"])
    lines = plot_accuracy(frame).get_lines()
    assert {line.get_color() for line in lines} == set(COLOURS)
    assert len({(line.get_marker(), line.get_linestyle()) for line in lines}) == len(lines)


def test_it_draws_where_it_is_told(frame) -> None:
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert plot_accuracy(frame, right) is right
    assert not left.get_lines()


@pytest.mark.parametrize(
    ("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("PDF", b"%PDF")]
)
def test_equal_figures_are_equal_files(frame, tmp_path, suffix, start) -> None:
    one, two = tmp_path / f"one.{suffix}", tmp_path / f"two.{suffix}"
    for path in (one, two):
        save_figure(plot_accuracy(frame).get_figure(root=True), path)
    assert one.read_bytes().startswith(start)
    assert one.read_bytes() == two.read_bytes()
    assert b"Date" not in one.read_bytes()


def test_a_figure_in_an_unknown_format_is_refused(frame, tmp_path) -> None:
    with pytest.raises(InputError, match=r"\.png"):
        save_figure(Figure(), tmp_path / "figure.docx")
    assert not list(tmp_path.iterdir())


def test_no_global_state(frame) -> None:
    plot_accuracy(frame)
    assert "matplotlib.pyplot" not in sys.modules
