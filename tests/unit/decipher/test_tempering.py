from __future__ import annotations

import logging
import subprocess
import sys
import warnings

import numpy as np
import pytest
from scipy.special import logsumexp

from ciphers import LETTERS, InputError, Key, cryptograms, load_corpus
from decipher import NGramModel, load_ngram
from decipher.sampling import tempering
from decipher.sampling.spaces import END, KeySpace, path_weights
from decipher.sampling.tempering import Chains, Ladder, TemperingDecipherer, temper


def model_of(alphabet, order, documents) -> NGramModel:
    return NGramModel.estimate(documents, alphabet, order)


def decipher(model, ciphertext, seed=0, known=None, **options):
    """Small chains: for alphabets of a few symbols."""
    options = {"rungs": 5, "draws": 500, "steps": 20, "burn_in": 200} | options
    decipherer = TemperingDecipherer(model, np.random.default_rng(seed), known, **options)
    return decipherer.posteriors(ciphertext, [len(ciphertext)])[0]


def chains_of(keys) -> Chains:
    """Chains with these keys [K, D, C] and the same score for all."""
    count, draws, size = keys.shape
    return Chains(
        keys=keys.astype(np.uint8),
        log_likelihood=np.full((count, draws), -9.0),
        acceptance=np.full((count, draws), 0.5),
        marginals=np.eye(size),
        places=np.array([0.0, 1.0]),
        exchange=np.array([0.5]),
        round_trips=np.full(count, 3),
        log_evidence=-7.0,
        log_evidence_error=0.1,
        symbols=list("abcdefgh"[:size]),
        seen=np.arange(size),
    )


@pytest.fixture(scope="module")
def english():
    """The model, and a cryptogram of 96 letters."""
    batch = cryptograms(load_corpus("built-in").test, LETTERS, 96, 1, np.random.default_rng(2))
    return load_ngram("letters"), batch.ciphertext[0]


# --- the target, by enumeration -----------------------------------------------------------------


@pytest.mark.parametrize("size", [5, 6])
@pytest.mark.parametrize(
    ("order", "guide_order", "length", "known"),
    [
        (2, 2, 12, {}),
        (3, 3, 8, {}),
        (3, 3, 8, {1: 4}),
        (4, 3, 8, {}),
        (5, 2, 6, {0: 3}),
        (5, 5, 8, {}),
    ],
)
def test_samples_the_posterior(
    order, guide_order, length, known, size, alphabet_of, markov_texts, enumerated
) -> None:
    """Draws, occupancy and evidence are those that all keys give.

    The total variation between a symbol's true marginal and that of n independent draws is below
    0.5 sqrt((V - 1) / n) on average (Cauchy-Schwarz) and changes by 1 / n with any one draw, so by
    McDiarmid's inequality it exceeds its mean by 2 / sqrt(n) once in e^8 = 3,000 times; n is the
    smallest effective number of draws, halved because that number is estimated itself. The moves of
    a sweep are too few to repair what a wrong exchange brings to the last rung. The evidence is
    allowed 0.1 nat, over three of its standard errors.
    """
    model = model_of(alphabet_of(size), order, markov_texts(size, [400], seed=order))
    rng = np.random.default_rng(100 * size + 10 * order + len(known))
    text = rng.integers(0, size, length).astype(np.uint8)
    truth = enumerated(model, text, known)
    assert truth.marginals.max(axis=1).min() < 0.95  # there is some doubt to get right
    space = KeySpace(model, text, known, guide_order=guide_order)
    chains = temper(space, rng, chains=4, rungs=7, draws=2000, steps=20, burn_in=320)
    mixing = chains.diagnostics()
    n = mixing.ess_bulk.min() / 2
    assert mixing.r_hat.max() < 1.03
    assert n > 150
    shares = np.stack(
        [np.bincount(chains.keys[..., c].ravel(), minlength=size) for c in range(size)]
    )
    for marginals in (shares / chains.log_likelihood.size, chains.marginals):
        distance = np.abs(marginals - truth.marginals).sum(axis=1) / 2
        assert distance.max() < 0.5 * np.sqrt((size - 1) / n) + 2 / np.sqrt(n)
    log_evidence = logsumexp(truth.scores) - np.log(len(truth.keys))
    assert chains.log_evidence == pytest.approx(log_evidence, abs=0.1)
    assert chains.log_evidence_error < 0.03
    np.testing.assert_allclose(
        chains.log_likelihood, model.log_prob(chains.keys[..., text]).sum(axis=-1), atol=0.01
    )


