from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.utils.estimator_checks import parametrize_with_checks

import analysis.cli
from analysis.controls import control_labels, selectivity, shuffle_labels, untrained
from analysis.pooling import Pooling, balance, key_posteriors
from analysis.predictive import PredictiveDecipherer
from analysis.probes import LinearProbe, MLPProbe, NearestNeighbourProbe, make_probe
from analysis.readers import (
    ProbeDecipherer,
    fit_decipherer,
    make_readers,
    recover_mapping,
    token_log_proba,
)
from analysis.states import HiddenStates, best_layer, hits, layer_probes, read_states
from ciphers import LETTERS_SPACE, Alphabet, InputError, Key, cryptograms, load_corpus
from ciphers.samples import Batch
from decipher import NGramModel
from decipher.lexinvariant.checkpoint import save
from decipher.lexinvariant.model import Config, Transformer

torch.set_num_threads(1)

FOUR = Alphabet("abcd", "first-4")
SIZES = {"layers": 2, "heads": 1, "width": 8, "hidden": 8, "context": 40, "vector_width": 8}


def transformer(embedding="lexinvariant", seed=0) -> Transformer:
    model = Transformer(Config(embedding, **SIZES), FOUR)
    model.initialise(torch.Generator().manual_seed(seed))
    return model.eval()


def texts(count: int, length: int = 30, seed: int = 0) -> Batch:
    """Cryptograms in which a symbol is likely to follow itself, and a is frequent."""
    rng = np.random.default_rng(seed)
    steps = rng.choice(4, p=[0.6, 0.3, 0.05, 0.05], size=(count, length))
    plain = np.minimum(steps.cumsum(axis=1) % 7, 3).astype(np.uint8)
    return cryptograms(list(plain), FOUR, length, count, rng)


def blobs(classes: int = 3, count: int = 90, width: int = 4, seed: int = 0, spread: float = 1.5):
    """States around the centres of classes: X [count, width], y [count]."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % classes
    X = 2 * rng.normal(size=(classes, width))[y] + spread * rng.normal(size=(count, width))
    return X, y


class Oracle:
    """A stand-in for a model whose states tell the plain symbol, but for noise: state i of layer 1
    is the i-th plain symbol's unit vector; layer 0 holds noise alone."""

    def __init__(self, key: Key, noise: float = 0.0) -> None:
        self.alphabet, self.key, self.noise = key.alphabet, key, noise
        self.device = torch.device("cpu")
        self.reads = 0

    def draw_vectors(self, batch, generator=None):
        return torch.randn(batch, self.alphabet.size, 3, generator=generator)

    def hidden_states(self, tokens, vectors):
        self.reads += 1
        plain = torch.tensor(self.key.decrypt(tokens.numpy()).astype(np.int64))
        told = torch.eye(self.alphabet.size)[plain]
        noise = torch.randn(told.shape, generator=torch.Generator().manual_seed(3))
        start = torch.zeros(len(tokens), 1, self.alphabet.size)
        layers = (noise, told + self.noise * noise)
        return torch.stack([torch.cat([start, states], dim=1) for states in layers])


def unit_probe(size: int = 4) -> LinearProbe:
    """A probe that reads unit vectors."""
    return LinearProbe(ridges=1e-3).fit(np.eye(size).repeat(3, 0), np.arange(size).repeat(3))


# --- probes ---------------------------------------------------------------------------------------


@parametrize_with_checks(
    [
        LinearProbe(ridges=(1e-1, 1e-2), folds=2),
        MLPProbe(hidden=32, learning_rate=3e-2, epochs=40, random_state=0),
        NearestNeighbourProbe(neighbours=3, metric="euclidean"),
        NearestNeighbourProbe(neighbours=None),
    ]
)
def test_scikit_learn_agrees(estimator, check) -> None:
    check(estimator)


