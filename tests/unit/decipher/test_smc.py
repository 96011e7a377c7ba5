"""Annealed SMC against enumeration, and against mathematics that must hold."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import logsumexp

from ciphers import InputError, Key
from decipher import EnumerationDecipherer, NGramModel, SMCDecipherer
from decipher.exact.enumeration import enumerate_keys
from decipher.sampling.smc import Islands, anneal, default_particles, populate, systematic
from decipher.sampling.spaces import KeySpace


def model_of(markov_texts, alphabet_of, size: int, order: int) -> NGramModel:
    return NGramModel.estimate(markov_texts(size, [800], seed=3), alphabet_of(size), order)


def text_of(markov_texts, size: int, length: int, seed: int) -> NDArray[np.uint8]:
    key = np.random.default_rng(seed).permutation(size).astype(np.uint8)
    return key[markov_texts(size, [length], seed=seed + 100)[0]]


def total_variation(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """The largest over rows."""
    return float(np.abs(p - q).sum(axis=1).max() / 2)


@pytest.mark.parametrize("order", [2, 3, 5])
@pytest.mark.parametrize("length", [1, 4, 12, 40])
def test_agrees_with_enumeration(order, length, markov_texts, alphabet_of) -> None:
    """Order 5 is guided, 2 and 3 are not.

    Of a marginal about p, some 8,000 keys leave an error of sqrt(p (1 - p) / 8,000) < 0.006; a row
    of 6 is off by three times that for less than one seed in 1,000.
    """
    model = model_of(markov_texts, alphabet_of, 6, order)
    ciphertext = text_of(markov_texts, 6, length, seed=order)
    (exact,) = EnumerationDecipherer(model).posteriors(ciphertext, [length])
    rng = np.random.default_rng(length)
    (p,) = SMCDecipherer(model, rng, particles=2000, swaps=50, rounds=1).posteriors(
        ciphertext, [length]
    )
    assert total_variation(p.marginals, exact.marginals) < 0.03
    assert p.log_evidence == pytest.approx(exact.log_evidence, abs=0.1)
    assert abs(p.log_evidence - exact.log_evidence) < 5 * p.info["log_evidence_error"] + 0.01
    assert p.map_log_prob == pytest.approx(exact.map_log_prob, abs=1e-9)
    np.testing.assert_allclose(p.marginals.sum(axis=0), 1)
    np.testing.assert_allclose(p.marginals.sum(axis=1), 1)
    assert p.weights.sum() == pytest.approx(1)
    by_keys = np.zeros((6, 6))
    for c in range(6):
        np.add.at(by_keys[c], p.samples[:, c], p.weights)
    assert total_variation(by_keys[p.seen], exact.marginals[exact.seen]) < 0.06


def test_the_evidence_is_right_on_average(markov_texts, alphabet_of) -> None:
    """The mean of exp(log evidence) over 300 small anneals is the evidence.

    Steps that suit the population at hand cost a bias of the order of 1 / 100 particles; the mean
    is known to 0.02, of which 0.07 is three.
    """
    model = model_of(markov_texts, alphabet_of, 5, 4)
    ciphertext = text_of(markov_texts, 5, 15, seed=1)
    exact = enumerate_keys(model, ciphertext).log_evidence[-1]
    space = KeySpace(model, ciphertext, {})
    rng = np.random.default_rng(0)
    ratios = [np.exp(anneal(space, 100, rng, swaps=5).log_evidence - exact) for _ in range(300)]
    assert 0.05 < np.std(ratios) < 0.35
    assert np.mean(ratios) == pytest.approx(1, abs=0.07)


def test_tempered_likelihood(markov_texts, alphabet_of) -> None:
    """With the likelihood to the power 0.5, the posterior is proportional to its square root."""
    model = model_of(markov_texts, alphabet_of, 5, 4)
    ciphertext = text_of(markov_texts, 5, 12, seed=2)
    every = enumerate_keys(model, ciphertext).keys
    half = 0.5 * model.log_prob(every[:, ciphertext]).sum(axis=1)
    weights = np.exp(half - logsumexp(half))
    exact = np.zeros((5, 5))
    for c in range(5):
        np.add.at(exact[c], every[:, c], weights)
    smc = SMCDecipherer(
        model, np.random.default_rng(1), particles=2000, swaps=50, rounds=1, temper=0.5
    )
    for lengths in ([12], [5, 12]):
        p = smc.posteriors(ciphertext, lengths)[-1]
        seen = np.unique(ciphertext)
        assert total_variation(p.marginals[seen], exact[seen]) < 0.04
        assert p.log_evidence == pytest.approx(logsumexp(half) - np.log(len(every)), abs=0.1)


def test_known_letters(markov_texts, alphabet_of) -> None:
    model = model_of(markov_texts, alphabet_of, 6, 3)
    ciphertext = text_of(markov_texts, 6, 10, seed=5)
    known = {int(ciphertext[0]): 2, 5: 1} if ciphertext[0] != 5 else {5: 1}
    (exact,) = EnumerationDecipherer(model, known).posteriors(ciphertext, [10])
    rng = np.random.default_rng(3)
    (p,) = SMCDecipherer(model, rng, known, particles=2000, swaps=50).posteriors(ciphertext, [10])
    assert total_variation(p.marginals, exact.marginals) < 0.03
    assert p.log_evidence == pytest.approx(exact.log_evidence, abs=0.1)
    for cipher, plain in known.items():
        assert (p.samples[:, cipher] == plain).all()
    every = {c: (c + 1) % 6 for c in range(6)}
    (p,) = SMCDecipherer(model, rng, every).posteriors(ciphertext, [10])
    assert p.map_key.decrypt(range(6)).tolist() == [1, 2, 3, 4, 5, 0]
    assert p.log_evidence == pytest.approx(p.map_log_prob, abs=0.01)
    np.testing.assert_allclose(p.marginals, np.eye(6)[[1, 2, 3, 4, 5, 0]], atol=1e-12)


def test_carried_posteriors_agree_with_enumeration(markov_texts, alphabet_of) -> None:
    """Many prefixes in one call, in any order: most are carried on from the one before."""
    model = model_of(markov_texts, alphabet_of, 6, 3)
    ciphertext = text_of(markov_texts, 6, 60, seed=8)
    lengths = [30, 2, 10, 11, 14, 60, 10]
    exact = EnumerationDecipherer(model).posteriors(ciphertext, lengths)
    smc = SMCDecipherer(model, np.random.default_rng(4), particles=2000, swaps=50, rounds=1)
    for ours, theirs in zip(smc.posteriors(ciphertext, lengths), exact, strict=True):
        assert total_variation(ours.marginals, theirs.marginals) < 0.04
        assert ours.log_evidence == pytest.approx(theirs.log_evidence, abs=0.12)
        assert ours.seen.tolist() == theirs.seen.tolist()


@pytest.mark.parametrize("order", [2, 4])
def test_predictions_agree_with_enumeration(order, markov_texts, alphabet_of) -> None:
    """At every position: the evidence, and the distribution of the next cipher symbol."""
    model = model_of(markov_texts, alphabet_of, 6, order)
    ciphertext = text_of(markov_texts, 6, 40, seed=order)
    exact = enumerate_keys(model, ciphertext)
    smc = SMCDecipherer(model, np.random.default_rng(5), particles=2000, swaps=50, rounds=1)
    found = smc.predict(ciphertext)
    assert found.predictive.shape == (40, 6)
    np.testing.assert_allclose(found.predictive.sum(axis=1), 1, atol=1e-6)
    assert total_variation(found.predictive, exact.predictive[:-1]) < 0.03
    assert np.abs(found.log_evidence - exact.log_evidence).max() < 0.12
    assert found.log_evidence[0] == found.log_evidence_error[0] == 0
    # Before the first symbol nothing tells the symbols apart.
    np.testing.assert_allclose(found.predictive[0], 1 / 6, atol=1e-6)


def test_what_survives_decides_on_annealing(markov_texts, alphabet_of, monkeypatch) -> None:
    model = model_of(markov_texts, alphabet_of, 6, 3)
    ciphertext = text_of(markov_texts, 6, 30, seed=9)
    rng = np.random.default_rng(6)
    smc = SMCDecipherer(model, rng, particles=50, rounds=1)
    monkeypatch.setattr("decipher.sampling.smc.SURVIVE", 0.0)
    assert smc.predict(ciphertext).annealed == ()
    monkeypatch.setattr("decipher.sampling.smc.SURVIVE", 1.1)
    assert smc.predict(ciphertext).annealed == tuple(range(1, 31))


def test_the_mixture_pays_at_most_log_factorial(markov_texts, alphabet_of) -> None:
    """log p - log p' <= log V! for every text, here up to three standard errors."""
    for seed in range(12):
        size = 4 + seed % 5
        model = model_of(markov_texts, alphabet_of, size, 2 + seed % 3)
        plain = markov_texts(size, [25], seed=seed + 50)[0]
        rng = np.random.default_rng(seed)
        (p,) = SMCDecipherer(model, rng, particles=300, swaps=50, rounds=1).posteriors(plain, [25])
        regret = model.log_prob(plain).sum() - p.log_evidence
        bound = sum(np.log(range(1, size + 1)))
        assert regret <= bound + 3 * p.info["log_evidence_error"] + 1e-3


