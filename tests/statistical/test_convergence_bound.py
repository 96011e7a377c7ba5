"""The Bayes mixture over all keys never pays more than the number of keys: log p - log p' <= ln d!,
and what follows from it in the mean. Nothing here is left to chance but which models and texts
hypothesis tries: every expectation is a sum over all texts."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis.convergence import gap_bound, random_chain, read_text, running_mean
from analysis.regret import log2_keys
from ciphers import Alphabet, Key
from decipher import NGramModel

#: Rounding of tables in single precision, which both sides of an inequality share but for sums.
ROUNDING = 1e-5


def alphabet(size: int) -> Alphabet:
    return Alphabet("abcdef"[:size], f"first-{size}")


@st.composite
def models(draw, sizes=(2, 5), orders=(0, 2)) -> NGramModel:
    """A random chain of any kind, from nearly certain to nearly uniform."""
    size = draw(st.integers(*sizes))
    order = draw(st.integers(*orders))
    share = draw(st.floats(0.06, 0.98))
    seed = draw(st.integers(0, 2**32 - 1))
    chain = random_chain(
        alphabet(size), order, share * math.log2(size), np.random.default_rng(seed)
    )
    assert chain.order == order + 1
    return chain


@st.composite
def models_and_texts(draw) -> tuple[NGramModel, np.ndarray, Key]:
    """A model, a text that need not look like one of its own, and a key."""
    model = draw(models())
    ids = st.integers(0, model.alphabet.size - 1)
    text = draw(hnp.arrays(np.uint8, st.integers(1, 40), elements=ids))
    return model, text, Key(model.alphabet, draw(st.permutations(range(model.alphabet.size))))


@given(models_and_texts())
@settings(max_examples=60)
def test_no_text_costs_more_than_the_keys(case) -> None:
    model, text, key = case
    reading = read_text(model, text, key, np.random.default_rng(0), exact=True)
    assert (reading.regret <= log2_keys(model.alphabet.size) + ROUNDING).all()
    assert (reading.gap <= 2 + ROUNDING).all()
    assert (reading.kl >= -ROUNDING).all()
    # Pinsker, at every position.
    np.testing.assert_array_less(reading.gap**2, 2 * math.log(2) * reading.kl + ROUNDING)


@given(models(sizes=(2, 3), orders=(0, 1)), st.randoms(use_true_random=False))
@settings(max_examples=12)
def test_the_bounds_hold_in_expectation(model, random) -> None:
    """By summing over all texts of five symbols, each under some key."""
    size, n = model.alphabet.size, 5
    texts = np.array(list(product(range(size), repeat=n)), np.uint8)
    weights = np.exp(model.log_prob(texts).sum(axis=1))
    assert weights.sum() == pytest.approx(1, abs=ROUNDING)
    rng = np.random.default_rng(random.getrandbits(32))
    readings = [
        read_text(model, text, Key.random(model.alphabet, rng), rng, exact=True) for text in texts
    ]
    regret = weights @ np.stack([reading.regret for reading in readings])
    divergence = weights @ np.stack([reading.kl.cumsum() for reading in readings])
    gap = weights @ np.stack([running_mean(reading.gap) for reading in readings])
    # The chain rule: expected regret is the sum of the expected divergences.
    np.testing.assert_allclose(regret, divergence, atol=ROUNDING)
    contexts = np.arange(1, n + 1)
    assert (gap <= gap_bound(size, contexts) + ROUNDING).all()
    # And from the regret itself, which is the sharper one.
    assert (gap <= np.sqrt(2 * math.log(2) * regret / contexts) + ROUNDING).all()


@pytest.mark.parametrize("size", [3, 5])
def test_the_bound_is_reached(size) -> None:
    """A key that must be learned to its last symbol costs all of ln d!: no smaller number would
    do."""
    model = random_chain(alphabet(size), 1, 0.4 * math.log2(size), np.random.default_rng(size))
    text = model.sample(300, 1, np.random.default_rng(0))[0]
    key = Key.random(model.alphabet, np.random.default_rng(1))
    reading = read_text(model, text, key, np.random.default_rng(0), exact=True)
    assert reading.regret[-1] == pytest.approx(log2_keys(size), abs=1e-3)
    assert reading.gap[-1] < 1e-3