@pytest.mark.parametrize("ridge", [1e-4, 1e-1])
def test_a_linear_probe_is_logistic_regression(ridge) -> None:
    X, y = blobs()
    X = X * [1.0, 10.0, 0.1, 1.0] + 5
    probe = LinearProbe(ridges=ridge, tol=1e-8).fit(X, y)
    scaled = (X - X.mean(axis=0)) / X.std(axis=0)
    reference = LogisticRegression(C=1 / (len(X) * ridge), tol=1e-8, max_iter=5000).fit(scaled, y)
    np.testing.assert_allclose(
        probe.predict_proba(X), reference.predict_proba(scaled), atol=1e-5, rtol=0
    )
    # Singular covariances have an optimum as well.
    doubled = np.hstack([X, X])
    assert LinearProbe(ridges=ridge).fit(doubled, y).score(doubled, y) > 0.8


def test_the_ridge_is_that_with_the_least_held_out_loss() -> None:
    X, y = blobs(spread=4.0, width=20)
    ridges = (1e-4, 1e-2, 1e-1, 1e1)
    groups = np.arange(90) // 3
    probe = LinearProbe(ridges=ridges, folds=3, tol=1e-7).fit(X, y, groups)
    standard = (X - X.mean(axis=0)) / X.std(axis=0)
    losses = []
    for ridge in ridges:
        loss = 0.0
        for fold in range(3):
            out = groups % 3 == fold
            C = 1 / ((~out).sum() * ridge)
            reference = LogisticRegression(C=C, tol=1e-8, max_iter=5000)
            proba = reference.fit(standard[~out], y[~out]).predict_proba(standard[out])
            loss -= np.log(proba[np.arange(out.sum()), y[out]]).sum()
        losses.append(loss / 90)
    # The fits that it is chosen by are not run to the end.
    np.testing.assert_allclose(probe.losses_, losses, rtol=3e-3)
    assert probe.ridge_ == ridges[int(np.argmin(losses))]
    assert probe.ridge_ not in (ridges[0], ridges[-1])