def test_every_rung_samples_its_place(alphabet_of, markov_texts, enumerated) -> None:
    """Also between guide and full model.

    Five standard errors, from the differences between 50 independent chains, are exceeded once in
    100,000 times at a rung (Student's t with 49 degrees of freedom).
    """
    model = model_of(alphabet_of(5), 4, markov_texts(5, [400], seed=1))
    text = np.array([0, 1, 2, 3, 4, 0, 2, 1], np.uint8)
    space = KeySpace(model, text, {}, guide_order=2)
    ladder = Ladder(space, 50, 6, np.random.default_rng(0))
    for _ in range(50):
        ladder.sweep(3)
    drawn = []
    for _ in range(400):
        ladder.sweep(3)
        drawn.append(space.full(ladder.keys.reshape(-1, 5)).reshape(6, 50))
    every = enumerated(model, text).keys
    scores = np.column_stack([space.guide(every), space.full(every)])
    by_chain = np.mean(drawn, axis=0)
    error = by_chain.std(axis=1, ddof=1) / np.sqrt(50)
    for place, mean, bound in zip(ladder.places, by_chain.mean(axis=1), 5 * error, strict=True):
        log_density = scores @ path_weights(np.array([place]))[0]
        weights = np.exp(log_density - logsumexp(log_density))
        assert mean == pytest.approx(weights @ scores[:, 1], abs=bound)
    assert error.max() < 0.1


def test_places_even_out_the_exchanges(alphabet_of, markov_texts) -> None:
    model = model_of(alphabet_of(8), 3, markov_texts(8, [2000], seed=1))
    key = Key(model.alphabet, [3, 4, 1, 5, 0, 2, 7, 6])
    text = key.encrypt(markov_texts(8, [60], seed=1)[0])
    space = KeySpace(model, text, {}, guide_order=2)
    options = {"rungs": 8, "draws": 400, "steps": 50}
    fixed = temper(space, np.random.default_rng(0), burn_in=tempering.ROUNDS, **options)
    adapted = temper(space, np.random.default_rng(0), burn_in=1600, **options)
    for chains in (fixed, adapted):
        assert chains.places[0] == 0
        assert chains.places[-1] == END
        assert (np.diff(chains.places) > 0).all()
    assert np.ptp(adapted.exchange) < 0.25 < np.ptp(fixed.exchange) - 0.1
    assert adapted.round_trips.min() > 10


# --- do the chains agree? -----------------------------------------------------------------------


def test_chains_agree_on_an_easy_text(english) -> None:
    model, ciphertext = english
    decipherer = TemperingDecipherer(
        model, np.random.default_rng(0), rungs=12, draws=200, steps=300
    )
    p = decipherer.posteriors(ciphertext, [96])[0]
    assert p.info["r_hat"] < 1.05
    assert p.info["ess"] > 100
    assert p.info["log_evidence_error"] < 0.2
    # What not knowing the key costs is at most the log of the number of keys.
    assert p.map_log_prob - sum(np.log(np.arange(1, 27))) <= p.log_evidence < p.map_log_prob


def test_stuck_chains_are_told(english) -> None:
    """With no rung between the prior and the posterior each chain stays in a maximum of its own."""
    model, ciphertext = english
    p = decipher(model, ciphertext, rungs=2, draws=100, steps=200)
    assert p.info["r_hat"] > 1.5
    assert p.info["ess"] < 40
    assert p.info["round_trips"] == 0


