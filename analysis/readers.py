"""Decipherers that read what the hidden states of a transformer tell of the key.

Fed a substitution cipher, a lexinvariant model must infer in context which symbol plays which
letter. Two read-outs ask whether it has (Huang et al. 2023, arXiv 2305.16349, section 4.2):

    at the symbol's own place   a probe, fitted on ciphertexts under other keys, names the letter
                                from the hidden state where the symbol was read; `ProbeDecipherer`
    the model's own prediction  needs no probe: it is matched with the predictions of a language
                                model that knows the letters; `PredictiveDecipherer`

In the order data flows: cryptograms -> `read_states` -> a probe -> `Pooling` -> `KeyPosterior`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from torch import Tensor

from analysis.pooling import Pooling, key_posteriors
from analysis.predictive import PredictiveDecipherer
from analysis.probes import Probe, make_probe
from analysis.states import (
    HiddenStates,
    best_layer,
    check_layer,
    read_states,
    torch_generator,
)
from ciphers.corpora import Corpus
from ciphers.errors import InputError
from ciphers.samples import cryptograms
from decipher.language import LanguageModel
from decipher.lexinvariant.model import Transformer
from decipher.posterior import Decipherer, KeyPosterior, check_known, check_prefixes

Array = NDArray[np.float64]

#: Symbols of a text that a probe is fitted to, if the model can read so many.
LENGTH = 512
#: Texts that the layer is chosen by, one half to fit linear probes and the other to score them:
#: there the states of all layers are kept.
FOR_LAYER = 32
#: The share of every token's probability that is spread evenly over the letters before logarithms
#: are taken: a probe that has never met a letter must not rule it out.
FLOOR = 1e-3


def token_log_proba(probe: Any, states: Tensor, size: int) -> Array:
    """log p(plain symbol) that a fitted probe gives each token, nats.

    Args:
        probe: its classes are plain ids, not necessarily all.
        states: [..., width].
        size: V.

    Returns:
        [..., V]; a share `FLOOR` of each token's probability is spread evenly.
    """
    proba = np.zeros((math.prod(states.shape[:-1]), size))
    proba[:, probe.classes_.astype(np.intp)] = probe.predict_proba(
        states.reshape(-1, states.shape[-1])
    )
    return np.log((1 - FLOOR) * proba + FLOOR / size).reshape(*states.shape[:-1], size)


@torch.no_grad()
def recover_mapping(
    model: Transformer,
    probe: Any,
    ciphertext: ArrayLike,
    lengths: Sequence[int],
    *,
    layer: int = -1,
    pooling: Pooling | None = None,
    known: Mapping[int, int] | None = None,
    generator: torch.Generator | None = None,
    vectors: Tensor | None = None,
) -> list[KeyPosterior]:
    """What a probe finds in a model's hidden states of the key, after each length.

    The model reads the ciphertext once: its states look back only, so those of a prefix are those
    that it would have by itself.

    Args:
        model: the transformer.
        probe: fitted on states of that layer; its classes are plain ids.
        ciphertext: [n] cipher ids, n at most the model's context.
        lengths: of prefixes.
        layer: see `read_states`.
        pooling: of the occurrences of a symbol; by default the last one counts.
        known: cipher ids whose plain ids are given.
        generator: of the model's device; draws the vectors where none are given.
        vectors: [1, V, E].

    Raises:
        InputError: a length or an id is out of range, `known` contradicts itself, there is no such
            layer, or the text is longer than the context.
    """
    alphabet = model.alphabet
    letters = check_known(known, alphabet)
    prefixes = check_prefixes(ciphertext, lengths, alphabet)
    if not prefixes:
        return []
    longest = max(prefixes, key=len)
    if vectors is None:
        vectors = model.draw_vectors(1, generator)
    states = model.hidden_states(torch.tensor(longest[None], device=model.device), vectors)
    log_proba = token_log_proba(
        probe, states[check_layer(layer, len(states)), :, 1:], alphabet.size
    )
    scores = (pooling or Pooling()).scores(log_proba, longest[None], lengths)
    return key_posteriors(scores[0], prefixes, alphabet, letters)


@dataclass(frozen=True, eq=False)
class ProbeDecipherer:
    """Reads ciphertexts by a probe on the hidden states of a model; a `Decipherer`.

    Attributes:
        model: the transformer.
        probe: fitted on hidden states of texts under other keys; see `fit_decipherer`.
        rng: settles the vectors of each text.
        layer, pooling, known: see `recover_mapping`.
    """

    model: Transformer
    probe: Any
    rng: np.random.Generator
    layer: int = -1
    pooling: Pooling = field(default_factory=Pooling)
    known: Mapping[int, int] | None = None

    def posteriors(self, ciphertext: ArrayLike, lengths: Sequence[int]) -> list[KeyPosterior]:
        """See `Decipherer`; one forward pass serves all lengths."""
        return recover_mapping(
            self.model,
            self.probe,
            ciphertext,
            lengths,
            layer=self.layer,
            pooling=self.pooling,
            known=self.known,
            generator=torch_generator(self.model, self.rng),
        )


def fit_decipherer(
    model: Transformer,
    probe: Probe,
    states: HiddenStates,
    layer: int,
    rng: np.random.Generator,
    known: Mapping[int, int] | None = None,
) -> ProbeDecipherer:
    """Fit a probe, and the pooling of its answers, to hidden states of solved ciphertexts.

    Args:
        model: the transformer.
        probe: to be fitted, on four fifths of the texts; the pooling is fitted on the rest.
        states: what the model made of at least 5 texts, from other books than what is to be
            deciphered.
        layer: where they are from, see `read_states`.
        rng, known: of the decipherer, see `ProbeDecipherer`.

    Raises:
        InputError: there are too few texts.
    """
    texts = len(states.labels)
    if texts < 5:
        raise InputError(f"{texts} texts are too few to fit a probe: give 5 or more")
    fitted, rest = states.take(slice(texts * 4 // 5)), states.take(slice(texts * 4 // 5, None))
    probe.fit(fitted.X, fitted.y, fitted.groups)
    log_proba = token_log_proba(probe, rest.states, model.alphabet.size)
    pooling = Pooling.fit(log_proba, rest.symbols, rest.labels)
    return ProbeDecipherer(model, probe, rng, layer, pooling, known)


@dataclass(frozen=True, eq=False)
class Reader:
    """Makes decipherers that differ only in their random numbers: a `Factory` of
    `analysis.trials`.

    Attributes:
        decipherer: the first of them.
        about: how it was fitted, what JSON can hold.
    """

    decipherer: ProbeDecipherer | PredictiveDecipherer
    about: Mapping[str, Any]

    def __call__(self, *, rng: np.random.Generator) -> Decipherer:
        """The same decipherer with `rng`."""
        return replace(self.decipherer, rng=rng)


def make_readers(
    names: Sequence[str],
    models: Mapping[str, Transformer],
    language: LanguageModel,
    corpus: Corpus,
    *,
    texts: int = 400,
    layer: int | None = None,
    fixed: str = "",
    seed: int = 0,
) -> dict[str, Reader]:
    """Fit what reads the models.

    Args:
        names: of probes (see `make_probe`), and "predictive".
        models: label -> transformer.
        language: what "predictive" holds the models' predictions against.
        corpus: of the texts to fit on: the training split of what is measured on.
        texts: how many; each has `LENGTH` symbols, or as many as the model can read.
        layer: see `read_states`; None takes each model's `best_layer`, on the first of the texts.
        fixed: symbols that every key leaves as they are; the decipherers know of them.
        seed: of texts, keys and vectors, which depend on nothing else.

    Returns:
        A reader for each name and model, called "name, label".

    Raises:
        InputError: there is no such probe, no such layer, or no document is long enough.
    """
    probes = {name: make_probe(name, seed) for name in names if name != "predictive"}
    readers: dict[str, Reader] = {}
    for label, model in models.items():
        for_texts, for_vectors = map(
            np.random.default_rng, np.random.SeedSequence(seed, spawn_key=(0,)).spawn(2)
        )
        known = {int(i): int(i) for i in model.alphabet.indices(fixed)}
        if "predictive" in names:
            matched = PredictiveDecipherer(model, language, for_vectors, known)
            readers[f"predictive, {label}"] = Reader(matched, {})
        if not probes:
            continue
        length = min(LENGTH, model.context)
        batch = cryptograms(corpus, model.alphabet, length, texts, for_texts, fixed)
        generator = torch_generator(model, for_vectors)
        at = layer
        if at is None:
            some = batch.take(slice(FOR_LAYER))
            at = best_layer(read_states(model, some, generator, None))
        states = read_states(model, batch, generator, at)
        for name, probe in probes.items():
            fitted = fit_decipherer(model, clone(probe), states, at, for_vectors, known)
            about = {"layer": at, "pooling": asdict(fitted.pooling), **probe.get_params()}
            readers[f"{name}, {label}"] = Reader(fitted, about)
    return readers
