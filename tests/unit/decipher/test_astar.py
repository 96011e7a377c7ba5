from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from ciphers import LETTERS, Alphabet, InputError, Key
from decipher import NGramModel, load_ngram
from decipher.exact import ascent
from decipher.exact.astar import TOLERANCE, AStarDecipherer, certify
from decipher.exact.relaxation import relax


@pytest.fixture(scope="module")
def model_of(alphabet_of, markov_texts):
    """(V, order, seed) -> a model of a random Markov chain."""

    def estimate(size, order, seed=0) -> NGramModel:
        return NGramModel.estimate(
            markov_texts(size, [60 * size], seed=seed), alphabet_of(size), order
        )

    return estimate


@pytest.fixture(scope="module")
def english_trigrams() -> NGramModel:
    counts = load_ngram("letters").counts
    assert counts is not None
    return NGramModel.from_counts(counts.lower.lower, LETTERS, {})


def any_key(size, known=None):
    """Some key that keeps the known letters: a bad one, so that a better one must be found."""
    known = known or {}
    plain = np.empty(size, np.uint8)
    free = [c for c in range(size) if c not in known]
    plain[list(known)] = list(known.values())
    plain[free] = [p for p in range(size) if p not in known.values()]
    return plain


def check(found, model, text, known=None) -> None:
    """What holds of every certificate, whatever the budget."""
    assert sorted(found.plain.tolist()) == list(range(model.alphabet.size))
    assert all(found.plain[c] == p for c, p in (known or {}).items())
    assert found.log_prob == pytest.approx(model.log_prob(found.plain[text]).sum(), abs=1e-9)
    assert found.upper_bound >= found.log_prob
    assert found.certified == (found.upper_bound <= found.log_prob + 1.01 * TOLERANCE)


# --- against enumeration ------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [5, 6, 7])
def test_certifies_the_most_probable_key(size, order, model_of, markov_texts, enumerated) -> None:
    """From a bad key, so that the proof itself must find the best one."""
    model = model_of(size, order, seed=order)
    rng = np.random.default_rng(10 * order + size)
    for trial, length in enumerate([1, 2, 3, 5, 8, 12, 20, 30, 50, 90]):
        if trial % 2:
            text = rng.integers(0, size, length).astype(np.uint8)
        else:
            text = Key.random(model.alphabet, rng).encrypt(markov_texts(size, [length], trial)[0])
        found = certify(model, text, any_key(size), seconds=np.inf)
        check(found, model, text)
        assert found.certified
        truth = enumerated(model, text).scores.max()
        assert found.log_prob == pytest.approx(truth, abs=2 * TOLERANCE)


def test_certifies_the_most_probable_key_of_eight(model_of, enumerated) -> None:
    model = model_of(8, 3)
    text = np.random.default_rng(0).integers(0, 8, 40).astype(np.uint8)
    found = certify(model, text, any_key(8), seconds=np.inf)
    assert found.certified
    assert found.nodes > 1  # the root alone does not prove it
    assert found.log_prob == pytest.approx(enumerated(model, text).scores.max(), abs=2 * TOLERANCE)


def test_ties_are_certified(alphabet_of) -> None:
    """Under a uniform model every key is the best."""
    model = NGramModel.estimate([np.arange(4), np.arange(4)[::-1]], alphabet_of(4), 1)
    text = np.array([0, 1, 2, 3, 1, 2], np.uint8)
    found = certify(model, text, any_key(4), seconds=np.inf)
    assert found.certified
    assert found.log_prob == pytest.approx(6 * np.log(1 / 4), abs=1e-5)


