"""What every language model over symbols can be asked, whatever computes its logits.

A model of this kind reads symbols as vectors that it is handed, one set for each sequence, and
predicts the next symbol by inner products with those same vectors (Huang et al. 2023, arXiv
2305.16349, section 2). How it gets from the one to the other is up to the class.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (the name everybody knows it by)
from torch import Tensor, nn

from ciphers.alphabet import Alphabet
from ciphers.errors import InputError


class SymbolModel(nn.Module, ABC):
    """A language model over the V symbols of an alphabet.

    Arrays of vectors are [B, V, E], one set for each sequence; `draw_vectors` makes them. Methods
    that are given none draw their own.

    Attributes:
        alphabet: the symbols.
        start: the learned vector at position 0, which predicts the first symbol.
        log_scale: logits are inner products times exp(log_scale) / sqrt(E).
    """

    alphabet: Alphabet
    start: nn.Parameter
    log_scale: nn.Parameter

    @property
    @abstractmethod
    def context(self) -> int:
        """The longest sequence, in symbols."""

    @abstractmethod
    def draw_vectors(self, batch: int, generator: torch.Generator | None = None) -> Tensor:
        """Vectors for the symbols of `batch` sequences, [B, V, E].

        Args:
            batch: B.
            generator: of the model's device; None takes torch's own.
        """

    @abstractmethod
    def _outputs(self, tokens: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor | None]:
        """What is held against the vectors at every position, [B, n + 1, E].

        Beside it what is added to the logits, [B, n + 1, V], or None.

        Raises:
            InputError: the sequence is longer than the context.
        """

    @abstractmethod
    def hidden_states(self, tokens: Tensor, vectors: Tensor) -> Tensor:
        """The stream before the first block and after each: [layers + 1, B, n + 1, width].

        Position 0 is the start vector's; position i + 1 is where tokens[:, i] was read.

        Raises:
            InputError: the sequence is longer than the context.
        """

    @abstractmethod
    def _read_on(self, tokens: Tensor, vectors: Tensor, memory: Any) -> tuple[Tensor, Any]:
        """Read tokens [B, n] after what is in `memory`, or from the start where that is None.

        Returns:
            The logits of the symbol after them [B, V], and the memory with them in it.
        """

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.start.device

    def _look_up(self, tokens: Tensor, vectors: Tensor, position: int = 0) -> Tensor:
        """The vector of each symbol, [B, n, E], of a text that goes on at `position`.

        The start vector is at position 0, and so is the `position` of a text read from its start.

        Raises:
            InputError: the text is longer than the context.
        """
        symbols = tokens.shape[1] + max(position - 1, 0)
        if symbols > self.context:
            raise InputError(
                f"{symbols} symbols are more than the context of {self.context}: cut them"
            )
        places = tokens.long()[:, :, None].expand(-1, -1, vectors.shape[-1])
        return vectors.gather(1, places)

    def _logits(self, outputs: Tensor, vectors: Tensor, added: Tensor | None) -> Tensor:
        """Scaled inner products, [B, n, V], of outputs [B, n, E] in their precision."""
        scale = self.log_scale.exp() / math.sqrt(vectors.shape[-1])
        logits = (outputs @ vectors.to(outputs.dtype).transpose(1, 2)) * scale
        return logits if added is None else logits + added

    def forward(self, tokens: Tensor, vectors: Tensor) -> Tensor:
        """The logits of every next symbol.

        Args:
            tokens: [B, n] ids, n from 0 to `context`.
            vectors: [B, V, E].

        Returns:
            [B, n + 1, V]; position i is the prediction of tokens[:, i], and the last one that of
            the symbol after the end.

        Raises:
            InputError: the sequence is longer than the context.
        """
        outputs, added = self._outputs(tokens, vectors)
        return self._logits(outputs, vectors, added)

    def training_loss(self, tokens: Tensor, vectors: Tensor) -> Tensor:
        """The loss at every position, nats, [B, n]."""
        logits = self(tokens[:, :-1], vectors).float()
        return F.cross_entropy(logits.mT, tokens.long(), reduction="none")

    @torch.no_grad()
    def log_conditionals(
        self,
        tokens: Tensor,
        generator: torch.Generator | None = None,
        vectors: Tensor | None = None,
    ) -> Tensor:
        """log p(next symbol), nats: [B, n + 1, V], float32.

        Args:
            tokens: [B, n] ids.
            generator: draws the vectors where none are given.
            vectors: [B, V, E].

        Raises:
            InputError: the sequence is longer than the context.
        """
        if vectors is None:
            vectors = self.draw_vectors(len(tokens), generator)
        # Matrix products round a column by where it stands, and sums by the order of their terms.
        # What float64 leaves of that rounds to the same float32, so that relabelling the symbols
        # changes no bit.
        outputs, added = self._outputs(tokens, vectors)
        logits = self._logits(outputs.double(), vectors, added)
        return logits.log_softmax(dim=-1).float()

    def loss_by_position(
        self,
        tokens: Tensor,
        generator: torch.Generator | None = None,
        vectors: Tensor | None = None,
    ) -> Tensor:
        """-log p(tokens[:, i] | tokens[:, :i]), nats, [B, n].

        Arguments and errors as for `log_conditionals`.
        """
        log_p = self.log_conditionals(tokens, generator, vectors)[:, :-1]
        return -log_p.gather(2, tokens.long()[:, :, None]).squeeze(2)

    @torch.no_grad()
    def sample(
        self,
        prompt: Tensor,
        count: int,
        generator: torch.Generator | None = None,
        vectors: Tensor | None = None,
        temperature: float = 1.0,
    ) -> Tensor:
        """Continue each row of `prompt` by `count` symbols: [B, n] -> [B, n + count].

        What was read is remembered, so each new symbol costs one position and not the whole text.

        Args:
            prompt: [B, n] ids; n may be 0.
            count: symbols to add.
            generator: of the model's device; draws the vectors and the symbols.
            vectors: [B, V, E]; drawn where not given.
            temperature: divides the logits; 0 takes the most probable symbol.

        Raises:
            InputError: the whole is longer than the context, or the temperature is no number from 0
                up.
        """
        if not 0 <= temperature < math.inf:
            raise InputError(f"temperature {temperature} is no number from 0 up: give another")
        if prompt.shape[1] + count > self.context:
            raise InputError(
                f"{prompt.shape[1]} symbols and {count} more are beyond the context of "
                f"{self.context}: ask for fewer"
            )
        if vectors is None:
            vectors = self.draw_vectors(len(prompt), generator)
        tokens, unread, memory = prompt, prompt, None
        for _ in range(count):
            logits, memory = self._read_on(unread, vectors, memory)
            logits = logits.float()
            if temperature == 0:
                new = logits.argmax(dim=-1, keepdim=True)
            else:
                # From the top down, so that a small temperature overflows to -inf alone.
                below = logits - logits.amax(dim=-1, keepdim=True)
                p = (below / temperature).softmax(dim=-1)
                new = torch.multinomial(p, 1, generator=generator)
            unread = new.to(tokens.dtype)
            tokens = torch.cat([tokens, unread], dim=1)
        return tokens
