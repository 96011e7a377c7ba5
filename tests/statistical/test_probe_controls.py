"""Controls: what a probe finds where there is nothing to find.

The unit is the text: accuracies of different texts are independent, those of the symbols of one
text are not. Means of 120 texts are close to normal; a deviation of 4.5 standard errors, to one
side or the other, is a false alarm in a hundred thousand, if the seeds were not fixed.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from analysis.controls import control_labels, shuffle_labels
from analysis.probes import LinearProbe, NearestNeighbourProbe
from analysis.states import HiddenStates, hits, read_states
from ciphers import LETTERS_SPACE, cryptograms, load_corpus
from ciphers.samples import Batch
from decipher.lexinvariant.model import Config, Transformer

torch.set_num_threads(1)

V = LETTERS_SPACE.size
ERRORS = 4.5
SIZES = {"layers": 1, "heads": 1, "width": 16, "hidden": 16, "context": 64, "vector_width": 16}
PROBES = {
    "linear": LinearProbe(ridges=1e-3),
    "neighbour": NearestNeighbourProbe(neighbours=1),
}


@pytest.fixture(scope="module")
def batches() -> tuple[Batch, Batch]:
    """Ciphertexts to fit on and to measure on."""
    corpus, rng = load_corpus("built-in"), np.random.default_rng(0)
    return (
        cryptograms(corpus.train, LETTERS_SPACE, 64, 120, rng),
        cryptograms(corpus.test, LETTERS_SPACE, 64, 120, rng),
    )


@pytest.fixture(scope="module", params=["lexinvariant", "learned"])
def read(request, batches) -> tuple[HiddenStates, HiddenStates]:
    """What an untrained model makes of both."""
    model = Transformer(Config(request.param, **SIZES), LETTERS_SPACE)
    model.initialise(torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    fitted, measured = (read_states(model, batch, generator) for batch in batches)
    return fitted, measured


def z(accuracies: np.ndarray, expected: float) -> float:
    """By how many standard errors the mean over texts is above what is expected."""
    error = accuracies.std(ddof=1) / math.sqrt(len(accuracies))
    return float((accuracies.mean() - expected) / error)


def test_no_key_book_or_window_is_shared(batches) -> None:
    corpus = load_corpus("built-in")
    books = [{document.hash for document in part.documents} for part in (corpus.train, corpus.test)]
    assert not books[0] & books[1]
    keys = [{key.tobytes() for key in batch.keys} for batch in batches]
    assert not keys[0] & keys[1]
    # Stock phrases recur in any prose; three quarters of a window do not.
    parts = [
        {text[i : i + 48].tobytes() for text in batch.plaintext for i in range(17)}
        for batch in batches
    ]
    assert not parts[0] & parts[1]


@pytest.mark.parametrize("name", PROBES)
def test_labels_drawn_anew_for_each_text_cannot_be_told(read, name) -> None:
    """The label of a token is uniform given everything that is not of its own text, so every probe
    has an expected accuracy of 1 / V on each text, unless something of the text was fitted on."""
    rng = np.random.default_rng(2)
    fitted, measured = (control_labels(states, rng, V) for states in read)
    probe = PROBES[name].fit(fitted.X, fitted.y, fitted.groups)
    accuracies = hits(probe, measured).mean(axis=1)
    assert abs(z(accuracies, 1 / V)) < ERRORS


def test_a_leak_would_show(read) -> None:
    """The same measurement where each text stands on both sides: its even places are fitted on,
    its odd ones measured."""
    states = control_labels(read[0], np.random.default_rng(2), V)
    even, odd = (
        HiddenStates(states.states[:, i::2], states.labels[:, i::2], states.symbols[:, i::2])
        for i in (0, 1)
    )
    probe = PROBES["neighbour"].fit(even.X, even.y)
    assert z(hits(probe, odd).mean(axis=1), 1 / V) > 2 * ERRORS


@pytest.mark.parametrize("name", PROBES)
def test_shuffled_labels_teach_frequencies_at_most(read, name) -> None:
    """Under shuffled labels the best guess is the space, for every token."""
    fitted, measured = read
    shuffled = shuffle_labels(fitted, np.random.default_rng(3))
    probe = PROBES[name].fit(shuffled.X, shuffled.y)
    space = np.bincount(fitted.y).argmax()
    gains = (hits(probe, measured) * 1.0 - (measured.labels == space)).mean(axis=1)
    assert gains.mean() <= ERRORS * gains.std(ddof=1) / math.sqrt(len(gains))