def test_relabelling_the_ciphertext_relabels_the_posterior(markov_texts, alphabet_of) -> None:
    model = model_of(markov_texts, alphabet_of, 6, 4)
    ciphertext = text_of(markov_texts, 6, 25, seed=10)
    relabel = Key(model.alphabet, [2, 5, 1, 0, 3, 4])
    posteriors = [
        SMCDecipherer(
            model, np.random.default_rng(7), particles=3000, swaps=50, rounds=1
        ).posteriors(text, [25])[0]
        for text in (ciphertext, relabel.encrypt(ciphertext))
    ]
    plain, moved = (p.marginals for p in posteriors)
    assert total_variation(moved[relabel.mapping], plain) < 0.04
    assert posteriors[0].log_evidence == pytest.approx(posteriors[1].log_evidence, abs=0.1)


def test_the_same_seed_gives_the_same_bits(markov_texts, alphabet_of) -> None:
    model = model_of(markov_texts, alphabet_of, 6, 4)
    ciphertext = text_of(markov_texts, 6, 20, seed=11)
    one, two, other = (
        SMCDecipherer(model, np.random.default_rng(seed), particles=100).posteriors(
            ciphertext, [8, 20]
        )[1]
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.marginals, two.marginals)
    np.testing.assert_array_equal(one.samples, two.samples)
    assert one.log_evidence == two.log_evidence
    assert one.log_evidence != other.log_evidence


