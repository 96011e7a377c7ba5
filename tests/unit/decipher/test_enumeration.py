from __future__ import annotations

from itertools import permutations
from math import exp, factorial, log, perm

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ciphers import LETTERS, Alphabet, InputError, Key
from decipher import NGramModel
from decipher.exact import enumeration
from decipher.exact.enumeration import EnumerationDecipherer, enumerate_keys


class Urn:
    """Each symbol drawn makes itself likelier for the rest of the text (Polya's urn), and the first
    symbol of the text its successor: the next symbol depends on the whole history."""

    def __init__(self, alphabet, start) -> None:
        self.alphabet = alphabet
        self.start = np.asarray(start, float)

    def weights(self, history):
        weights = self.start.copy()
        for symbol in history:
            weights[symbol] += 1
        if len(history):
            weights[(history[0] + 1) % len(weights)] += 0.5
        return weights

    def log_prob(self, ids):
        ids = np.asarray(ids)
        return np.take_along_axis(
            self.log_conditionals(ids)[..., :-1, :], ids[..., None].astype(int), -1
        )[..., 0]

    def log_conditionals(self, ids):
        ids = np.asarray(ids)
        out = np.empty((*ids.shape[:-1], ids.shape[-1] + 1, self.alphabet.size))
        for place in np.ndindex(*ids.shape[:-1]):
            for i in range(ids.shape[-1] + 1):
                weights = self.weights(ids[place][:i])
                with np.errstate(divide="ignore"):  # log 0 where a symbol cannot come
                    out[(*place, i)] = np.log(weights / weights.sum())
        return out


def prob(model, plain) -> float:
    """p of one text, symbol by symbol."""
    if isinstance(model, Urn):
        p = 1.0
        for i, symbol in enumerate(plain):
            weights = model.weights(plain[:i])
            p *= weights[symbol] / weights.sum()
        return p
    return exp(model.log_prob(np.array(plain, np.uint8)).sum()) if plain else 1.0


class Naive:
    """The mixture over all V! keys as the formula reads, for one prefix."""

    def __init__(self, model, prefix, known=None) -> None:
        size = model.alphabet.size
        prefix = [int(c) for c in prefix]
        agree = [
            key
            for key in permutations(range(size))
            if all(key[c] == p for c, p in (known or {}).items())
        ]
        probs = [prob(model, [key[c] for c in prefix]) for key in agree]
        self.evidence = sum(probs) / len(agree)
        self.posterior = {key: p / sum(probs) for key, p in zip(agree, probs, strict=True)}
        self.predictive = [
            sum(prob(model, [key[c] for c in [*prefix, following]]) for key in agree) / sum(probs)
            for following in range(size)
        ]
        self.marginals = np.zeros((size, size))
        for key, p in self.posterior.items():
            for cipher, plain in enumerate(key):
                self.marginals[cipher, plain] += p


def urn(size) -> Urn:
    return Urn(Alphabet("abcdefgh"[:size]), np.random.default_rng(size).gamma(0.5, 2, size))


@pytest.fixture
def model_of(markov_texts, alphabet_of):
    def build(kind, size):
        if kind == "urn":
            return urn(size)
        return NGramModel.estimate(markov_texts(size, [300], kind), alphabet_of(size), kind)

    return build


CASES = [
    # What the model is (the order of an n-gram model), V, known, ciphertext.
    (2, 3, {}, [2, 2, 0, 1, 0, 0]),
    (3, 3, {}, [0, 1, 0, 1, 1]),
    (3, 3, {1: 0}, [2, 1, 2, 2]),
    (1, 4, {}, [3, 1, 3, 3]),
    (2, 4, {}, [0]),
    (2, 4, {}, [3, 3, 1, 2, 1, 0]),
    (3, 4, {0: 2}, [2, 2, 0, 1, 0]),
    (3, 4, {0: 2, 3: 3}, [2, 2, 2]),
    (2, 4, {0: 2, 1: 3}, [0, 1, 1]),  # nothing is open that the text holds
    (2, 4, {0: 2, 1: 3, 2: 0, 3: 1}, [3, 0, 1]),
    (3, 5, {}, [4, 1, 4, 0, 1]),
    (2, 5, {}, [4, 0, 1, 3, 2, 2]),
    (3, 5, {4: 0, 2: 4}, [4, 1, 3, 1, 4]),
    ("urn", 3, {}, [0, 0, 2, 0, 1]),
    ("urn", 4, {}, [3, 1, 3, 3, 1]),
    ("urn", 5, {2: 2}, [4, 1, 4, 2]),
]


