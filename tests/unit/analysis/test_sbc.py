from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.sbc import BINS, QUANTITIES, sbc, sbc_histogram, sbc_test
from ciphers import Alphabet, InputError, Key
from decipher import NGramModel
from decipher.posterior import KeyPosterior

FOUR = Alphabet("abcd", "four")


@pytest.fixture(scope="module")
def model() -> NGramModel:
    return NGramModel.estimate([np.array([0, 1, 0, 2, 0, 1, 3, 0, 1, 0] * 20, np.uint8)], FOUR, 2)


class Certain:
    """Says one key and no other, whatever the text."""

    def __init__(self, samples=((0, 1, 2, 3),)) -> None:
        self.samples = np.array(samples, np.uint8)

    def posteriors(self, ciphertext, lengths):
        count = len(self.samples)
        return [
            KeyPosterior(
                FOUR,
                np.eye(4),
                Key.identity(FOUR),
                np.unique(ciphertext[:n]),
                self.samples if count else None,
                np.full(count, 1 / count) if count else None,
            )
            for n in lengths
        ]


def test_one_row_a_replication_and_quantity(model) -> None:
    pits = sbc({"one": Certain(), "two": Certain()}, model, 8, 12)
    assert list(pits.columns) == ["decipherer", "replication", "quantity", "pit"]
    assert pits["decipherer"].tolist() == ["one"] * 36 + ["two"] * 36
    assert pits["quantity"].tolist() == list(QUANTITIES) * 24
    assert pits["pit"].between(0, 1).all()
    one, two = (pits[pits["decipherer"] == name]["pit"].to_numpy() for name in ("one", "two"))
    np.testing.assert_array_equal(one, two)


def test_ranks_below_at_and_above_the_truth(model) -> None:
    """The prior's keys, all of them: what a symbol stands for ranks as the letter does."""
    from itertools import permutations

    everything = Certain(list(permutations(range(4))))
    texts = []

    class Recorder(Certain):
        def posteriors(self, ciphertext, lengths):
            texts.append(np.array(ciphertext))
            return everything.posteriors(ciphertext, lengths)

    pits = sbc({"all": Recorder()}, model, 9, 400, seed=3)
    frequent = pits[pits["quantity"] == QUANTITIES[0]]["pit"]
    # A letter p has p / 4 of the prior below it and shares 1 / 4 with the ties.
    counts = np.histogram(frequent, 4, (0, 1))[0]
    shares = np.array([0.0, 0.0, 0.0, 0.0])
    for number in range(400):
        rng = np.random.SeedSequence(3, spawn_key=(0, 9, number)).spawn(2)[0]
        plain = model.sample(9, 1, np.random.default_rng(rng))[0]
        cipher = next(t for t in texts if same_repeats(t, plain))
        first = cipher.tolist().index(np.argmax(np.bincount(cipher)))
        shares[plain[first]] += 1
    np.testing.assert_allclose(counts, shares, atol=25)  # equal numbers of a letter may tie
    assert counts[0] > counts[3]


def same_repeats(a, b) -> bool:
    return len(a) == len(b) and len(set(zip(a, b, strict=True))) == len(set(a)) == len(set(b))


def test_the_same_seed_gives_the_same_ranks(model) -> None:
    one = sbc({"x": Certain()}, model, 8, 12, seed=5, jobs=1)
    two = sbc({"x": Certain()}, model, 8, 12, seed=5, jobs=2)
    more = sbc({"x": Certain()}, model, 8, 30, seed=5)
    pd.testing.assert_frame_equal(one, two)
    pd.testing.assert_frame_equal(one, more.iloc[: len(one)])
    assert not one.equals(sbc({"x": Certain()}, model, 8, 12, seed=6))


def pits_of(values) -> pd.DataFrame:
    return pd.DataFrame({"decipherer": "d", "quantity": "q", "pit": values})


def test_histogram_and_its_band() -> None:
    histogram = sbc_histogram(pits_of(np.linspace(0, 1, 400)))
    assert len(histogram) == BINS
    assert histogram["count"].tolist() == [20] * BINS
    assert histogram["low"].iloc[0] == 0.0
    assert histogram["high"].iloc[-1] == 1.0
    # Binomial(400, 1/20): mean 20, standard deviation 4.36.
    assert histogram["band_low"].iloc[0] == pytest.approx(20 - 2.576 * 4.36, abs=2)
    assert histogram["band_high"].iloc[0] == pytest.approx(20 + 2.576 * 4.36, abs=2)
    assert (histogram["p_value"] == 1.0).all()


def test_the_test_tells_uniform_from_skewed() -> None:
    u = np.random.default_rng(0).random(2000)
    assert sbc_test(pits_of(u))["p_value"][0] > 0.01
    assert sbc_test(pits_of(u**1.3))["p_value"][0] < 1e-4
    assert sbc_test(pits_of(u))["replications"].tolist() == [2000]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decipherers": {}}, "0 decipherers"),
        ({"length": 0}, "0 symbols"),
        ({"replications": 0}, "0 texts"),
        ({"decipherers": {"silent": Certain(np.empty((0, 4)))}}, "silent"),
    ],
)
def test_bad_input(model, change, message) -> None:
    arguments = {"decipherers": {"x": Certain()}, "model": model, "length": 8, "replications": 2}
    with pytest.raises(InputError, match=message):
        sbc(**(arguments | change))
