from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.certificates import certificates, lower_order
from analysis.intervals import wilson_interval
from ciphers import Alphabet, InputError, Key
from decipher import NGramModel
from decipher.posterior import KeyPosterior

FOUR = Alphabet("abcd", "four")
TEXT = np.random.default_rng(0).integers(4, size=600).astype(np.uint8)


@pytest.fixture(scope="module")
def model() -> NGramModel:
    return NGramModel.estimate([TEXT], FOUR, 4)


class Prover:
    """Proves the keys of texts whose first symbol is a cipher a or b; else leaves 2 bits."""

    def posteriors(self, ciphertext, lengths):
        certified = ciphertext[0] < 2
        info = {"certified": certified, "gap": 0.0 if certified else 2 * math.log(2)}
        return [
            KeyPosterior(FOUR, np.eye(4), Key.identity(FOUR), np.unique(ciphertext[:n]), info=info)
            for n in lengths
        ]


def test_the_share_with_a_proof_and_the_gap_of_the_rest(model) -> None:
    frame = certificates(Prover(), model, [TEXT], [8, 16], 40)
    assert frame["length"].tolist() == [8, 16]
    assert frame["ciphers"].tolist() == [40, 40]
    for row in frame.itertuples():
        certified = round(row.certified_rate * 40)
        assert 8 < certified < 32
        assert (row.certified_rate_low, row.certified_rate_high) == wilson_interval(certified, 40)
        assert row.gap == row.gap_low == row.gap_high == pytest.approx(2.0)
        assert row.seconds > 0


def test_no_gap_where_all_is_proven(model) -> None:
    class Sure(Prover):
        def posteriors(self, ciphertext, lengths):
            return super().posteriors(np.zeros_like(ciphertext), lengths)

    (row,) = certificates(Sure(), model, [TEXT], [8], 5).itertuples()
    assert row.certified_rate == 1.0
    assert math.isnan(row.gap)
    assert math.isnan(row.gap_low)


def test_a_lower_order_of_the_same_text(model) -> None:
    trigrams = NGramModel.estimate([TEXT], FOUR, 3)
    assert lower_order(model).hash == trigrams.hash
    assert lower_order(trigrams) is trigrams


def test_no_lower_order_without_counts(model, tmp_path) -> None:
    model.to_arpa(tmp_path / "four.arpa")
    with pytest.raises(InputError, match="ARPA"):
        lower_order(NGramModel.from_arpa(tmp_path / "four.arpa", FOUR))