@pytest.mark.parametrize(("kind", "size", "known", "ciphertext"), CASES)
def test_every_prefix_is_as_over_all_keys(kind, size, known, ciphertext, model_of) -> None:
    model = model_of(kind, size)
    lengths = list(range(1, len(ciphertext) + 1))
    found = enumerate_keys(model, ciphertext, known, lengths)
    for i in range(len(ciphertext) + 1):
        naive = Naive(model, ciphertext[:i], known)
        assert found.log_evidence[i] == pytest.approx(log(naive.evidence), abs=1e-10)
        np.testing.assert_allclose(found.predictive[i], naive.predictive, rtol=1e-9)
        np.testing.assert_allclose(found.marginals[i], naive.marginals, rtol=1e-9)
    assert found.log_evidence[0] == 0
    assert found.lengths == tuple(lengths)
    # Each key found stands for as many keys of the whole as every other.
    share = perm(size - len(known), size - len(known)) / len(found.keys)
    for row, i in zip(found.log_posterior, lengths, strict=True):
        posterior = Naive(model, ciphertext[:i], known).posterior
        expected = [share * posterior[tuple(key)] for key in found.keys.tolist()]
        np.testing.assert_allclose(np.exp(row), expected, rtol=1e-9)


@pytest.mark.parametrize(("kind", "size", "known", "ciphertext"), CASES)
def test_posteriors_of_the_prefixes(kind, size, known, ciphertext, model_of) -> None:
    model = model_of(kind, size)
    lengths = [len(ciphertext), *range(1, len(ciphertext))]  # in no order
    posteriors = EnumerationDecipherer(model, known).posteriors(ciphertext, lengths)
    for n, p in zip(lengths, posteriors, strict=True):
        prefix = np.array(ciphertext[:n], np.uint8)
        naive = Naive(model, prefix, known)
        assert p.log_evidence == pytest.approx(log(naive.evidence), abs=1e-10)
        np.testing.assert_allclose(p.marginals, naive.marginals, rtol=1e-9)
        np.testing.assert_allclose(p.marginals.sum(axis=0), 1, atol=1e-12)
        np.testing.assert_allclose(p.marginals.sum(axis=1), 1, atol=1e-12)
        assert p.seen.tolist() == sorted(set(prefix.tolist()))
        unseen = np.setdiff1d(np.arange(size), [*p.seen, *known])
        assert (p.marginals[unseen] == p.marginals[unseen[:1]]).all()
        best = max(prob(model, [key[c] for c in prefix]) for key in naive.posterior)
        assert p.map_log_prob == pytest.approx(log(best), abs=1e-10)
        assert prob(model, p.map_key.decrypt(prefix).tolist()) == pytest.approx(best)
        assert all(p.map_key.decrypt([c])[0] == plain for c, plain in known.items())
        assert (np.sort(p.samples, axis=1) == np.arange(size)).all()
        assert p.weights.sum() == pytest.approx(1, abs=1e-12)
        # The samples are the distinct decryptions of the prefix, each once.
        by_decryption: dict[bytes, float] = {}
        for key, weight in naive.posterior.items():
            reading = np.array(key, np.uint8)[prefix].tobytes()
            by_decryption[reading] = by_decryption.get(reading, 0) + weight
        assert p.info["keys"] == len(p.samples) == len(by_decryption)
        for key, weight in zip(p.samples, p.weights, strict=True):
            assert weight == pytest.approx(by_decryption.pop(key[prefix].tobytes()), rel=1e-9)


# --- identities ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seven(markov_texts, alphabet_of):
    """A trigram model over seven symbols, and a text of its kind with the key."""
    documents = markov_texts(7, [900, 150], 3)
    model = NGramModel.estimate(documents[:1], alphabet_of(7), 3)
    return model, documents[1], Key.random(model.alphabet, np.random.default_rng(0))


