"""The hidden states of a transformer that has read ciphertexts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.probes import LinearProbe
from ciphers.alphabet import Ids
from ciphers.errors import InputError
from ciphers.samples import Batch
from decipher.lexinvariant.model import Transformer

#: Texts that a transformer reads at a time.
BATCH = 16
#: The ridge of `quick_probe`, and its steps at most.
RIDGE, STEPS = 1e-3, 60


@dataclass(frozen=True, eq=False)
class HiddenStates:
    """What a model made of N ciphertexts of n symbols, each at its own position.

    Attributes:
        states: [N, n, width], of one layer; or [layers + 1, N, n, width], of all. State i of a
            text is where its symbol i has just been read.
        labels: [N, n] the plain id of each symbol.
        symbols: [N, n] the cipher ids.
    """

    states: Tensor
    labels: Ids
    symbols: Ids

    def layer(self, layer: int) -> HiddenStates:
        """Those of one layer, where there are all: 0 is before the first block, -1 the last."""
        return replace(self, states=self.states[layer])

    def take(self, rows: slice) -> HiddenStates:
        """Those of some of the texts."""
        states = self.states[..., rows, :, :]
        return HiddenStates(states, self.labels[rows], self.symbols[rows])

    @property
    def X(self) -> Tensor:  # noqa: N802 (what scikit-learn calls it)
        """[N n, width] the states of one layer, text by text."""
        return self.states.reshape(-1, self.states.shape[-1])

    @property
    def y(self) -> Ids:
        """[N n] their labels."""
        return self.labels.ravel()

    @property
    def groups(self) -> NDArray[np.intp]:
        """[N n] the number of the text of each: one window, one key, one set of vectors."""
        texts, n = self.labels.shape
        return np.repeat(np.arange(texts), n)

    @property
    def positions(self) -> NDArray[np.intp]:
        """[N n] the position of each, from 0."""
        texts, n = self.labels.shape
        return np.tile(np.arange(n), texts)


@torch.no_grad()
def read_states(
    model: Transformer,
    texts: Batch,
    generator: torch.Generator | None = None,
    layer: int | None = -1,
) -> HiddenStates:
    """Let a model read ciphertexts, each with vectors of its own.

    Draw the texts to fit on from `corpus.train` and those to measure on from `corpus.test`: then
    they share no book and no window, and with fresh keys for each no key.

    Args:
        model: the transformer.
        texts: N cryptograms of n symbols.
        generator: of the model's device; draws the vectors.
        layer: 0 is the state before the first block, -1 that after the last; None takes all.

    Raises:
        InputError: the texts are longer than the model's context or over another alphabet, or it
            has no such layer.
    """
    if texts.alphabet != model.alphabet:
        raise InputError(
            f"the model is over the alphabet {model.alphabet}, not {texts.alphabet}: encrypt "
            "texts over that"
        )
    parts = []
    for start in range(0, len(texts), BATCH):
        tokens = torch.tensor(texts.ciphertext[start : start + BATCH], device=model.device)
        vectors = model.draw_vectors(len(tokens), generator)
        states = model.hidden_states(tokens, vectors)[:, :, 1:]
        parts.append(states if layer is None else states[check_layer(layer, len(states))].clone())
    if not parts:
        raise InputError("there is no ciphertext to read: give at least one")
    return HiddenStates(torch.cat(parts, dim=-3), texts.plaintext, texts.ciphertext)


def check_layer(layer: int, layers: int) -> int:
    if not -layers <= layer < layers:
        raise InputError(
            f"there is no layer {layer}: the model has states 0, before the first block, to "
            f"{layers - 1}, after the last"
        )
    return layer


def hits(probe: Any, states: HiddenStates) -> NDArray[np.bool_]:
    """Which symbols of each text a fitted probe gets right, [N, n]."""
    return np.asarray(probe.predict(states.X) == states.y).reshape(states.labels.shape)


def quick_probe() -> LinearProbe:
    """A linear probe for where many are fitted: to choose each one's ridge, and to go on to the
    last digits of the optimum, would take long."""
    return LinearProbe(ridges=RIDGE, max_iter=STEPS)


def layer_probes(states: HiddenStates) -> list[LinearProbe]:
    """A `quick_probe` fitted to each layer of `states`, which has all of them."""
    return [
        quick_probe().fit(one.X, one.y, one.groups)
        for one in map(states.layer, range(len(states.states)))
    ]


def best_layer(states: HiddenStates, probes: Sequence[LinearProbe] | None = None) -> int:
    """The layer, after at least one block, whose states a `quick_probe` reads best.

    Args:
        states: of all layers.
        probes: what `layer_probes` gives for other texts; by default they are fitted to one half of
            these texts and scored on the other.

    Raises:
        InputError: there are no halves.
    """
    if probes is None:
        half = len(states.labels) // 2
        if half < 1:
            raise InputError("one text does not tell which layer is best: give at least 2")
        probes = layer_probes(states.take(slice(half)))
        states = states.take(slice(half, None))
    scores = [hits(probe, states.layer(i)).mean() for i, probe in enumerate(probes)]
    return 1 + int(np.argmax(scores[1:]))


def torch_generator(model: Transformer, rng: np.random.Generator) -> torch.Generator:
    """A generator of the model's device, settled by `rng`."""
    return torch.Generator(model.device).manual_seed(int(rng.integers(2**63)))
