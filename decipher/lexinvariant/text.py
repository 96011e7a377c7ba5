"""Training text as ids on a device, and windows of it drawn there."""

from __future__ import annotations

import torch
from torch import Tensor

from ciphers.alphabet import Alphabet
from ciphers.corpora import Corpus
from ciphers.errors import InputError


class Text:
    """The documents of a corpus in one row of ids; no window crosses from one into the next."""

    def __init__(self, corpus: Corpus, alphabet: Alphabet, device: torch.device) -> None:
        ids, lengths = corpus.encode_joined(alphabet)
        self.name = corpus.name
        # A byte a symbol: a billion symbols are a gigabyte, and stay where the model is.
        self.ids = torch.tensor(ids, device=device)
        self.lengths = torch.tensor(lengths, device=device)

    def windows(self, length: int, count: int, generator: torch.Generator) -> Tensor:
        """Draw `count` windows, each place of a window equally likely: [count, length] ids.

        Raises:
            InputError: no document is as long as a window.
        """
        places = (self.lengths - length + 1).clamp(min=0)
        total = int(places.sum())
        if total == 0:
            raise InputError(
                f"no document of {self.name} has the {length} symbols of one window: give longer "
                "texts, or a model with less context"
            )
        drawn = torch.randint(total, (count,), generator=generator, device=self.ids.device)
        # The k-th place of all, counted through the documents that have any.
        ends = places.cumsum(0)
        document = torch.searchsorted(ends, drawn, right=True)
        starts = self.lengths.cumsum(0) - self.lengths
        first = starts[document] + drawn - (ends[document] - places[document])
        return self.ids[first[:, None] + torch.arange(length, device=self.ids.device)]
