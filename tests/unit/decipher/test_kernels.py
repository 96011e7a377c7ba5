"""The compiled loops against scores read from the table one window at a time."""

from __future__ import annotations

from itertools import pairwise, permutations
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.special import logsumexp

from ciphers import Alphabet
from decipher import NGramModel, kernels
from decipher.sampling.spaces import path_weights
from decipher.windows import Windows

SIX = Alphabet("abcdef")


def codes_of(model: NGramModel, plain, text, order) -> NDArray[np.int64]:
    """[n] where the table holds the score of each symbol of `text`, read with `plain`."""
    size = model.alphabet.size
    codes = []
    for i in range(len(text)):
        gram = [int(plain[c]) for c in text[max(0, i - order + 1) : i + 1]]
        code = sum(p * size ** (len(gram) - 1 - k) for k, p in enumerate(gram))
        codes.append(int(model.offsets[len(gram) - 1]) + code)
    return np.array(codes)


def score_of(model: NGramModel, plain, text, order) -> int:
    table, _ = model.quantised
    return int(table[codes_of(model, plain, text, order)].astype(np.int64).sum())


@pytest.fixture(scope="module")
def models(markov_texts) -> dict[int, NGramModel]:
    documents = markov_texts(6, [600, 5], seed=1)
    return {order: NGramModel.estimate(documents, SIX, order) for order in range(1, 6)}


#: Text, free symbols; the rest are known. Symbol 5 does not occur in the second text.
CASES = [
    (np.random.default_rng(0).integers(0, 6, 80).astype(np.uint8), [0, 1, 2, 3, 4, 5]),
    (np.random.default_rng(1).integers(0, 5, 50).astype(np.uint8), [0, 2, 3, 5]),
    (np.zeros(7, np.uint8), [0, 1, 2, 3, 4, 5]),
    (np.array([3], np.uint8), [1, 3]),
    (np.array([0, 1, 2, 2], np.uint8), [2]),
]
cases = pytest.mark.parametrize(("text", "free"), CASES)
orders = pytest.mark.parametrize(("order", "of"), [(1, 1), (2, 2), (3, 3), (5, 5), (4, 5), (2, 4)])


def start(free, rng) -> NDArray[np.uint8]:
    plain = np.arange(6, dtype=np.uint8)
    plain[free] = rng.permutation(plain[free])
    return plain


def read(windows: Windows, plain) -> NDArray[np.int64]:
    """[W] the windows' codes under the key `plain`."""
    return windows.base + plain.astype(np.int64) @ coefficient(windows)


def coefficient(windows: Windows) -> NDArray[np.int64]:
    """[V, W] what a window's code gains when the plain id of a cipher symbol grows by one."""
    return kernels.window_coefficients(windows.places, 6, 6).astype(np.int64)


def argument(text, free):
    """The symbols to walk over, as the kernels take them."""
    return np.intersect1d(text, free).astype(np.intp), np.array(free, np.intp)


@cases
@orders
def test_windows_are_those_of_the_text(text, free, order, of, models) -> None:
    model = models[of]
    windows = Windows.of(text, order, model, np.array(free, np.intp))
    assert windows.times.sum() == len(text)
    # Each distinct one once: names, not codes, for some key may read two alike.
    named = {tuple(text[max(0, i - order + 1) : i + 1].tolist()) for i in range(len(text))}
    assert len(windows.base) == len(named)
    rng = np.random.default_rng(2)
    for _ in range(5):
        plain = rng.permutation(6).astype(np.uint8)
        ours = np.repeat(read(windows, plain), windows.times)
        np.testing.assert_array_equal(np.sort(ours), np.sort(codes_of(model, plain, text, order)))


def test_windows_by_hand(models) -> None:
    model = models[3]
    windows = Windows.of(np.array([1, 0, 1, 0, 1], np.uint8), 3, model, np.arange(6))
    found = {
        (int(base), *(int(c) for c in gains[:2])): int(times)
        for base, times, gains in zip(
            windows.base, windows.times, coefficient(windows).T, strict=True
        )
    }
    assert found == {
        (0, 0, 1): 1,  # b
        (6, 1, 6): 1,  # ba
        (42, 6, 37): 2,  # bab, at two places
        (42, 37, 6): 1,  # aba
    }
    assert not coefficient(windows)[2:].any()


