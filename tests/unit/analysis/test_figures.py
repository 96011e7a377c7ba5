from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import plot_accuracy
from analysis.calibration import calibration_error, reliability
from analysis.figures import (
    COLOURS,
    plot_certificates,
    plot_regret,
    plot_reliability,
    plot_sbc,
    plot_temper,
    save_figure,
)
from analysis.regret import log2_keys, regret_curve
from analysis.sbc import sbc_histogram
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


# --- the Bayesian reference -----------------------------------------------------------------------


def regrets() -> tuple[pd.DataFrame, pd.DataFrame]:
    texts = pd.DataFrame(
        {
            "decipherer": "SMC",
            "length": np.repeat(LENGTHS, 10),
            "regret": np.linspace(5, 60, 30),
            "log_evidence_error": 0.1,
        }
    )
    return regret_curve(texts, 27), texts


def test_regret_has_its_bound_and_every_text() -> None:
    frame, texts = regrets()
    ax = plot_regret(frame, texts, corpus="brown/test")
    mean, bound = ax.get_lines()
    np.testing.assert_allclose(mean.get_ydata(), frame["regret"])
    np.testing.assert_allclose(bound.get_ydata(), log2_keys(27))
    assert "93.1 bits" in ax.texts[0].get_text()
    (points,) = (c for c in ax.collections if len(c.get_offsets()) == 30)
    np.testing.assert_allclose(points.get_offsets()[:, 1], texts["regret"])
    assert ax.get_ylabel() == "regret (bits)"


def test_reliability_has_a_diagram_for_each_length() -> None:
    rng = np.random.default_rng(0)
    tokens = pd.DataFrame(
        {
            "decipherer": "smc",
            "length": np.repeat(LENGTHS, 60),
            "cipher": np.tile(np.repeat(np.arange(6), 10), 3),
            "tokens": 1,
            "confidence": rng.random(180),
            "right": rng.integers(2, size=180).astype(float),
            "score": -1.0,
        }
    )
    bins, errors = reliability(tokens), calibration_error(tokens)
    figure = plot_reliability(bins, errors, corpus="brown/test")
    titles = [ax.get_title(loc="left") for ax in figure.axes if ax.get_title(loc="left")]
    assert [title.split("\n")[0] for title in titles] == [f"{n} symbols" for n in LENGTHS]
    assert all(f"{e:.3f}" in title for e, title in zip(errors["ece"], titles, strict=True))
    first = bins[bins["length"] == LENGTHS[0]]
    points = figure.axes[0].collections[-1].get_offsets()
    np.testing.assert_allclose(points, first[["confidence", "accuracy"]])
    assert "brown/test" in figure.get_suptitle()


def test_sbc_marks_the_bars_outside_the_band() -> None:
    pits = pd.DataFrame(
        {
            "decipherer": np.repeat(["a", "b"], 400),
            "quantity": "q",
            "pit": np.concatenate([np.linspace(0, 1, 400), np.linspace(0, 1, 400) ** 3]),
        }
    )
    figure = plot_sbc(sbc_histogram(pits))
    sound, broken = ({bar.get_facecolor() for bar in ax.patches[1:]} for ax in figure.axes)
    assert len(sound) == 1
    assert len(broken) == 2
    assert [ax.get_ylabel() for ax in figure.axes] == ["a\ntexts", "b\ntexts"]


def test_certificates_leave_out_gaps_that_are_not() -> None:
    frame = pd.DataFrame({"length": LENGTHS, "ciphers": 20})
    for column, values in {"certified_rate": [0.1, 0.9, 1.0], "gap": [3.0, 1.0, np.nan]}.items():
        frame[column] = frame[f"{column}_low"] = frame[f"{column}_high"] = values
    upper, lower = plot_certificates(frame, corpus="brown/test").axes
    assert upper.get_lines()[0].get_ydata().tolist() == [0.1, 0.9, 1.0]
    assert lower.get_lines()[0].get_xdata().tolist() == LENGTHS[:2]
    assert "bits" in lower.get_ylabel()
    (alone,) = plot_certificates(frame.assign(gap=np.nan)).axes
    assert alone.get_xlabel() == "ciphertext length (symbols)"


def test_temper_has_a_line_for_each_length() -> None:
    frame = pd.DataFrame({"temper": [0.5, 1.0] * 2, "length": [16, 16, 32, 32], "ciphers": 5})
    for column in ("score", "ece"):
        frame[column] = frame[f"{column}_low"] = frame[f"{column}_high"] = [0.4, 0.3, 0.2, 0.1]
    upper, lower = plot_temper(frame).axes
    for ax in (upper, lower):
        assert [line.get_label() for line in ax.get_lines()] == ["16 symbols", "32 symbols"]
        assert ax.get_lines()[1].get_xdata().tolist() == [0.5, 1.0]