def test_whole_groups_are_held_out() -> None:
    """A group's states are all alike and its label is a coin's: by heart, the weakest ridge wins,
    and across groups the strongest."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 30)).repeat(4, axis=0)
    y, groups = rng.integers(2, size=30).repeat(4), np.arange(30).repeat(4)
    ridges = (1e-4, 1e2)
    assert LinearProbe(ridges).fit(X, y, groups).ridge_ == 1e2
    assert LinearProbe(ridges).fit(X, y).ridge_ == 1e-4
    mlp = MLPProbe(hidden=32, learning_rate=3e-2, epochs=20, random_state=0)
    assert mlp.fit(X, y, groups).loss_ > 0.5 > 2 * mlp.fit(X, y).loss_


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_neighbours_are_the_nearest(metric) -> None:
    X, y = blobs()
    queries, _ = blobs(seed=1)
    probe = NearestNeighbourProbe(1, metric).fit(X, y)
    reference = KNeighborsClassifier(1, metric=metric).fit(X, y)
    np.testing.assert_array_equal(probe.predict(queries), reference.predict(queries))
    votes = KNeighborsClassifier(7, metric=metric).fit(X, y).predict_proba(queries)
    proba = NearestNeighbourProbe(7, metric).fit(X, y).predict_proba(queries)
    np.testing.assert_allclose(proba, (7 * votes + 1 / 3) / 8, atol=1e-12)


def test_centroids_are_the_nearest() -> None:
    X, y = blobs()
    queries, _ = blobs(seed=1)
    far = 1000.0
    probe = NearestNeighbourProbe(None, "euclidean").fit(X + far, y)
    reference = NearestCentroid().fit(X, y)
    np.testing.assert_array_equal(probe.predict(queries + far), reference.predict(queries))
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    means = np.array([unit[y == k].mean(axis=0) for k in range(3)])
    cosines = queries @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
    probe = NearestNeighbourProbe(None, "cosine").fit(X, y)
    np.testing.assert_array_equal(probe.predict(queries), cosines.argmax(axis=1))


@pytest.mark.parametrize("name", ["linear", "mlp", "neighbour", "centroid"])
def test_tensors_and_missing_classes_are_welcome(name) -> None:
    X, y = blobs(spread=0.3)
    letters = np.array([2, 5, 17], np.uint8)[y]
    by_array = make_probe(name, 0).fit(X.astype(np.float32), letters)
    by_tensor = make_probe(name, 0).fit(torch.tensor(X, dtype=torch.float32), torch.tensor(letters))
    np.testing.assert_array_equal(by_array.classes_, [2, 5, 17])
    np.testing.assert_allclose(by_tensor.predict_proba(X), by_array.predict_proba(X), atol=1e-5)
    assert by_tensor.score(torch.tensor(X), torch.tensor(letters)) > 0.95
    log_proba = token_log_proba(by_array, torch.tensor(X).reshape(9, 10, 4), 27)
    assert log_proba.shape == (9, 10, 27)
    np.testing.assert_allclose(np.exp(log_proba).sum(axis=-1), 1, atol=1e-5)


def test_only_so_many_references_are_kept() -> None:
    X, y = blobs()
    probe = NearestNeighbourProbe(3, references=20, random_state=1).fit(X, y)
    assert probe.references_.shape == (20, 4)
    again = NearestNeighbourProbe(3, references=20, random_state=1).fit(X, y)
    np.testing.assert_array_equal(again.references_, probe.references_)


@pytest.mark.parametrize(
    ("probe", "words"),
    [
        (LinearProbe(ridges=()), "ridges are positive"),
        (LinearProbe(ridges=0.0), "ridges are positive"),
        (NearestNeighbourProbe(metric="manhattan"), "no metric 'manhattan'"),
        (NearestNeighbourProbe(neighbours=0), "neighbours must be at least 1"),
        (MLPProbe(hidden=0), "hidden must be at least 1"),
    ],
)
def test_wrong_settings_are_named(probe, words) -> None:
    with pytest.raises(InputError, match=words):
        probe.fit(*blobs())
    with pytest.raises(InputError, match="no probe 'oracle'"):
        make_probe("oracle")


# --- hidden states --------------------------------------------------------------------------------


def test_a_state_belongs_to_the_symbol_just_read() -> None:
    model, batch = transformer(), texts(19, 12)
    states = read_states(model, batch, torch.Generator().manual_seed(5), None)
    assert states.states.shape == (3, 19, 12, 8)
    generator = torch.Generator().manual_seed(5)
    vectors = torch.cat([model.draw_vectors(16, generator), model.draw_vectors(3, generator)])
    with torch.no_grad():
        tokens = torch.tensor(batch.ciphertext)
        expected = model.hidden_states(tokens, vectors)
        # The first 7 symbols and the eighth settle the state at the eighth.
        prefix = model.hidden_states(tokens[:, :8], vectors)[:, :, -1]
    torch.testing.assert_close(states.states, expected[:, :, 1:])
    torch.testing.assert_close(states.states[:, :, 7], prefix)
    last = read_states(model, batch, torch.Generator().manual_seed(5))
    torch.testing.assert_close(last.states, states.layer(-1).states)
    np.testing.assert_array_equal(last.y.reshape(19, 12), batch.plaintext)
    np.testing.assert_array_equal(last.groups, np.arange(19).repeat(12))
    np.testing.assert_array_equal(last.positions[:13], [*range(12), 0])
    torch.testing.assert_close(last.take(slice(3, 5)).X, last.X[36:60])
    with pytest.raises(InputError, match="no layer 3"):
        read_states(model, batch, layer=3)
    with pytest.raises(InputError, match="no ciphertext"):
        read_states(model, Batch(FOUR, batch.ciphertext[:0], batch.plaintext[:0], batch.keys[:0]))


def test_the_best_layer_is_where_the_letters_are() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=(6, 30)).astype(np.uint8)
    noise = torch.tensor(rng.normal(size=(4, 6, 30, 4)), dtype=torch.float32)
    told = torch.eye(4)[torch.tensor(labels.astype(int))]
    noise[0] += 9 * told
    noise[2] += 3 * told
    states = HiddenStates(noise, labels, labels)
    assert best_layer(states) == 2
    probes = layer_probes(states.take(slice(3)))
    assert len(probes) == 4
    assert best_layer(states.take(slice(3, None)), probes) == 2
    # A probe of another layer does not read it.
    probes[2] = probes[1]
    assert best_layer(states.take(slice(3, None)), probes) != 2
    with pytest.raises(InputError, match="at least 2"):
        best_layer(states.take(slice(1)))


# --- from tokens to keys --------------------------------------------------------------------------


def test_balanced_matrices_are_doubly_stochastic_and_proportional() -> None:
    scores = np.random.default_rng(0).normal(size=(3, 5, 5)) * 3
    found = balance(scores)
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-12)
    np.testing.assert_allclose(found.sum(axis=-2), 1, atol=1e-6)
    # Cross ratios are those of exp(scores), whatever the factors of rows and columns.
    kept = np.log(found) - scores
    np.testing.assert_allclose(np.diff(np.diff(kept, axis=-1), axis=-2), 0, atol=1e-8)
    shift = np.arange(5.0)
    np.testing.assert_allclose(balance(scores + shift[:, None] - 2 * shift), found, atol=1e-6)


@pytest.mark.parametrize("scale", [1, 20, 1000])
def test_balancing_reaches_its_tolerance(scale) -> None:
    """Also where few entries count, and where undamped steps would go round in circles."""
    rng = np.random.default_rng(0)
    dense = scale * rng.normal(size=(200, 27, 27))
    sparse = np.where(rng.random((50, 27, 27)) < 0.15, 0.0, -scale)
    triangle = np.where(np.tri(27) > 0, 0.0, -scale)[None]
    for scores in (dense, sparse, triangle, dense[:, :2, :2], dense[:, :1, :1]):
        found = balance(scores)
        assert (found >= 0).all()
        np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-12)
        np.testing.assert_allclose(found.sum(axis=-2), 1, atol=1e-6)


def test_balancing_survives_certainty_and_contradiction() -> None:
    certain = np.where(np.eye(5)[[1, 0, 2, 4, 3]] > 0, 0.0, -1e4)
    np.testing.assert_allclose(balance(certain), np.exp(certain), atol=1e-9)
    contrary = np.zeros((5, 5))
    contrary[:2, 0] = 500.0  # two symbols are certain of one letter
    found = balance(contrary)
    np.testing.assert_allclose(found[:2, 0], 0.5, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=-2), 1, atol=1e-6)


def test_pooling_adds_up_occurrences() -> None:
    log_proba = np.log(np.random.default_rng(0).dirichlet(np.ones(3), size=(1, 5)))
    symbols = np.array([[2, 0, 2, 2, 0]], np.uint8)
    scores = Pooling(0.5, 0.25).scores(log_proba, symbols, (1, 5, 4))
    assert scores.shape == (1, 3, 3, 3)
    p = 0.5 * log_proba[0]
    np.testing.assert_allclose(scores[0, 0], [np.zeros(3), np.zeros(3), p[0]])
    np.testing.assert_allclose(scores[0, 1, 2], p[0] / 16 + p[2] / 4 + p[3])
    np.testing.assert_allclose(scores[0, 1, 0], p[1] / 4 + p[4])
    np.testing.assert_allclose(scores[0, 2, 0], p[1])
    for sharpness, decay in ((0.0, 0.5), (1.0, 1.5)):
        with pytest.raises(InputError, match="sharpness above 0"):
            Pooling(sharpness, decay)


@pytest.mark.parametrize("dependent", [False, True])
def test_pooling_learns_how_far_occurrences_depend(dependent) -> None:
    """Independent ones are to be added up, equal ones to be counted once."""
    rng = np.random.default_rng(0)
    batch = texts(40, 20)
    likelihood = rng.normal(size=(40, 20, 4))
    if dependent:  # what is said of a symbol is what was said at first
        likelihood = np.take_along_axis(likelihood[:, :4], batch.ciphertext[:, :, None], axis=1)
    told = np.eye(4)[batch.plaintext]
    # Log likelihood ratios of unit Gaussians whose means are unit vectors.
    log_proba = told + likelihood
    log_proba -= np.log(np.exp(log_proba).sum(axis=-1, keepdims=True))
    fitted = Pooling.fit(log_proba, batch.ciphertext, batch.plaintext)
    assert fitted.decay == (0.0 if dependent else 1.0)
    assert 0.3 < fitted.sharpness < 3


def test_a_planted_key_is_found() -> None:
    rng = np.random.default_rng(0)
    key = Key.random(FOUR, rng)
    cipher = key.encrypt(np.array([0, 0, 1, 3, 2, 1], np.uint8))
    model = Oracle(key)
    posteriors = recover_mapping(model, unit_probe(), cipher, (2, 4, 6), layer=1)
    assert model.reads == 1
    for posterior, length in zip(posteriors, (2, 4, 6), strict=True):
        np.testing.assert_array_equal(posterior.seen, np.unique(cipher[:length]))
        np.testing.assert_allclose(posterior.marginals.sum(axis=1), 1, atol=1e-9)
        np.testing.assert_allclose(posterior.marginals.sum(axis=0), 1, atol=1e-6)
        read = posterior.decode(cipher[:length])
        np.testing.assert_array_equal(read.ids, key.decrypt(cipher[:length]))
        unseen = np.setdiff1d(np.arange(4), posterior.seen)
        assert (np.ptp(posterior.marginals[unseen], axis=0) == 0).all() if len(unseen) else True
        assert (read.confidence > 0.9).all()
    # Layer 0 tells nothing; to take the state before the symbol would not do either.
    wrong = recover_mapping(model, unit_probe(), cipher, (6,), layer=0)[0]
    assert wrong.expected_accuracy(cipher) < 0.9
    assert recover_mapping(model, unit_probe(), cipher, ()) == []


def test_known_letters_are_kept() -> None:
    scores = np.random.default_rng(0).normal(size=(1, 4, 4))
    (posterior,) = key_posteriors(scores, [np.array([0, 1, 2, 0], np.uint8)], FOUR, {1: 3})
    np.testing.assert_array_equal(posterior.marginals[1], [0, 0, 0, 1])
    np.testing.assert_array_equal(posterior.marginals[[0, 2, 3], 3], 0)
    np.testing.assert_allclose(posterior.marginals.sum(axis=0), 1, atol=1e-6)
    assert posterior.map_key.mapping[3] == 1
    cipher = np.array([0, 1, 2, 0], np.uint8)
    key = Key(FOUR, [1, 0, 2, 3])
    posterior = recover_mapping(Oracle(key), unit_probe(), cipher, (4,), known={0: 0})[0]
    assert posterior.map_key.mapping[0] == 0
    with pytest.raises(InputError, match="contradict"):
        recover_mapping(Oracle(key), unit_probe(), cipher, (4,), known={0: 0, 1: 0})


def test_symbols_that_did_not_occur_are_alike() -> None:
    scores = 100 * np.random.default_rng(0).normal(size=(1, 27, 27))
    (posterior,) = key_posteriors(scores, [np.arange(20, dtype=np.uint8)], LETTERS_SPACE, {20: 3})
    assert (np.ptp(posterior.marginals[21:], axis=0) == 0).all()
    np.testing.assert_allclose(posterior.marginals.sum(axis=0), 1, atol=1e-6)


@pytest.fixture(scope="module")
def decipherer() -> ProbeDecipherer:
    """A linear probe on a model that nothing has trained."""
    model = transformer()
    states = read_states(model, texts(40), torch.Generator().manual_seed(0))
    probe = LinearProbe(ridges=1e-2)
    return fit_decipherer(model, probe, states, -1, np.random.default_rng(0))


def test_relabelled_ciphertexts_have_relabelled_posteriors(decipherer) -> None:
    model, cipher = decipherer.model, texts(1, seed=5).ciphertext[0]
    vectors = model.draw_vectors(1, torch.Generator().manual_seed(1))
    relabelling = np.array([2, 0, 3, 1])
    moved = torch.empty_like(vectors)
    moved[:, relabelling] = vectors

    def marginals(text, vectors):
        found = recover_mapping(
            model, decipherer.probe, text, (5, 30), pooling=decipherer.pooling, vectors=vectors
        )
        return np.array([posterior.marginals for posterior in found])

    plain = marginals(cipher, vectors)
    other = marginals(relabelling.astype(np.uint8)[cipher], moved)
    np.testing.assert_allclose(other[:, relabelling], plain, atol=1e-5)
    assert np.abs(other - plain).max() > 1e-3


def test_prefixes_are_what_separate_calls_give(decipherer) -> None:
    cipher = texts(1, seed=5).ciphertext[0]

    def read(text, lengths):
        fresh = ProbeDecipherer(
            decipherer.model, decipherer.probe, np.random.default_rng(7), -1, decipherer.pooling
        )
        return [posterior.marginals for posterior in fresh.posteriors(text, lengths)]

    together = read(cipher, (30, 3, 11))
    for length, found in zip((30, 3, 11), together, strict=True):
        np.testing.assert_allclose(read(cipher[:length], (length,))[0], found, atol=1e-5)
    with pytest.raises(InputError, match="no prefix of 31"):
        read(cipher, (31,))


def test_pooling_is_fitted_to_texts_that_the_probe_was_not(monkeypatch) -> None:
    states = read_states(transformer(), texts(10))
    seen = {}

    class Watched(LinearProbe):
        def fit(self, X, y, groups=None):
            seen["probe"] = y
            return super().fit(X, y, groups)

    def watched(log_proba, symbols, labels):
        seen["pooling"] = labels
        return Pooling()

    monkeypatch.setattr(Pooling, "fit", watched)
    fit_decipherer(transformer(), Watched(ridges=1e-2), states, -1, np.random.default_rng(0))
    np.testing.assert_array_equal(seen["probe"], states.labels[:8].ravel())
    np.testing.assert_array_equal(seen["pooling"], states.labels[8:])


def test_too_few_texts_are_refused() -> None:
    states = read_states(transformer(), texts(4))
    with pytest.raises(InputError, match="4 texts are too few"):
        fit_decipherer(transformer(), LinearProbe(), states, -1, np.random.default_rng(0))


# --- the model's own prediction -------------------------------------------------------------------


class Knowing:
    """A stand-in for a model that predicts as the language does, through the key."""

    def __init__(self, language: NGramModel, key: Key) -> None:
        self.alphabet, self.language, self.key = language.alphabet, language, key
        self.device = torch.device("cpu")

    def log_conditionals(self, tokens, generator=None):
        plain = self.language.log_conditionals(self.key.decrypt(tokens.numpy()))
        return torch.tensor(plain[..., self.key.inverse.mapping])


class Ignorant(Knowing):
    """One that expects every symbol alike."""

    def log_conditionals(self, tokens, generator=None):
        return torch.full((*tokens.shape[:-1], tokens.shape[-1] + 1, 4), -np.log(4))


@pytest.fixture(scope="module")
def bigrams() -> NGramModel:
    return NGramModel.estimate(list(texts(60, 40, seed=7).plaintext), FOUR, 2)


def test_what_a_model_expects_gives_the_key_away(bigrams) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        key = Key.random(FOUR, rng)
        cipher = key.encrypt(texts(1, 40, seed=seed).plaintext[0])
        reader = PredictiveDecipherer(Knowing(bigrams, key), bigrams, rng)
        short, full = reader.posteriors(cipher, (10, 40))
        np.testing.assert_array_equal(full.decode(cipher).ids, key.decrypt(cipher))
        for posterior in (short, full):
            np.testing.assert_allclose(posterior.marginals.sum(axis=1), 1, atol=1e-9)
            np.testing.assert_allclose(posterior.marginals.sum(axis=0), 1, atol=1e-5)
        ignorant = PredictiveDecipherer(Ignorant(bigrams, key), bigrams, rng)
        (nothing,) = ignorant.posteriors(cipher, (40,))
        np.testing.assert_allclose(nothing.marginals, 0.25, atol=1e-6)
        kept = PredictiveDecipherer(Knowing(bigrams, key), bigrams, rng, known={0: 1})
        assert kept.posteriors(cipher, (40,))[0].map_key.mapping[1] == 0


def test_alphabets_must_agree(bigrams) -> None:
    stand_in = SimpleNamespace(alphabet=Alphabet("wxyz", "last-4"))
    with pytest.raises(InputError, match="models of one alphabet"):
        PredictiveDecipherer(stand_in, bigrams, np.random.default_rng(0))
    with pytest.raises(InputError, match="encrypt texts over that"):
        read_states(stand_in, texts(1))


# --- controls -------------------------------------------------------------------------------------


def test_an_untrained_twin_has_other_weights() -> None:
    model = transformer(seed=0)
    before = model.start.clone()
    twin = untrained(model, torch.Generator().manual_seed(1))
    assert twin.config == model.config
    assert not torch.equal(twin.start, before)
    torch.testing.assert_close(model.start, before)
    torch.testing.assert_close(untrained(model, torch.Generator().manual_seed(0)).start, before)


def test_control_labels_are_a_relabelling_of_each_text() -> None:
    batch = texts(50)
    states = HiddenStates(torch.zeros(50, 30, 2), batch.plaintext, batch.ciphertext)
    control = control_labels(states, np.random.default_rng(0), 4)
    for symbols, labels in zip(batch.ciphertext, control.labels, strict=True):
        pairs = set(zip(symbols.tolist(), labels.tolist(), strict=True))
        assert len(pairs) == len(np.unique(symbols)) == len(np.unique(labels))
    assert len(np.unique(control.labels[:, 0])) == 4
    shuffled = shuffle_labels(states, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(shuffled.y), np.sort(states.y))
    assert (shuffled.labels != states.labels).mean() > 0.3


def test_selectivity_tells_what_is_known_from_what_is_learned_by_heart() -> None:
    """The states hold the plain symbol, and the ciphertext's own mark; who learns by heart learns
    the control task from the mark."""
    batch, rng = texts(40), np.random.default_rng(0)
    mark = np.repeat(rng.normal(size=(40, 1, 6)), 30, axis=1)
    told = 3 * np.eye(4)[batch.plaintext]
    states = HiddenStates(
        torch.tensor(np.concatenate([mark, told], axis=2)), batch.plaintext, batch.ciphertext
    )
    by_heart = selectivity(NearestNeighbourProbe(1, "euclidean"), states, rng, 4)
    linear = selectivity(LinearProbe(ridges=1e-2), states, rng, 4)
    assert by_heart.accuracy == 1
    assert by_heart.control > 0.8
    assert by_heart.selectivity == by_heart.accuracy - by_heart.control
    assert linear.accuracy > 0.99
    assert linear.selectivity > by_heart.selectivity + 0.2
    # What is measured is not what was learned: noise can be learned by heart alone.
    noise = HiddenStates(torch.tensor(rng.normal(size=(40, 30, 6))), states.labels, states.symbols)
    assert selectivity(NearestNeighbourProbe(1, "euclidean"), noise, rng, 4).accuracy < 0.7


# --- by name --------------------------------------------------------------------------------------


def test_readers_are_fitted_by_name(bigrams) -> None:
    corpus = load_corpus("built-in")
    sizes = SIZES | {"context": 24, "layers": 1}
    model = Transformer(Config("lexinvariant", **sizes), LETTERS_SPACE)
    model.initialise(torch.Generator().manual_seed(0))
    language = NGramModel.estimate([corpus.encode(LETTERS_SPACE)[0]], LETTERS_SPACE, 2)

    def readers(names):
        return make_readers(names, {"tiny": model}, language, corpus.train, texts=20, fixed=" ")

    found = readers(["neighbour", "predictive"])
    assert sorted(found) == ["neighbour, tiny", "predictive, tiny"]
    assert found["neighbour, tiny"].about["layer"] == 1
    batch = cryptograms(corpus.test, LETTERS_SPACE, 24, 1, np.random.default_rng(0), " ")
    (cipher,) = batch.ciphertext
    for reader in found.values():
        one, same = (
            reader(rng=np.random.default_rng(1)).posteriors(cipher, (24,))[0] for _ in range(2)
        )
        np.testing.assert_array_equal(one.marginals, same.marginals)
        assert one.marginals[26, 26] == 1
    # What a probe is fitted to does not hang on which others there are.
    alone = readers(["neighbour"])["neighbour, tiny"].decipherer
    assert alone.pooling == found["neighbour, tiny"].decipherer.pooling
    for name in analysis.cli.READERS:
        assert name == "predictive" or make_probe(name)


@pytest.fixture
def weights(tmp_path, monkeypatch) -> list[str]:
    """Two models that nothing has trained, in files."""
    monkeypatch.chdir(tmp_path)
    for name in ("lexinvariant", "learned"):
        model = Transformer(Config(name, **SIZES | {"layers": 1}), LETTERS_SPACE)
        save(model, f"letters-space-{name}.safetensors")
    return ["letters-space-lexinvariant.safetensors", "letters-space-learned.safetensors"]


def test_the_command_draws_them_all_on_one_plot(weights, capsys, monkeypatch) -> None:
    fitted_to = []

    def watched(names, models, language, corpus, **options):
        fitted_to.append(corpus.hash)
        return make_readers(names, models, language, corpus, **options)

    monkeypatch.setattr("analysis.readers.make_readers", watched)
    arguments = ["--decipherer", "neighbour", "--decipherer", "frequency", "predictive"]
    arguments += ["--model", weights[0], "--model", weights[1], "--probe-texts", "20"]
    assert analysis.cli.main([*arguments, "--lengths", "8", "16", "--ciphers", "3"]) == 0
    capsys.readouterr()
    frame = pd.read_csv("results/accuracy.csv")
    assert frame["decipherer"].unique().tolist() == [
        "neighbour, lexinvariant",
        "neighbour, learned",
        "frequency",
        "predictive, lexinvariant",
        "predictive, learned",
    ]
    assert frame["length"].tolist() == [8, 16] * 5
    assert fitted_to == [load_corpus("built-in").train.hash]
    run = json.loads(Path("results/accuracy.json").read_text())
    assert run["arguments"]["models"] == weights
    assert run["arguments"]["alphabet"] == "letters-space"
    assert set(run["arguments"]["readers"]) == {*frame["decipherer"]} - {"frequency"}
    assert Path("results/accuracy.png").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--split", "train"], "fitted to the training split"),
        (["--split", "all"], "fitted to the training split"),
        (["--lengths", "41"], "reads at most 40 symbols, not 41"),
        (["--alphabet", "letters"], "leave out --alphabet"),
        (["--decipherer", "oracle"], "no decipherer 'oracle'"),
    ],
)
def test_the_command_refuses_what_cannot_be(weights, capsys, arguments, says) -> None:
    given = ["--decipherer", "linear", "--model", weights[0], "--lengths", "8", *arguments]
    assert analysis.cli.main(given) == 2
    assert says in capsys.readouterr().err


def test_a_model_needs_a_reader(capsys) -> None:
    assert analysis.cli.main(["--model", "letters-space-lexinvariant"]) == 2
    assert "no method is named that reads" in capsys.readouterr().err


def test_hits_are_counted_by_text() -> None:
    batch = texts(3, 10)
    told = torch.eye(4)[torch.tensor(batch.plaintext.astype(int))]
    told[1, 4] = told[1, 4].roll(1)
    right = hits(unit_probe(), HiddenStates(told, batch.plaintext, batch.ciphertext))
    assert right.shape == (3, 10)
    assert not right[1, 4]
    assert right.sum() == 29