def test_rounds_end_when_the_populations_agree(markov_texts, alphabet_of) -> None:
    model = model_of(markov_texts, alphabet_of, 6, 4)
    space = KeySpace(model, text_of(markov_texts, 6, 20, seed=12), {})
    sizes = {
        tolerance: [
            len(p.keys)
            for p in populate(
                space, 20, np.random.default_rng(8), islands=3, rounds=3, tolerance=tolerance
            ).populations
        ]
        for tolerance in (1e-9, 1e9)
    }
    assert sizes[1e-9] == [20] * 3 + [40] * 3 + [80] * 3
    assert sizes[1e9] == [20] * 3
    # Agreement does not help an estimate that is proven to be too low.
    proven = populate(
        space, 20, np.random.default_rng(8), islands=3, tolerance=1e9, least=lambda _: 1e9
    )
    assert len(proven.populations) == 9


def test_islands_are_weighted_by_their_evidence(markov_texts, alphabet_of) -> None:
    model = model_of(markov_texts, alphabet_of, 5, 2)
    space = KeySpace(model, text_of(markov_texts, 5, 8, seed=13), {})
    rng = np.random.default_rng(9)
    populations = [anneal(space, count, rng) for count in (30, 60)]
    populations[0].log_evidence, populations[1].log_evidence = np.log(0.2), np.log(0.4)
    both = Islands(populations)
    np.testing.assert_allclose(both.weights, [0.2, 0.8])
    assert both.log_evidence == pytest.approx(np.log(0.2 / 3 + 0.4 * 2 / 3))
    assert both.key_weights.sum() == pytest.approx(1)
    assert both.key_weights[:30].sum() == pytest.approx(0.2)
    expected = 0.2 * populations[0].occupancy + 0.8 * populations[1].occupancy
    np.testing.assert_allclose(both.occupancy, expected)
    # By hand: shares 1/3 and 2/3 of 0.2 and 0.4 about the mean 1/3, and n / (n - 1) = 2.
    spread = np.array([0.2 - 1 / 3, 0.4 - 1 / 3]) * [1 / 3, 2 / 3] * 3
    assert both.log_evidence_error == pytest.approx(np.sqrt(2 * (spread**2).sum()))