@cases
@orders
def test_entries_tell_what_a_swap_changes(text, free, order, of, models) -> None:
    model = models[of]
    windows = Windows.of(text, order, model, np.array(free, np.intp))
    rng = np.random.default_rng(3)
    plain = rng.permutation(6).astype(np.uint8)
    before = read(windows, plain)
    listed = 0
    for a in range(6):
        for b in range(6):
            lo, hi = (int(x) for x in windows.bounds[a, b])
            if a == b or a not in free or b not in free:
                assert lo == hi == 0
                continue
            assert windows.bounds[b, a].tolist() == [lo, hi]
            changed, difference = windows.entries[lo:hi].T
            holders = np.flatnonzero(coefficient(windows)[[a, b]].any(axis=0))
            assert sorted(changed.tolist()) == holders.tolist()
            listed += hi - lo
            swapped = plain.copy()
            swapped[[a, b]] = plain[[b, a]]
            low, high = min(a, b), max(a, b)
            after = before.copy()
            after[changed] += (int(plain[high]) - int(plain[low])) * difference
            np.testing.assert_array_equal(after, read(windows, swapped))
    assert listed == 2 * len(windows.entries)


@cases
@orders
def test_climb_ends_in_a_maximum_and_keeps_its_score(text, free, order, of, models) -> None:
    model = models[of]
    table, _ = model.quantised
    seen, free = argument(text, free)
    windows = Windows.of(text, order, model, free)
    rng = np.random.default_rng(4)
    for _ in range(10):
        plain = start(free, rng)
        before = plain.copy()
        score, reads = kernels.climb(table, *windows, plain, seen, free)
        assert score == score_of(model, plain, text, order)
        assert score >= score_of(model, before, text, order)
        assert reads >= len(windows.base)
        assert sorted(plain.tolist()) == list(range(6))
        kept = np.setdiff1d(np.arange(6), free)
        np.testing.assert_array_equal(plain[kept], kept)
        for a in seen:
            for b in free:
                swapped = plain.copy()
                swapped[[a, b]] = plain[[b, a]]
                assert score_of(model, swapped, text, order) <= score


def walked(model, windows, plain, seen, free, beta, swaps, seed):
    """The keys before and after a walk and the best it met; the reads."""
    table, _ = model.quantised
    state = np.array([seed], np.uint64)
    here, best = plain.copy(), np.full(6, 255, np.uint8)
    reads = kernels.walk(table, *windows, here, seen, free, beta, swaps, state, best)
    return here, best, reads


@cases
@orders
@pytest.mark.parametrize("beta", [0.0, 1e-3, 1e3])
def test_walk_leaves_the_best_key_it_met(text, free, order, of, beta, models) -> None:
    """The same walk, one swap longer each time, shows every key on its way."""
    model = models[of]
    seen, free = argument(text, free)
    windows = Windows.of(text, order, model, free)
    plain = start(free, np.random.default_rng(5))
    met = [score_of(model, plain, text, order)]
    here = plain
    for swaps in range(40):
        before = here
        here, best, reads = walked(model, windows, plain, seen, free, beta, swaps, seed=77)
        assert reads >= len(windows.base)
        assert np.count_nonzero(here != before) in (0, 2)
        met.append(score_of(model, here, text, order))
        assert score_of(model, best, text, order) == max(met)
        if beta == 1e3:  # cold: it only climbs
            assert met[-1] >= met[-2]
        kept = np.setdiff1d(np.arange(6), free)
        np.testing.assert_array_equal(here[kept], kept)
    if len(free) > 2 and beta == 0:
        assert len(set(met)) > 3  # hot: it does move


def test_the_walk_has_the_boltzmann_distribution(models) -> None:
    """The keys of three free symbols are visited by the exponentials of their scores.

    The chi-square of 4,000 walks' ends against the six probabilities; false alarm one seed in
    10,000.
    """
    model = models[2]
    _, step = model.quantised
    text = np.array([0, 1, 2, 0, 1, 1, 2], np.uint8)
    seen, free = argument(text, [0, 1, 2])
    windows = Windows.of(text, 2, model, free)
    keys = [np.array([*p, 3, 4, 5], np.uint8) for p in permutations(range(3))]
    weights = np.exp(np.array([score_of(model, k, text, 2) for k in keys]) * step * 0.5)
    counts = np.zeros(6)
    rng = np.random.default_rng(6)
    for _ in range(4000):
        seed = rng.integers(1, 2**63)
        here, _, _ = walked(model, windows, keys[0], seen, free, step * 0.5, 60, seed)
        counts[[np.array_equal(here, k) for k in keys].index(True)] += 1
    expected = 4000 * weights / weights.sum()
    assert expected.min() > 20  # and max well above: not uniform
    assert expected.max() > 2 * expected.min()
    assert stats.chisquare(counts, expected).pvalue > 1e-4