def test_diagnostics_of_symbols() -> None:
    rng = np.random.default_rng(0)
    keys = np.tile(np.arange(5), (4, 500, 1))
    keys[:, :, 1] = rng.integers(1, 3, (4, 500))  # the chains agree that there is doubt
    keys[3, :, 2] = 4  # one chain differs, and never moves
    keys[:2, :250, 3] = 0  # two chains moved once
    keys[:, :, 4] = np.where(rng.random((4, 500)) < 0.5, 4, 0)
    keys[0, :, 4] = np.where(rng.random(500) < 0.3, 1, keys[0, :, 4])  # a third letter, in one only
    frame = chains_of(keys).diagnostics()
    assert frame.index.tolist() == ["log_posterior", "a", "b", "c", "d", "e"]
    assert frame.columns.tolist() == ["r_hat", "ess_bulk"]
    for constant in ("log_posterior", "a"):
        assert frame.loc[constant].tolist() == [1.0, 2000.0]
    assert frame.r_hat["b"] < 1.01
    assert frame.ess_bulk["b"] > 1500
    assert frame.r_hat["c"] == np.inf
    assert frame.ess_bulk["c"] < 10
    assert frame.r_hat["d"] > 1.2
    assert frame.r_hat["e"] > 1.02
    assert not frame.isna().any(axis=None)