# --- the bound always holds ---------------------------------------------------------------------


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    order=st.integers(1, 5),
    text=st.lists(st.integers(0, 4), min_size=1, max_size=40),
    nodes=st.sampled_from([1, 1, 2, 3, 7]),
    seconds=st.sampled_from([0.0, 1e-3, np.inf]),
    given_letters=st.integers(0, 3),
    seed=st.integers(0, 3),
)
def test_no_key_is_above_the_bound(
    order, text, nodes, seconds, given_letters, seed, model_of, enumerated
) -> None:
    model = model_of(5, order, seed)
    rng = np.random.default_rng(seed)
    ciphers, plains = rng.permutation(5)[:given_letters], rng.permutation(5)[:given_letters]
    known = dict(zip(ciphers.tolist(), plains.tolist(), strict=True))
    ids = np.array(text, np.uint8)
    found = certify(model, ids, any_key(5, known), known, nodes=nodes, seconds=seconds)
    check(found, model, ids, known)
    truth = enumerated(model, ids, known).scores.max()
    assert found.upper_bound >= truth - 1e-9
    if found.certified:
        assert found.log_prob == pytest.approx(truth, abs=2 * TOLERANCE)


@pytest.mark.parametrize("order", [2, 3, 5])
def test_every_rewriting_keeps_every_key_below_the_bound(order, model_of, enumerated) -> None:
    """After each step: all terms are at most 0, and bound + terms is at least each key's score."""
    model = model_of(5, order, seed=3)
    text = np.random.default_rng(order).integers(0, 5, 60).astype(np.uint8)
    truth = enumerated(model, text)
    problem = relax(model, text, {})
    last = np.inf
    for _ in range(6):
        for step in (lambda: problem.share_factors(0, len(problem.message)), problem.assign):
            step()
            for terms in (problem.single, problem.pair, problem.unused, problem.spare):
                assert terms.max() <= 0
            for key, score in zip(truth.keys, truth.scores, strict=True):
                assert held(problem, key) / problem.problem.scale >= score - 1e-9
        assert problem.bound <= last
        last = problem.bound
        problem.spread()
    assert problem.upper_bound < -1  # the bound did fall
    closest = min(
        held(problem, key) / problem.problem.scale - score
        for key, score in zip(truth.keys, truth.scores, strict=True)
    )
    assert closest < 1e-6  # where all letters are used the terms still say the score exactly


@pytest.mark.parametrize("order", [2, 3])
def test_a_letter_given_changes_no_score(order, model_of, enumerated) -> None:
    model = model_of(5, order, seed=3)
    text = np.random.default_rng(order).integers(0, 5, 60).astype(np.uint8)
    problem = relax(model, text, {})
    for _ in range(4):
        problem.share_factors(0, len(problem.message))
        problem.assign()
        problem.spread()
    problem.share_factors(0, len(problem.message))
    problem.assign()
    assert problem.single.min() < 0
    for place in range(5):
        given_one = problem.given(problem.live, 1, place)
        assert given_one.sizes.tolist() == [4, 1, 4, 4, 4]
        keys = enumerated(model, text, {1: int(problem.letters[1, place])}).keys
        for key in keys:
            assert held(given_one, key) == held(problem, key)


def held(problem, key) -> float:
    """The bound and all terms that `key`, read backwards, holds, in steps."""
    symbols = problem.problem.symbols
    letters = key[symbols]
    rows = range(len(symbols))
    place = [int(np.flatnonzero(problem.letters[i] == letters[i])[0]) for i in rows]
    absent = np.setdiff1d(np.arange(problem.problem.size), letters)
    total = problem.bound + problem.spare[absent].sum()
    for i in rows:
        total += problem.single[i, place[i]] + problem.unused[i, place[i]][absent].sum()
        total += sum(problem.pair[i, place[i], j, place[j]] for j in rows if j < i)
    factors = problem.problem.factors
    for f, arity in enumerate(factors.arity):
        axes = factors.axes[f, :arity]
        entry = factors.base[f] + factors.strides[f, :arity] @ letters[axes].astype(int)
        total += np.ceil(
            factors.times[f] * problem.problem.scale * float(problem.problem.table[entry])
        )
        for y in range(arity):
            for x in range(y):
                slot = y * (y - 1) // 2 + x
                total += problem.message[f, slot, place[axes[x]], place[axes[y]]]
    return float(total)