def test_errors_are_of_the_right_size(markov_texts, alphabet_of) -> None:
    """The standard error of the log evidence is what 40 repetitions scatter by, within a factor of
    2 either way (the scatter of 40 is known to some 11%, the mean of their errors to less)."""
    model = model_of(markov_texts, alphabet_of, 6, 3)
    ciphertext = text_of(markov_texts, 6, 20, seed=14)
    exact = enumerate_keys(model, ciphertext).log_evidence[-1]
    misses, errors = [], []
    for seed in range(40):
        smc = SMCDecipherer(model, np.random.default_rng(seed), particles=60, swaps=10, rounds=1)
        (p,) = smc.posteriors(ciphertext, [20])
        misses.append(p.log_evidence - exact)
        errors.append(p.info["log_evidence_error"])
    scatter = np.sqrt(np.mean(np.square(misses)))
    assert 0.5 < scatter / np.sqrt(np.mean(np.square(errors))) < 2


def test_systematic_resampling() -> None:
    weights = np.array([0.1, 0.0, 0.6, 0.3]) * 7
    counts = np.zeros(4)
    rng = np.random.default_rng(0)
    for _ in range(2000):
        drawn = np.bincount(systematic(weights, rng), minlength=4)
        assert (np.abs(drawn - 4 * weights / 7) < 1).all()
        counts += drawn
    # The count of a weight of 2.4 is 2 or 3: its mean over 2,000 is known to 0.011.
    np.testing.assert_allclose(counts / 2000, 4 * weights / 7, atol=0.05)


def test_short_texts_have_more_particles() -> None:
    counts = [default_particles(n) for n in (0, 1, 16, 64, 128, 256, 512, 10_000)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] > 1


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"particles": 1}, "particles must be at least 2, not 1"),
        ({"islands": 1}, "islands must be at least 2"),
        ({"swaps": 0}, "swaps must be at least 1"),
        ({"rounds": 0}, "rounds must be at least 1"),
        ({"share": 1.0}, "share must lie between 0 and 1"),
        ({"tolerance": 0}, "tolerance must be above 0"),
        ({"temper": -1}, "temper must be above 0"),
        ({"known": {0: 1, 2: 1}}, "contradict"),
    ],
)
def test_bad_settings(settings, says, markov_texts, alphabet_of) -> None:
    model = model_of(markov_texts, alphabet_of, 5, 2)
    with pytest.raises(InputError, match=says):
        SMCDecipherer(model, np.random.default_rng(0), **settings)


@pytest.mark.parametrize("ciphertext", [[], [9], [[1, 2], [0, 1]]])
def test_bad_ciphertexts(ciphertext, markov_texts, alphabet_of) -> None:
    smc = SMCDecipherer(model_of(markov_texts, alphabet_of, 5, 2), np.random.default_rng(0))
    with pytest.raises(InputError):
        smc.predict(ciphertext)
    with pytest.raises(InputError):
        smc.posteriors(ciphertext, [1])
