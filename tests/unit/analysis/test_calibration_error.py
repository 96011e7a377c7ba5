from __future__ import annotations

import math
from functools import partial

import numpy as np
import pandas as pd
import pytest

from analysis.calibration import (
    SMOOTHING,
    calibration_error,
    fit_temper,
    reliability,
    token_frame,
    token_rows,
)
from analysis.trials import Reading, Trial, contest
from ciphers import Alphabet, InputError, Key, load_corpus
from decipher import NGramModel, make_decipherer
from decipher.posterior import KeyPosterior

FOUR = Alphabet("abcd", "four")
SIX = Alphabet("etaoin", "six-letters")


def tokens_of(confidence, right, texts: int = 1) -> pd.DataFrame:
    """Symbols that occur once, those of each text one after another."""
    cipher = np.repeat(np.arange(texts), len(confidence) // texts)
    return pd.DataFrame(
        {
            "decipherer": "d",
            "length": len(confidence) // texts,
            "cipher": cipher,
            "tokens": 1,
            "confidence": confidence,
            "right": right,
            "score": np.log2(confidence),
        }
    )


def test_what_is_said_of_each_symbol() -> None:
    marginals = np.array(
        [[0.7, 0.1, 0.1, 0.1], [0.2, 0.6, 0.1, 0.1], [0.1, 0.2, 0.7, 0.0], [0.0, 0.1, 0.1, 0.8]]
    )
    ciphertext = np.array([0, 1, 0, 3, 0], np.uint8)
    plaintext = np.array([0, 2, 0, 3, 0], np.uint8)
    posterior = KeyPosterior(FOUR, marginals, Key.caesar(FOUR, 1), np.unique(ciphertext))
    trial = Trial(7, ciphertext, plaintext, np.random.SeedSequence(0))
    frame = token_frame([token_rows(Reading("d", trial, posterior, 1.0, None))])
    assert (frame["length"] == 5).all()
    assert (frame["cipher"] == 7).all()
    assert frame["tokens"].tolist() == [3, 1, 1]
    assert frame["confidence"].tolist() == [0.7, 0.6, 0.8]
    assert frame["right"].tolist() == [1.0, 0.0, 1.0]
    truth = np.array([0.7, 0.1, 0.8])
    expected = np.log2((1 - SMOOTHING) * truth + SMOOTHING / 4)
    np.testing.assert_allclose(frame["score"], expected)


def test_reliability_by_bins() -> None:
    tokens = tokens_of([0.05, 0.62, 0.68, 0.64, 1.0, 0.95], [0, 1, 0, 1, 1, 1])
    frame = reliability(tokens)
    np.testing.assert_allclose(frame["low"], [0.0, 0.6, 0.9])
    assert frame["tokens"].tolist() == [1, 3, 2]
    np.testing.assert_allclose(frame["confidence"], [0.05, 0.64666667, 0.975], atol=1e-6)
    np.testing.assert_allclose(frame["accuracy"], [0.0, 2 / 3, 1.0])
    assert frame["texts"].tolist() == [1, 1, 1]


def test_calibration_error_by_hand() -> None:
    tokens = tokens_of([0.25, 0.25, 0.8, 0.8], [1, 0, 1, 1])
    (row,) = calibration_error(tokens).itertuples()
    assert row.ece == pytest.approx((0.5 + 0.4) / 4)
    assert row.accuracy == 0.75
    assert row.confidence == pytest.approx(0.525)
    assert row.uncertain == 1.0
    assert row.score == pytest.approx(np.log2([0.25, 0.25, 0.8, 0.8]).mean())
    assert math.isnan(row.ece_noise)  # one text


def test_a_symbol_counts_as_often_as_it_occurs() -> None:
    tokens = tokens_of([0.35, 0.999], [1, 1])
    (row,) = calibration_error(tokens.assign(tokens=[3, 1])).itertuples()
    assert row.uncertain == 0.75
    assert row.ece == pytest.approx((3 * 0.65 + 0.001) / 4)
    assert row.ciphers == 1


def calibrated(texts: int, rng: np.random.Generator, shift: float = 0.0) -> pd.DataFrame:
    """Texts of 5 symbols whose letters are right or wrong together."""
    confidence = rng.uniform(0.3, 0.9, texts)
    right = rng.random(texts) < confidence - shift
    return tokens_of(np.repeat(confidence, 5), np.repeat(right, 5).astype(float), texts)


def test_right_confidences_err_by_chance_only() -> None:
    """The mean over 40 sets of texts; its standard error is some 5 % of it."""
    rng = np.random.default_rng(0)
    rows = pd.concat([calibration_error(calibrated(150, rng)) for _ in range(40)])
    assert rows["ece"].mean() == pytest.approx(rows["ece_noise"].mean(), rel=0.13)


def test_wrong_confidences_are_found() -> None:
    (row,) = calibration_error(calibrated(400, np.random.default_rng(2), shift=0.2)).itertuples()
    assert row.ece > 3 * row.ece_noise
    assert row.ece == pytest.approx(0.2, abs=0.06)
    assert row.ece_low < row.ece < row.ece_high


def test_intervals_resample_texts_and_not_tokens() -> None:
    """Five tokens that share their fate say no more than one."""
    five = calibrated(50, np.random.default_rng(3))
    one = five.groupby("cipher").head(1).assign(length=1)
    columns = ["ece", "ece_low", "ece_high", "ece_noise", "score_low", "score_high"]
    pd.testing.assert_frame_equal(calibration_error(five)[columns], calibration_error(one)[columns])


def test_methods_and_lengths_stay_apart() -> None:
    a, b = tokens_of([0.5], [1.0]), tokens_of([0.9, 0.8], [1.0, 0.0]).assign(decipherer="e")
    frame = calibration_error(pd.concat([a, b]))
    assert frame["decipherer"].tolist() == ["d", "e"]
    assert frame["length"].tolist() == [1, 2]
    assert len(reliability(pd.concat([a, b]))) == 3


def test_the_temper_of_text_that_is_the_model_is_one() -> None:
    """On text drawn from the model; 40 texts tell 1 from 0.3 and from 2."""
    text, _ = load_corpus("built-in").train.encode_joined(SIX)
    model = NGramModel.estimate([text[:20_000]], SIX, 3)
    corpus = list(model.sample(400, 5, np.random.default_rng(4)))
    settings = {"particles": 40, "islands": 2, "rounds": 1, "swaps": 20}
    best, frame = fit_temper(model, corpus, [12], 40, tempers=(0.3, 1.0, 2.0), **settings)
    assert best == 1.0
    assert frame["temper"].tolist() == [0.3, 1.0, 2.0]
    # A temper of 1 is the decipherer as it is.
    smc = {"smc": partial(make_decipherer, "smc", model, **settings)}
    alone = calibration_error(token_frame(contest(smc, corpus, SIX, [12], 40).read(token_rows)))
    assert alone["score"][0] == frame["score"][1]


def test_a_temper_must_be_tried() -> None:
    with pytest.raises(InputError, match="power"):
        fit_temper(NGramModel.estimate([[0, 1, 2, 3]], FOUR, 2), [], [4], tempers=())