def test_arviz_is_not_heard(caplog) -> None:
    """Nor loaded before it is needed."""
    code = (
        "import sys, decipher.sampling.tempering as t\n"
        "assert 'arviz' not in sys.modules\n"
        "t._arviz()\n"
        "assert 'arviz' in sys.modules"
    )
    run = subprocess.run(
        [sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True
    )
    assert "rviz" not in run.stderr
    keys = np.zeros((4, 20, 2))
    keys[0, :, 1] = 1
    with warnings.catch_warnings(), caplog.at_level(logging.DEBUG):
        warnings.simplefilter("error")
        chains_of(keys).diagnostics()
        chains_of(keys).inference_data()
    assert not [record for record in caplog.records if record.name.startswith("arviz")]


def test_inference_data(alphabet_of, markov_texts, tmp_path) -> None:
    model = model_of(alphabet_of(6), 2, markov_texts(6, [400], seed=2))
    decipherer = TemperingDecipherer(
        model, np.random.default_rng(0), chains=3, rungs=4, draws=20, steps=10
    )
    chains = decipherer.sample([0, 1, 2, 1])
    assert chains.seen.tolist() == [0, 1, 2]
    data = chains.inference_data()
    data.to_netcdf(str(tmp_path / "chains.nc"))
    import arviz

    for found in (data, arviz.from_netcdf(str(tmp_path / "chains.nc"))):
        assert set(found.groups()) == {"posterior", "sample_stats"}
        assert found.posterior.key.dims == ("chain", "draw", "symbol")
        assert found.posterior.symbol.values.tolist() == list("abcdef")
        np.testing.assert_array_equal(found.posterior.key, chains.keys)
        np.testing.assert_allclose(
            found.posterior.log_posterior, chains.log_likelihood - chains.log_evidence
        )
        np.testing.assert_array_equal(found.sample_stats.acceptance_rate, chains.acceptance)
        assert found.sample_stats.acceptance_rate.dims == ("chain", "draw")
        np.testing.assert_array_equal(found.attrs["places"], chains.places)
        np.testing.assert_array_equal(found.attrs["round_trips"], chains.round_trips)
        assert found.attrs["log_evidence"] == chains.log_evidence
    assert ((chains.acceptance > 0) & (chains.acceptance < 1)).mean() > 0.5


# --- the decipherer -----------------------------------------------------------------------------


def check_against(p, truth, known) -> None:
    size = p.alphabet.size
    np.testing.assert_allclose(p.marginals, truth.marginals, atol=0.06)
    np.testing.assert_allclose(p.marginals.sum(axis=0), 1, atol=1e-9)
    np.testing.assert_allclose(p.marginals.sum(axis=1), 1, atol=1e-9)
    assert p.map_log_prob == pytest.approx(truth.scores.max(), abs=1e-6)
    log_evidence = logsumexp(truth.scores) - np.log(len(truth.keys))
    assert p.log_evidence == pytest.approx(log_evidence, abs=0.1)
    assert (np.sort(p.samples, axis=1) == np.arange(size)).all()
    assert p.weights.sum() == pytest.approx(1)
    unseen = np.setdiff1d(np.arange(size), [*p.seen, *known])
    assert (p.marginals[unseen] == p.marginals[unseen[:1]]).all()
    for cipher, plain in known.items():
        assert p.marginals[cipher, plain] == 1
        assert p.map_key.decrypt([cipher])[0] == plain
        assert (p.samples[:, cipher] == plain).all()


@pytest.mark.parametrize(("share", "known"), [(0.0, {}), (0.0, {0: 2, 5: 3}), (2.0, {1: 4})])
def test_posteriors_of_prefixes(
    share, known, alphabet_of, markov_texts, enumerated, monkeypatch
) -> None:
    """With the evidence from the commonest reading (0) and from stepping stones (2).

    0.06 is five standard errors of a share in some 1,600 independent draws of each.
    """
    monkeypatch.setattr(tempering, "READING_MASS", share)
    model = model_of(alphabet_of(6), 3, markov_texts(6, [800], seed=3))
    ciphertext = np.random.default_rng(4).integers(0, 5, 20).astype(np.uint8)
    lengths = [20, 6]
    decipherer = TemperingDecipherer(
        model, np.random.default_rng(0), known, rungs=6, draws=1000, steps=50
    )
    for p, length in zip(decipherer.posteriors(ciphertext, lengths), lengths, strict=True):
        check_against(p, enumerated(model, ciphertext[:length], known), known)
        assert p.seen.tolist() == sorted(set(ciphertext[:length].tolist()))
        assert set(p.info) == {"exchange", "round_trips", "r_hat", "ess", "log_evidence_error"}
        assert p.info["r_hat"] < 1.05
        assert 0 <= p.info["log_evidence_error"] < 0.1


def test_one_symbol_and_nothing_free(alphabet_of, markov_texts, enumerated) -> None:
    model = model_of(alphabet_of(5), 3, markov_texts(5, [300], seed=1))
    p = decipher(model, np.array([2]), draws=1000)
    check_against(p, enumerated(model, np.array([2], np.uint8)), {})
    ciphertext = np.random.default_rng(0).integers(0, 5, 30).astype(np.uint8)
    every = dict(enumerate([3, 1, 0, 4, 2]))
    most = {c: p for c, p in every.items() if c != 2}
    for known in (every, most):
        p = decipher(model, ciphertext, known=known)
        check_against(p, enumerated(model, ciphertext, known), known)
        assert p.info["r_hat"] == 1
        assert p.log_evidence == pytest.approx(p.map_log_prob, abs=0.01)
    known = {0: 3, 1: 2}  # free symbols, none of which occurs
    p = decipher(model, np.array([0, 1, 1, 0]), known=known)
    check_against(p, enumerated(model, np.array([0, 1, 1, 0], np.uint8), known), known)


def test_the_same_seed_gives_the_same_posterior(alphabet_of, markov_texts) -> None:
    model = model_of(alphabet_of(6), 3, markov_texts(6, [800], seed=3))
    ciphertext = np.random.default_rng(0).integers(0, 6, 12)
    one, two, other = (decipher(model, ciphertext, seed=seed) for seed in (5, 5, 6))
    assert one.map_key == two.map_key
    assert one.info == two.info
    assert one.log_evidence == two.log_evidence
    np.testing.assert_array_equal(one.marginals, two.marginals)
    np.testing.assert_array_equal(one.samples, two.samples)
    assert not np.array_equal(one.samples, other.samples)


def test_bad_input(alphabet_of, markov_texts) -> None:
    model = model_of(alphabet_of(6), 3, markov_texts(6, [300], seed=3))
    rng = np.random.default_rng(0)
    for option in ({"chains": 1}, {"rungs": 1}, {"draws": 3}, {"steps": 0}, {"burn_in": -1}):
        with pytest.raises(InputError, match=f"{next(iter(option))} must be at least"):
            TemperingDecipherer(model, rng, **option)
        with pytest.raises(InputError, match=f"{next(iter(option))} must be at least"):
            temper(KeySpace(model, np.array([0], np.uint8), {}), rng, **option)
    with pytest.raises(InputError, match="contradict"):
        TemperingDecipherer(model, rng, {0: 1, 2: 1})
    for ciphertext, lengths in (([], [1]), ([0, 6], [2]), ([0, 1], [3]), ([[0]], [1])):
        with pytest.raises(InputError):
            TemperingDecipherer(model, rng).posteriors(ciphertext, lengths)
    with pytest.raises(InputError):
        TemperingDecipherer(model, rng).sample([])