def test_known_letters_lower_the_bound(model_of) -> None:
    """Fewer keys: the best of them, and so a complete proof's bound, is no higher."""
    model = model_of(6, 3)
    text = np.random.default_rng(5).integers(0, 6, 40).astype(np.uint8)
    plain = np.random.default_rng(6).permutation(6)
    bounds = []
    for count in range(7):
        known = {c: int(plain[c]) for c in range(count)}
        found = certify(model, text, any_key(6, known), known, seconds=np.inf)
        check(found, model, text, known)
        assert found.certified
        bounds.append(found.upper_bound)
    assert all(np.diff(bounds) <= 2 * TOLERANCE)
    assert bounds[-1] < bounds[0] - 1


def test_improper_models_are_bounded_too(tmp_path, enumerated) -> None:
    """An ARPA file may give back-off weights above 1, and so log probabilities above 0."""
    path = tmp_path / "model.arpa"
    unigrams = "".join(f"-0.6\t{s}\t1.2\n" for s in "abcd")
    path.write_text(
        f"\\data\\\nngram 1=4\nngram 2=2\n\n\\1-grams:\n{unigrams}\n"
        "\\2-grams:\n-0.1\ta b\n-2.0\tb c\n\n\\end\\\n"
    )
    model = NGramModel.from_arpa(path, Alphabet("abcd", "four"))
    assert model.table.max() > 0
    rng = np.random.default_rng(0)
    for nodes in (1, 100):
        text = rng.integers(0, 4, 20).astype(np.uint8)
        found = certify(model, text, any_key(4), nodes=nodes, seconds=np.inf)
        check(found, model, text)
        assert found.upper_bound >= enumerated(model, text).scores.max() - 1e-9
    assert found.certified


# --- the assignment problem ---------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "columns"), [(0, 3), (1, 1), (3, 3), (4, 7), (9, 9)])
def test_duals_prove_the_assignment(rows, columns) -> None:
    rng = np.random.default_rng(rows)
    for spread in (3, 1000):  # with many ties, and with few
        gain = rng.integers(-spread, 1, (rows + 1, columns + 1)).astype(float)
        u, v = np.empty(rows + 1), np.empty(columns + 1)
        total = ascent.assign(gain, rows, columns, u, v)
        gain, u, v = gain[:rows, :columns], u[:rows], v[:columns]
        assert total == gain[linear_sum_assignment(gain, maximize=True)].sum()
        assert total == u.sum() + v.sum()
        assert (u[:, None] + v >= gain).all()
        assert (v >= 0).all()


# --- the decipherer -----------------------------------------------------------------------------


def test_english_trigrams_are_certified(english_trigrams, passage) -> None:
    ids = LETTERS.encode(passage)[:200]
    cipher = Key.random(LETTERS, np.random.default_rng(1)).encrypt(ids)
    decipherer = AStarDecipherer(english_trigrams, np.random.default_rng(0), seconds=120)
    (p,) = decipherer.posteriors(cipher, [200])
    assert p.info["certified"]
    assert 0 <= p.info["gap"] <= 1.01 * TOLERANCE
    assert p.info["upper_bound"] == pytest.approx(p.map_log_prob, abs=1.01 * TOLERANCE)
    assert p.map_log_prob >= english_trigrams.log_prob(ids).sum() - 1e-9
    assert (p.map_key.decrypt(cipher) == ids).mean() > 0.95
    assert p.info["nodes"] <= 200
    np.testing.assert_array_equal(
        p.marginals.argmax(axis=1)[p.seen], p.map_key.inverse.mapping[p.seen]
    )
    assert (np.sort(p.marginals, axis=0)[-1] == 1).all()
    assert p.marginals.sum() == 26