def sampled(model, text, keys, at, steps, seed, guide_order=2):
    """What chains at places `at` on the path did to `keys`, in place."""
    seen, free = argument(text, list(range(6)))
    table, step = model.quantised
    moves = Moves(np.zeros((6, 6), np.int64), np.empty(len(keys), np.int64))
    kernels.sample(
        table,
        Windows.of(text, guide_order, model, free),
        Windows.of(text, model.order, model, free),
        keys,
        seen,
        free,
        path_weights(np.asarray(at, float)) * step,
        steps,
        np.array([seed], np.uint64),
        moves.occupancy,
        moves.accepted,
    )
    return moves


class Moves(NamedTuple):
    occupancy: NDArray[np.int64]
    accepted: NDArray[np.int64]


@pytest.mark.parametrize("at", [0.0, 0.7, 1.0, 1.6, 2.0])
@pytest.mark.parametrize("text", [text for text, _ in CASES])
def test_sample_counts_the_keys_it_held(text, at, models) -> None:
    """A long run's occupancy is the sum over its steps of the keys held after them."""
    model, steps = models[4], 200
    first = np.array([start(range(6), np.random.default_rng(0))])
    long_run = first.copy()
    whole = sampled(model, text, long_run, [at], steps, seed=9)
    assert (whole.occupancy.sum(axis=0) == steps).all()
    assert (whole.occupancy.sum(axis=1) == steps).all()
    held = [first]
    for k in range(1, steps + 1):  # the same run, one step longer each time
        held.append(first.copy())
        sampled(model, text, held[k], [at], k, seed=9)
    by_hand = sum(np.eye(6, dtype=int)[key[0]] for key in held[1:])
    np.testing.assert_array_equal(whole.occupancy, by_hand)
    np.testing.assert_array_equal(long_run, held[-1])
    changes = [not np.array_equal(a, b) for a, b in pairwise(held)]
    assert whole.accepted.tolist() == [sum(changes)]


@pytest.mark.parametrize(("at", "guide_order"), [(0.0, 2), (0.6, 2), (1.0, 2), (1.5, 2), (2.0, 3)])
def test_sample_has_the_density_of_its_place(at, guide_order, models) -> None:
    """The keys that chains end at against exp(weights . scores), by enumeration of all 720.

    The chi-square of 6,000 ends over twelve classes of keys of some equal probability; false alarm
    one seed in 10,000.
    """
    model, text = models[4], CASES[0][0][:9]
    _, step = model.quantised
    every = np.array(list(permutations(range(6))), np.uint8)
    scores = [
        [score_of(model, key, text, order) * step for order in (guide_order, model.order)]
        for key in every
    ]
    log_density = np.array(scores) @ path_weights(np.array([at]))[0]
    shares = np.exp(log_density - logsumexp(log_density))
    order = np.random.default_rng(0).permutation(720)
    classes = np.empty(720, np.intp)
    classes[order] = (np.cumsum(shares[order]) * 12).clip(0, 11).astype(np.intp)

    count = 6000
    keys = every[np.random.default_rng(1).integers(720, size=count)]
    sampled(model, text, keys, np.full(count, at), 400, 4, guide_order)
    index = {key.tobytes(): i for i, key in enumerate(every)}
    ends = [index[key.tobytes()] for key in keys]
    expected = np.bincount(classes, shares, 12) * count
    held = expected > 5
    observed = np.bincount(classes[ends], minlength=12)
    assert observed[~held].sum() < 30
    expected = expected[held] * (observed[held].sum() / expected[held].sum())
    assert len(expected) > 3
    assert stats.chisquare(observed[held], expected).pvalue > 1e-4


def test_every_kernel_releases_the_interpreter() -> None:
    for name in ("window_coefficients", "pair_entries", "walk", "climb", "sample"):
        assert getattr(kernels, name).targetoptions["nogil"]
