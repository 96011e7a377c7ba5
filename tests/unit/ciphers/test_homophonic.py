from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ciphers import LETTERS, LETTERS_SPACE, HomophonicKey, InputError
from ciphers.homophonic import ENGLISH_FREQUENCIES

ZODIAC_SYMBOLS = 54


def counts(key: HomophonicKey) -> np.ndarray:
    return np.array([len(key.homophones(p)) for p in range(key.alphabet.size)])


@given(st.integers(26, 500), st.integers(0, 99), st.lists(st.integers(0, 25), max_size=80))
def test_round_trip(symbols: int, seed: int, ids: list[int]) -> None:
    rng = np.random.default_rng(seed)
    key = HomophonicKey.random(LETTERS, symbols, rng)
    assert key.symbols == symbols
    for cipher in (key.encrypt(ids, rng), key.encrypt(ids, choice="cyclic")):
        assert cipher.dtype == np.uint16
        assert key.decrypt(cipher).tolist() == ids


@given(
    st.integers(0, 3000),
    st.lists(st.floats(0, 1e6), min_size=26, max_size=26).filter(lambda w: sum(w) > 0),
)
def test_homophones_follow_the_frequencies(extra: int, weights: list[float]) -> None:
    symbols = 26 + extra
    key = HomophonicKey.random(LETTERS, symbols, np.random.default_rng(0), weights)
    given_ = counts(key)
    assert given_.sum() == symbols
    assert given_.min() >= 1
    order = np.argsort(weights, kind="stable")
    heavier = np.diff(np.array(weights)[order]) > 0
    assert (np.diff(given_[order])[heavier] >= 0).all()
    # Proportion: among letters with two or more, no count is a whole seat from its quota.
    shared = given_ >= 2
    quotas = np.array(weights) / max(np.array(weights)[shared].sum(), 1e-300) * given_[shared].sum()
    assert (np.abs(given_ - quotas)[shared] < 2).all()


def test_zodiac_sized_key() -> None:
    key = HomophonicKey.random(LETTERS, ZODIAC_SYMBOLS, np.random.default_rng(0))
    by_letter = dict(zip(LETTERS.symbols, counts(key).tolist(), strict=True))
    quota = 54 * ENGLISH_FREQUENCIES[4] / 100
    assert abs(by_letter["e"] - quota) <= 1
    assert by_letter["e"] == max(by_letter.values())
    assert by_letter["z"] == by_letter["q"] == by_letter["j"] == 1


def test_frequencies_are_of_english() -> None:
    assert len(ENGLISH_FREQUENCIES) == 26
    assert sum(ENGLISH_FREQUENCIES) == pytest.approx(100, abs=0.1)
    order = sorted(LETTERS.symbols, key=lambda s: -ENGLISH_FREQUENCIES[LETTERS.index(s)])
    assert "".join(order) == "etaoinsrhldcumfpgwybvkxjqz"


def test_uniform_frequencies_for_other_alphabets() -> None:
    key = HomophonicKey.random(LETTERS_SPACE, 54, np.random.default_rng(0))
    assert counts(key).tolist() == [2] * 27


def test_cyclic_takes_turns() -> None:
    # a: 1, 3, 4; b: 0, 2
    key = HomophonicKey(LETTERS, np.array([1, 0, 1, 0, 0]))
    cipher = key.encrypt(LETTERS.encode("abaabaab"), choice="cyclic")
    assert cipher.tolist() == [1, 0, 3, 4, 2, 1, 3, 0]


def test_uniform_choice_is_uniform() -> None:
    """A chi-square test on a fixed seed; false alarm for one seed in 10,000."""
    key = HomophonicKey(LETTERS, np.array([0, 1, 0, 1, 0, 0, 0]))
    cipher = key.encrypt(np.zeros(20_000, dtype=int), np.random.default_rng(7))
    seen = np.bincount(cipher, minlength=7)
    assert seen[[1, 3]].tolist() == [0, 0]
    assert stats.chisquare(seen[key.homophones(0)]).pvalue > 1e-4


def test_same_seed_same_ciphertext() -> None:
    def draw() -> list[int]:
        rng = np.random.default_rng(5)
        key = HomophonicKey.random(LETTERS, 60, rng)
        return key.encrypt(LETTERS.encode("some plain text"), rng).tolist()

    assert draw() == draw()


def test_many_symbols() -> None:
    rng = np.random.default_rng(0)
    key = HomophonicKey.random(LETTERS, 65_535, rng)
    ids = rng.integers(0, 26, 10_000)
    np.testing.assert_array_equal(key.decrypt(key.encrypt(ids, rng)), ids)


def test_a_letter_without_homophone_is_named() -> None:
    key = HomophonicKey(LETTERS, np.array([0, 1, 1]))
    assert key.decrypt([0, 2]).tolist() == [0, 1]
    with pytest.raises(InputError, match="no homophone for 'cz'"):
        key.encrypt(LETTERS.encode("abcz"), choice="cyclic")


def test_equal_keys() -> None:
    key = HomophonicKey(LETTERS, np.array([0, 1, 1]))
    assert key == HomophonicKey(LETTERS, np.array([0, 1, 1]))
    assert hash(key) == hash(HomophonicKey(LETTERS, np.array([0, 1, 1])))
    assert key != HomophonicKey(LETTERS, np.array([0, 1, 0]))
    with pytest.raises(ValueError, match="read-only"):
        key.mapping[0] = 1


def test_bad_input() -> None:
    rng = np.random.default_rng(0)
    key = HomophonicKey.random(LETTERS, 54, rng)
    for symbols in (25, 0, -1, 65_536):
        with pytest.raises(InputError, match="take 26 to 65535"):
            HomophonicKey.random(LETTERS, symbols, rng)
    for frequencies in ([1.0], [-1.0] * 26, [0.0] * 26, [float("nan")] * 26):
        with pytest.raises(InputError, match="frequencies must be 26 numbers"):
            HomophonicKey.random(LETTERS, 54, rng, frequencies)
    with pytest.raises(InputError, match="give it an rng"):
        key.encrypt([0])
    with pytest.raises(InputError, match="'uniform' or 'cyclic'"):
        key.encrypt([0], choice="sideways")  # type: ignore[arg-type]
    with pytest.raises(InputError):
        key.encrypt([26], rng)
    with pytest.raises(InputError):
        key.encrypt([[0]], rng)
    with pytest.raises(InputError):
        key.decrypt([54])
    for mapping in ([], [[0]], [26], np.zeros(65_536, dtype=int)):
        with pytest.raises(InputError):
            HomophonicKey(LETTERS, np.array(mapping))
