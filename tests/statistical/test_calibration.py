"""Whether the methods sample the posterior they claim to: simulation-based calibration over six
letters, which enumeration can do too."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import pytest

from analysis.sbc import QUANTITIES, sbc, sbc_test
from ciphers import Alphabet, Key, load_corpus
from decipher import NGramModel, make_decipherer
from decipher.posterior import KeyPosterior

SIX = Alphabet("etaoin", "six-letters")
LENGTH = 12
SETTINGS = {"particles": 100, "islands": 2, "rounds": 1, "swaps": 20}

#: Each of the 3 quantities of the 2 methods gets a sixth of 1 %: so often a sound method fails.
LEVEL = 0.01 / 6


@pytest.fixture(scope="module")
def model() -> NGramModel:
    text, _ = load_corpus("built-in").train.encode_joined(SIX)
    return NGramModel.estimate([text], SIX, order=3)


@dataclass
class Prior:
    """Knows nothing: 200 keys as they are before the text is read."""

    rng: np.random.Generator

    def posteriors(self, ciphertext, lengths):
        samples = self.rng.permuted(np.tile(np.arange(6, dtype=np.uint8), (200, 1)), axis=1)
        return [
            KeyPosterior(
                SIX,
                np.full((6, 6), 1 / 6),
                Key.identity(SIX),
                np.unique(ciphertext[:length]).astype(np.intp),
                samples,
                np.full(200, 1 / 200),
            )
            for length in lengths
        ]


def p_values(pits: pd.DataFrame) -> pd.Series:
    return sbc_test(pits).set_index("quantity")["p_value"]


def test_enumeration_is_exact(model) -> None:
    exact = {"enumerate": partial(make_decipherer, "enumerate", model)}
    found = p_values(sbc(exact, model, LENGTH, 2000, seed=1))
    assert found.index.tolist() == list(QUANTITIES)
    assert (found > LEVEL).all()


def test_smc_samples_the_posterior(model) -> None:
    smc = {"smc": partial(make_decipherer, "smc", model, **SETTINGS)}
    assert (p_values(sbc(smc, model, LENGTH, 1000, seed=2)) > LEVEL).all()


def test_a_sampler_of_another_posterior_is_caught(model) -> None:
    """It trusts the model half as much as it should: the true key makes the text more probable
    than its keys do. The test of a sound one has p < 1e-4 for 1 seed in 10,000."""
    tempered = {"tempered": partial(make_decipherer, "smc", model, temper=0.5, **SETTINGS)}
    assert p_values(sbc(tempered, model, LENGTH, 300, seed=3))["log likelihood"] < 1e-4


def test_a_sampler_of_the_prior_is_caught_by_the_log_likelihood(model) -> None:
    """The letters alone do not show it: the prior's, averaged over texts, are as the truth's. The
    log likelihood sees the text."""
    found = p_values(sbc({"prior": Prior}, model, LENGTH, 1000, seed=4))
    assert found["log likelihood"] < 1e-4
