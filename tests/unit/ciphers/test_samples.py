from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from scipy import stats

from ciphers import (
    ASCII,
    LETTERS,
    LETTERS_SPACE,
    Corpus,
    Document,
    InputError,
    Key,
    cryptograms,
    load_corpus,
    stream,
)
from ciphers.samples import STREAM_BLOCK


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load_corpus("built-in")


@pytest.mark.parametrize("alphabet", [LETTERS, LETTERS_SPACE, ASCII])
def test_samples_are_encryptions_of_windows_of_the_split(corpus, alphabet) -> None:
    batch = cryptograms(corpus.test, alphabet, 100, 50, np.random.default_rng(0))
    assert batch.ciphertext.shape == batch.plaintext.shape == (50, 100)
    assert batch.keys.shape == (50, alphabet.size)
    assert batch.ciphertext.dtype == batch.plaintext.dtype == batch.keys.dtype == np.uint8
    assert len(batch) == 50
    texts = [alphabet.normalise(d.text) for d in corpus.test.documents]
    for cryptogram in batch:
        assert cryptogram.alphabet == alphabet
        np.testing.assert_array_equal(
            cryptogram.key.encrypt(cryptogram.plaintext), cryptogram.ciphertext
        )
        window = alphabet.decode(cryptogram.plaintext)
        assert any(window in text for text in texts)
    assert len({key.tobytes() for key in batch.keys}) == 50


def test_indexing(corpus) -> None:
    batch = cryptograms(corpus, LETTERS, 10, 3, np.random.default_rng(0))
    np.testing.assert_array_equal(batch[-1].ciphertext, batch.ciphertext[2])
    assert batch[1].key == Key(LETTERS, batch.keys[1])
    with pytest.raises(IndexError):
        batch[3]


def test_same_seed_same_batch(corpus) -> None:
    one, two, other = (
        cryptograms(corpus.train, LETTERS, 64, 20, np.random.default_rng(seed))
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(one.ciphertext, two.ciphertext)
    np.testing.assert_array_equal(one.keys, two.keys)
    assert not np.array_equal(one.plaintext, other.plaintext)


def test_fixed_symbols_stay(corpus) -> None:
    batch = cryptograms(corpus, LETTERS_SPACE, 64, 20, np.random.default_rng(0), fixed=" ")
    np.testing.assert_array_equal(batch.ciphertext == 26, batch.plaintext == 26)


def test_windows_are_uniform_over_positions_and_never_cross_a_border() -> None:
    """Every start of every long enough document, equally often.

    A chi-square test on a fixed seed; false alarm for one seed in 10,000.
    """
    lengths = [5, 2, 3, 0, 9]
    documents = [np.arange(n, dtype=np.uint8) + 10 * (i + 1) for i, n in enumerate(lengths)]
    batch = cryptograms(documents, ASCII, 3, 22_000, np.random.default_rng(11))
    starts = batch.plaintext[:, 0]
    np.testing.assert_array_equal(batch.plaintext, starts[:, None] + np.arange(3))
    expected = [10, 11, 12, 30, *range(50, 57)]
    values, seen = np.unique(starts, return_counts=True)
    assert values.tolist() == expected
    assert stats.chisquare(seen).pvalue > 1e-4


def test_a_corpus_is_encoded_once(corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    train = corpus.train
    cryptograms(train, LETTERS, 10, 1, np.random.default_rng(0))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(type(LETTERS), "encode", refuse)
    cryptograms(train, LETTERS, 10, 1, np.random.default_rng(0))


def test_a_document_just_long_enough() -> None:
    corpus = Corpus("c", (Document("short", "abc"), Document("long", "a b c d e")))
    batch = cryptograms(corpus, LETTERS, 5, 4, np.random.default_rng(0))
    assert {LETTERS.decode(row) for row in batch.plaintext} == {"abcde"}
    with pytest.raises(InputError, match=r"no document has 6 symbols \(the longest has 5\)"):
        cryptograms(corpus, LETTERS, 6, 4, np.random.default_rng(0))


def test_no_cryptograms_is_an_empty_batch(corpus) -> None:
    batch = cryptograms(corpus, LETTERS, 5, 0, np.random.default_rng(0))
    assert batch.ciphertext.shape == (0, 5)
    assert list(batch) == []


@pytest.mark.parametrize(("length", "count"), [(0, 1), (-5, 1), (5, -1)])
def test_senseless_sizes(corpus, length: int, count: int) -> None:
    with pytest.raises(InputError):
        cryptograms(corpus, LETTERS, length, count, np.random.default_rng(0))


def test_wrong_ids_are_refused() -> None:
    with pytest.raises(InputError, match="id 26 is out of range"):
        cryptograms([np.full(9, 26, dtype=np.uint8)], LETTERS, 5, 2, np.random.default_rng(0))
    with pytest.raises(InputError, match="at least one"):
        cryptograms([], LETTERS, 5, 2, np.random.default_rng(0))


def test_stream_goes_on_and_repeats_with_its_seed(corpus) -> None:
    def take(seed: int) -> list[bytes]:
        cryptograms_ = stream(corpus.test, LETTERS, 30, np.random.default_rng(seed))
        return [c.ciphertext.tobytes() for c in islice(cryptograms_, STREAM_BLOCK + 6)]

    assert take(0) == take(0) != take(1)
    assert len(set(take(0))) == STREAM_BLOCK + 6