def test_the_shipped_model_has_a_bound(passage) -> None:
    """With 5-grams the budget ends long before the proof; what is proven still holds."""
    ids = LETTERS.encode(passage)[:60]
    model = load_ngram("letters")
    decipherer = AStarDecipherer(model, np.random.default_rng(0), seconds=0.5)
    (p,) = decipherer.posteriors(Key.random(LETTERS, np.random.default_rng(1)).encrypt(ids), [60])
    assert not p.info["certified"]
    true = model.log_prob(ids).sum()
    assert p.info["upper_bound"] >= max(true, p.map_log_prob)
    assert p.info["gap"] == p.info["upper_bound"] - p.map_log_prob
    # All but three letters known: then it is quickly proven.
    known = {int(c): int(c) for c in np.unique(ids)[:-3]}
    decipherer = AStarDecipherer(model, np.random.default_rng(0), known, seconds=60)
    (p,) = decipherer.posteriors(ids, [60])
    assert p.info["certified"]
    assert all(p.map_key.decrypt([c])[0] == letter for c, letter in known.items())


def test_each_prefix_has_its_certificate(model_of, enumerated) -> None:
    model = model_of(6, 3)
    text = np.random.default_rng(0).integers(0, 6, 40).astype(np.uint8)
    known = {2: 5}
    posteriors = AStarDecipherer(model, np.random.default_rng(0), known).posteriors(
        text, [40, 1, 17]
    )
    for p, length in zip(posteriors, [40, 1, 17], strict=True):
        truth = enumerated(model, text[:length], known).scores.max()
        assert p.info["certified"]
        assert p.map_log_prob == pytest.approx(truth, abs=2 * TOLERANCE)
        assert p.seen.tolist() == sorted(set(text[:length].tolist()))
        assert p.marginals[2, 5] == 1


def test_a_node_budget_does_as_much_each_time(english_trigrams, passage) -> None:
    cipher = LETTERS.encode(passage)[:70]
    one, two = (
        certify(english_trigrams, cipher, any_key(26), nodes=4, seconds=np.inf) for _ in range(2)
    )
    assert (one.upper_bound, one.nodes, one.rounds) == (two.upper_bound, two.nodes, two.rounds)
    assert one.nodes == 4
    assert not one.certified


def test_no_time_still_gives_a_bound(model_of) -> None:
    model = model_of(6, 3)
    text = np.random.default_rng(0).integers(0, 6, 40)
    p = AStarDecipherer(model, np.random.default_rng(0), seconds=0).posteriors(text, [40])[0]
    assert not p.info["certified"]
    assert p.map_log_prob < p.info["upper_bound"] <= 0


def test_messages_that_grow_end_the_ascent(model_of, monkeypatch, enumerated) -> None:
    """Past the limit sums might be rounded; the node is then branched instead."""
    monkeypatch.setattr("decipher.exact.relaxation.MESSAGE_LIMIT", 0.0)
    model = model_of(6, 3)
    text = np.random.default_rng(0).integers(0, 6, 30).astype(np.uint8)
    found = certify(model, text, any_key(6), seconds=np.inf)
    assert found.certified
    assert found.rounds <= found.nodes
    assert found.log_prob == pytest.approx(enumerated(model, text).scores.max(), abs=2 * TOLERANCE)


def test_the_best_key_to_begin_with_stays(model_of) -> None:
    model = model_of(6, 3)
    text = np.random.default_rng(0).integers(0, 6, 40).astype(np.uint8)
    cold = certify(model, text, any_key(6), seconds=np.inf)
    warm = certify(model, text, cold.plain, seconds=np.inf)
    assert warm.log_prob == cold.log_prob
    assert warm.nodes <= cold.nodes


def test_bad_settings(model_of) -> None:
    model = model_of(5, 2)
    rng = np.random.default_rng(0)
    for wrong in ({"nodes": 0}, {"seconds": -1.0}, {"seconds": np.nan}, {"known": {0: 1, 1: 1}}):
        with pytest.raises(InputError):
            AStarDecipherer(model, rng, **wrong)
    with pytest.raises(InputError):
        AStarDecipherer(model, rng).posteriors([0, 1], [3])
