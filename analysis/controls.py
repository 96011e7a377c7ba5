"""Controls: what a probe finds where there is little or nothing to find."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.base import clone

from analysis.probes import Probe
from analysis.states import HiddenStates
from ciphers.keys import random_keys
from decipher.lexinvariant.model import Transformer


def untrained(model: Transformer, generator: torch.Generator | None = None) -> Transformer:
    """A model of the same sizes with weights as they are before training.

    What a probe finds in its states comes of the architecture, and not of what was learned.
    """
    fresh = copy.deepcopy(model)
    fresh.initialise(generator)
    fresh.provenance = {}
    return fresh.eval()


def shuffle_labels(states: HiddenStates, rng: np.random.Generator) -> HiddenStates:
    """The labels dealt out anew among all tokens: a probe fitted on them can learn no more than how
    frequent each letter is."""
    return replace(states, labels=rng.permutation(states.y).reshape(states.labels.shape))


def control_labels(states: HiddenStates, rng: np.random.Generator, size: int) -> HiddenStates:
    """The control task (Hewitt and Liang 2019, arXiv 1909.03368, section 2): a random label for
    each type, and the same one wherever it occurs.

    A type is a symbol of one ciphertext, for under the next key it is another. So each text gets a
    random relabelling of its own, uniform over the V! ones. Nothing but the text itself tells of
    it: on texts that a probe was not fitted on, its expected accuracy is exactly 1 / V, whatever
    the probe, unless a text, key or window is in both.

    Args:
        states: of N texts.
        rng: where the relabellings come from.
        size: V.
    """
    relabellings = random_keys(size, len(states.labels), rng)
    return replace(states, labels=np.take_along_axis(relabellings, states.labels, axis=1))


@dataclass(frozen=True)
class Selectivity:
    """How much of a probe's accuracy is not its own doing (Hewitt and Liang 2019, section 2).

    Both accuracies are over positions of texts at whose other positions the probe was fitted: it
    could know each text's symbols by heart.

    Attributes:
        accuracy: of the true labels.
        control: of the labels of the control task, which can be learned only by heart.
    """

    accuracy: float
    control: float

    @property
    def selectivity(self) -> float:
        """Their difference: high where the states hold what the probe finds."""
        return self.accuracy - self.control


def selectivity(
    probe: Probe, states: HiddenStates, rng: np.random.Generator, size: int
) -> Selectivity:
    """Fit copies of a probe to true and to control labels at every other position of each text, and
    score them at the positions between.

    Args:
        probe: its settings are copied, it is left as it is.
        states: of N texts, of one layer.
        rng: of the control labels.
        size: V.
    """

    def accuracy(states: HiddenStates) -> float:
        learned = states.positions % 2 == 0
        X, y = states.X, states.y
        rows = torch.tensor(learned, device=X.device)
        fitted = clone(probe).fit(X[rows], y[learned], states.groups[learned])
        return float(fitted.score(X[~rows], y[~learned]))

    return Selectivity(accuracy(states), accuracy(control_labels(states, rng, size)))
