from __future__ import annotations

import numpy as np
import pytest

import decipher
from ciphers import Alphabet, InputError
from decipher import FrequencyDecipherer, NGramDecipherer, NGramModel, make_decipherer

FIVE = Alphabet("abcde")


@pytest.fixture(scope="module")
def model() -> NGramModel:
    """d is the most frequent, then b, a, e, c."""
    return NGramModel.estimate([np.repeat([3, 1, 0, 4, 2], [9, 7, 5, 3, 1])], FIVE, 2)


def test_rank_matching(model) -> None:
    ciphertext = [4, 4, 4, 4, 0, 0, 0, 1, 1, 2, 2, 3]
    whole, start = FrequencyDecipherer(model).posteriors(ciphertext, [12, 5])
    # Symbols 1 and 2 occur twice each: the smaller goes first.
    assert whole.map_key.decrypt([4, 0, 1, 2, 3]).tolist() == [3, 1, 0, 4, 2]
    assert start.map_key.decrypt([4, 0, 1, 2, 3]).tolist() == [3, 1, 0, 4, 2]
    assert start.seen.tolist() == [0, 4]
    assert whole.seen.tolist() == [0, 1, 2, 3, 4]
    assert whole.marginals.tolist() == np.eye(5)[[1, 0, 4, 2, 3]].tolist()
    plain = whole.map_key.decrypt(ciphertext)
    assert whole.map_log_prob == pytest.approx(model.log_prob(plain).sum())
    assert start.map_log_prob == pytest.approx(model.log_prob(plain[:5]).sum())
    assert whole.expected_accuracy(ciphertext) == 1
    assert whole.samples is None
    assert whole.log_evidence is None


def test_rank_matching_keeps_known_letters(model) -> None:
    decipherer = FrequencyDecipherer(model, {4: 2, 3: 3})
    p = decipherer.posteriors([4, 4, 4, 0, 0, 1], [6])[0]
    assert p.map_key.decrypt([0, 1, 2, 3, 4]).tolist() == [1, 0, 4, 3, 2]
    with pytest.raises(InputError, match="contradict"):
        FrequencyDecipherer(model, {0: 1, 2: 1}).posteriors([0], [1])


def test_methods_by_name(model) -> None:
    rng = np.random.default_rng(0)
    search = make_decipherer("ngram", model, rng=rng, known={0: 1}, hits=3, steps=5)
    assert isinstance(search, NGramDecipherer)
    assert (search.hits, search.steps, search.known, search.rng) == (3, 5, {0: 1}, rng)
    ranks = make_decipherer("frequency", model, rng=rng, known={0: 1})
    assert isinstance(ranks, FrequencyDecipherer)
    assert ranks.known == {0: 1}
    for method in (search, ranks):
        p = method.posteriors([0, 0, 1, 2], [4])[0]
        assert p.map_key.decrypt([0]).tolist() == [1]


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("oracle", {}, "'oracle': choose one of smc, tempering, enumerate"),
        ("ngram", {"particles": 5}, "has no setting"),
        ("frequency", {"starts": 5}, "has no setting"),
        ("ngram", {"starts": 0}, "starts must be at least 1"),
        ("ngram", {"hits": -1}, "hits must be at least 1"),
        ("ngram", {"population": 0}, "population must be at least 1"),
        ("ngram", {"steps": 0}, "steps must be at least 1"),
        ("ngram", {"known": {0: 1, 1: 1}}, "contradict"),
        ("ngram", {"known": {0: 7}}, "out of range"),
    ],
)
def test_unknown_methods_and_settings(name, options, says, model) -> None:
    with pytest.raises(InputError, match=says):
        make_decipherer(name, model, rng=np.random.default_rng(0), **options)


def test_the_package_gives_its_names_when_asked() -> None:
    for name in decipher.__all__:
        assert getattr(decipher, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Oracle'"):
        _ = decipher.Oracle