def test_chain_rule_and_sums(seven) -> None:
    model, plain, key = seven
    ciphertext = key.encrypt(plain)
    found = enumerate_keys(model, ciphertext, {int(key.mapping[0]): 0})
    steps = np.log(found.predictive[np.arange(len(plain)), ciphertext])
    np.testing.assert_allclose(np.diff(found.log_evidence), steps, atol=1e-10)
    # As exactly as the rows of the model's table, in single precision, sum to 1.
    np.testing.assert_allclose(found.predictive.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(found.marginals.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(found.marginals.sum(axis=2), 1, atol=1e-12)
    np.testing.assert_allclose(np.exp(found.log_posterior).sum(axis=1), 1, atol=1e-12)
    assert found.marginals[-1][key.mapping, np.arange(7)].min() > 0.99  # the key was found


@pytest.mark.parametrize("batch", [1, 7, 720, 5039, 5040, 10**6])
def test_borders_of_batches_do_not_matter(batch, seven) -> None:
    model, plain, _ = seven
    text = plain[:30] if batch == 1 else plain
    one = enumerate_keys(model, text, lengths=[5, 30])
    other = enumerate_keys(model, text, lengths=[5, 30], batch=batch)
    for name in ("log_evidence", "predictive", "marginals", "log_posterior"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-9, atol=1e-300)
    np.testing.assert_array_equal(one.keys, other.keys)


def test_the_best_key_first_or_last(seven) -> None:
    """The running scale follows the best key, wherever it comes: here 1,000 nats above others."""
    model, plain, _ = seven
    first_seen = list(dict.fromkeys(plain.tolist()))
    text = np.argsort(first_seen)[np.tile(plain, 6)].astype(np.uint8)
    log_evidence = []
    for names, place in ((np.arange(7), 0), (np.arange(7)[::-1], -1)):
        renamed = NGramModel.estimate([names[text]], model.alphabet, 3)
        found = enumerate_keys(renamed, text, batch=100)
        assert np.ptp(found.log_posterior) > 1000
        assert found.log_posterior[0].max() == found.log_posterior[0, place]
        assert (found.keys[place] == names).all()
        log_evidence.append(found.log_evidence[-1])
        assert found.log_evidence[-1] + log(factorial(7)) == pytest.approx(
            renamed.log_prob(names[text]).sum(), abs=1e-6
        )
    assert log_evidence[0] == pytest.approx(log_evidence[1], abs=1e-2)


@pytest.mark.parametrize("known", [{}, {3: 1}])
def test_renaming_the_cipher_symbols(known, seven) -> None:
    model, plain, _ = seven
    text = plain[plain < 6][:60]  # one symbol does not occur
    names = np.random.default_rng(5).permutation(7)
    one = enumerate_keys(model, text, known)
    other = enumerate_keys(model, names[text], {int(names[c]): p for c, p in known.items()})
    np.testing.assert_allclose(other.log_evidence, one.log_evidence, atol=1e-10)
    np.testing.assert_allclose(other.marginals[:, names], one.marginals, rtol=1e-9, atol=1e-300)
    np.testing.assert_allclose(other.predictive[:, names], one.predictive, rtol=1e-9)


texts_of_a_chain = st.tuples(
    st.integers(2, 6), st.integers(1, 3), st.integers(1, 60), st.integers(0, 2**32 - 1)
)


@given(texts_of_a_chain)
def test_the_mixture_pays_at_most_the_log_of_the_number_of_keys(markov_texts, case) -> None:
    """log p(x) - log p'(x) <= log V! for every text and every prefix; and, sharper, the log of the
    number of ways to decrypt the prefix."""
    size, order, length, seed = case
    plain, corpus = markov_texts(size, [length, 50], seed)
    model = NGramModel.estimate([corpus], Alphabet("abcdef"[:size]), order)
    key = Key.random(model.alphabet, np.random.default_rng(seed))
    found = enumerate_keys(model, key.encrypt(plain))
    regret = np.concatenate([[0], np.cumsum(model.log_prob(plain))]) - found.log_evidence
    seen = np.array([len(set(plain[:i].tolist())) for i in range(length + 1)])
    assert (regret <= np.log([perm(size, s) for s in seen]) + 1e-9).all()
    assert (regret <= log(factorial(size)) + 1e-9).all()


# --- many symbols, few of them in the text ------------------------------------------------------


def test_four_symbols_of_26_letters(passage) -> None:
    """358,800 decryptions. Under order 1 each is the product of its letters' probabilities."""
    model = NGramModel.estimate([LETTERS.encode(passage)], LETTERS, 1)
    text = np.array([7, 3, 3, 20, 11], np.uint8)
    found = enumerate_keys(model, text)
    assert len(found.keys) == 26 * 25 * 24 * 23
    p = model.conditional([])
    a, b, c, d = (p.reshape(np.roll([26, 1, 1, 1], i)) for i in range(4))
    joint = a * b**2 * c * d
    index = np.indices(joint.shape, sparse=True)
    for i in range(4):
        for j in range(i):
            joint = np.where(index[i] == index[j], 0, joint)
    assert found.log_evidence[-1] == pytest.approx(log(joint.sum() / perm(26, 4)), abs=1e-10)
    np.testing.assert_allclose(
        found.marginals[-1, 3], joint.sum(axis=(0, 2, 3)) / joint.sum(), rtol=1e-9
    )
    np.testing.assert_allclose(found.marginals[-1].sum(axis=0), 1, atol=1e-12)
    with pytest.raises(InputError, match="5 cipher symbols can stand for 26 letters in 7,893,600"):
        enumerate_keys(model, [0, 1, 2, 3, 4])
    known = {5: 0, 6: 1}
    with pytest.raises(InputError, match=r"24 letters in 5,100,480 ways.*'smc'"):
        enumerate_keys(model, [0, 1, 5, 6, 2, 3, 4], known)
    assert len(enumerate_keys(model, [0, 1, 5, 6], known).keys) == 24 * 23


def test_a_short_prefix_of_a_text_too_rich(passage) -> None:
    model = NGramModel.estimate([LETTERS.encode(passage)], LETTERS, 2)
    text = np.arange(26).repeat(2)
    p = EnumerationDecipherer(model).posteriors(text, [3, 1])
    assert [q.info["keys"] for q in p] == [26 * 25, 26]
    assert EnumerationDecipherer(model).posteriors(text, []) == []


# --- corners ------------------------------------------------------------------------------------


def test_equally_probable_keys() -> None:
    """Of equals the first, by the symbols as they come in the text; the rest in order."""
    model = Urn(Alphabet("abcd"), [1, 1, 1, 1])
    model.weights = lambda history: model.start
    p = EnumerationDecipherer(model).posteriors([2, 0, 2], [1, 3])
    for q in p:
        assert q.map_key.decrypt([2, 0, 1, 3]).tolist() == [0, 1, 2, 3]
        assert q.marginals == pytest.approx(1 / 4)
    assert p[1].log_evidence == pytest.approx(-3 * log(4))


def test_negligible_keys_are_left_out(seven) -> None:
    model, plain, key = seven
    (p,) = EnumerationDecipherer(model).posteriors(key.encrypt(plain), [len(plain)])
    assert p.info["keys"] == 5040
    assert len(p.samples) < 500
    assert p.weights.min() >= enumeration.NEGLIGIBLE
    assert p.weights.sum() == pytest.approx(1, abs=1e-12)
    assert p.map_key == key
    assert (p.samples[p.weights.argmax()] == key.inverse.mapping).all()
    assert p.credible_keys(0.5)[0][0] == key


def test_the_share_below_which_keys_are_left_out(monkeypatch, model_of) -> None:
    """It is the share of a decryption of the prefix, however many keys give it; the shares of the
    others are scaled to sum to 1."""
    model, text = model_of(2, 5), np.array([4, 1, 4, 0, 1, 2, 3], np.uint8)
    decipherer = EnumerationDecipherer(model)
    (whole,) = decipherer.posteriors(text, [2, 7])[:1]
    least = float(np.median(whole.weights))
    monkeypatch.setattr(enumeration, "NEGLIGIBLE", least)
    (part,) = decipherer.posteriors(text, [2, 7])[:1]
    kept = whole.weights >= least
    assert whole.info["keys"] == part.info["keys"] == len(kept) == 20
    assert 0 < kept.sum() < 20
    np.testing.assert_array_equal(part.samples, whole.samples[kept])
    np.testing.assert_allclose(part.weights, whole.weights[kept] / whole.weights[kept].sum())


def test_symbols_that_cannot_come() -> None:
    """Probability 0 under some keys, also under all of the first batch, is no trouble; under every
    key it is an error."""
    alphabet = Alphabet("abc")
    model = Urn(alphabet, [0, 1, 2])  # "a" cannot come, unless it is the successor of the first
    model.weights = lambda history: model.start
    found = enumerate_keys(model, [0, 0, 1], batch=1)
    naive = Naive(model, [0, 0, 1])
    assert found.log_evidence[-1] == pytest.approx(log(naive.evidence))
    np.testing.assert_allclose(found.marginals[-1], naive.marginals, atol=1e-15)
    np.testing.assert_allclose(found.predictive[-1], naive.predictive, atol=1e-15)
    assert found.marginals[-1, 2].tolist() == [1, 0, 0]
    with pytest.raises(InputError, match="probability 0 under every key"):
        enumerate_keys(model, [0, 1, 2])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ciphertext": []}, "empty"),
        ({"ciphertext": [0, 7]}, "out of range"),
        ({"ciphertext": [[0, 1]]}, "one row"),
        ({"ciphertext": 1}, "one row"),
        ({"lengths": [0]}, "no prefix of 0"),
        ({"lengths": [2, 4]}, "no prefix of 4"),
        ({"known": {0: 1, 1: 1}}, "contradict"),
        ({"batch": 0}, "batch must be at least 1"),
    ],
)
def test_bad_input(change, says, seven) -> None:
    with pytest.raises(InputError, match=says):
        enumerate_keys(seven[0], **{"ciphertext": [0, 1, 2], **change})


def test_bad_known_letters_are_refused_at_once(seven) -> None:
    with pytest.raises(InputError, match="contradict"):
        EnumerationDecipherer(seven[0], {0: 1, 1: 1})
