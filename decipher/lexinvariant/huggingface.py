"""Any Hugging Face causal language model, made lexinvariant.

The model's body (its blocks, its positions, its last norm) stays as it is. The token table before
it and the head behind it give way to vectors that are drawn for each sequence (Huang et al. 2023,
arXiv 2305.16349, section 2):

    vectors [B, V, E] -> inputs_embeds -> body -> logits [B, n + 1, V]

Needs the extra: pip install 'bayesian-decipher[hf]'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ciphers.alphabet import Alphabet
from ciphers.errors import InputError
from decipher.lexinvariant.symbolic import SymbolModel

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


class LexinvariantCausalLM(SymbolModel):
    """A Hugging Face causal language model that reads random N(0, 1) vectors.

    Everything that takes a `decipher.lexinvariant.model.Transformer` as a language model takes this
    too. A learned start vector is at position 0, so that the first symbol is predicted as well.

    The body is the given model's own, not a copy, and its token table is removed: the table would
    get no gradient, and would only take memory and go into files. The head stays behind with the
    given model, which cannot read tokens any more; give `copy.deepcopy(model)` to keep that.

    `train()` and `eval()` matter: many bodies have dropout (GPT-2 a tenth, in four places), which
    draws from torch's global generator. The mode at first is that of the given model. Measure and
    sample after `eval()`.

    Attributes:
        alphabet: the V symbols.
        vector_width: E, the hidden size.
        base: the body.
        start: the learned start vector, [E].
        log_scale: logits are inner products times exp(log_scale) / sqrt(E).
    """

    def __init__(self, model: PreTrainedModel, alphabet: Alphabet) -> None:
        """Take the body of `model`.

        Raises:
            InputError: the model is not causal, has token vectors of another width than its hidden
                states, or does not say how many positions it has.
        """
        super().__init__()
        name = type(model).__name__
        base: Any = model.base_model
        if base.config.is_encoder_decoder:
            raise InputError(f"{name} has an encoder: give a model that is a decoder alone")
        config = base.config.get_text_config()
        positions = getattr(config, "max_position_embeddings", None)
        if positions is None:
            raise InputError(
                f"{name} does not say how many positions it has: set max_position_embeddings in "
                "its configuration"
            )
        table = base.get_input_embeddings()
        if table.embedding_dim != config.hidden_size:
            raise InputError(
                f"{name} reads vectors of width {table.embedding_dim} into states of width "
                f"{config.hidden_size}: give a model where they are equal"
            )
        self.alphabet = alphabet
        self.vector_width = int(config.hidden_size)
        # The start vector takes a place.
        self._context = int(positions) - 1
        self.base = base
        self._check_causal(name)
        device = table.weight.device
        base.set_input_embeddings(nn.Identity())
        self.start = nn.Parameter(torch.randn(self.vector_width, device=device))
        self.log_scale = nn.Parameter(torch.zeros((), device=device))
        self.train(base.training)

    @classmethod
    def from_config(cls, config: PreTrainedConfig, alphabet: Alphabet) -> LexinvariantCausalLM:
        """A model with random weights, drawn from torch's global generator, in training mode.

        Args:
            config: of a causal language model of transformers; its vocabulary size and special
                tokens do not matter.
            alphabet: the V symbols.

        Raises:
            InputError: transformers is not installed, or the model is refused (see the class).
        """
        try:
            from transformers import AutoModelForCausalLM
        except ImportError as error:
            raise InputError(
                "models of Hugging Face need transformers: pip install 'bayesian-decipher[hf]'"
            ) from error
        model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
        return cls(model.train(), alphabet)

    @property
    def context(self) -> int:
        """The longest sequence, in symbols: one less than the model has positions."""
        return self._context

    def draw_vectors(self, batch: int, generator: torch.Generator | None = None) -> Tensor:
        """Fresh N(0, 1) vectors for the symbols of `batch` sequences, [B, V, E].

        Args:
            batch: B.
            generator: of the model's device; None takes torch's own.
        """
        shape = (batch, self.alphabet.size, self.vector_width)
        return torch.randn(shape, generator=generator, device=self.device)

    def hidden_states(self, tokens: Tensor, vectors: Tensor) -> Tensor:
        """The hidden states that the body gives: [layers + 1, B, n + 1, width].

        The first is what enters the first block. The last is, in nearly all models, what comes out
        of the last norm, and leads straight to the logits. Position 0 is the start vector's;
        position i + 1 is where tokens[:, i] was read.

        Raises:
            InputError: the sequence is longer than the context.
        """
        output = self._run(tokens, vectors, use_cache=False, output_hidden_states=True)
        return torch.stack(output.hidden_states)

    def _outputs(self, tokens: Tensor, vectors: Tensor) -> tuple[Tensor, None]:
        return self._run(tokens, vectors, use_cache=False).last_hidden_state, None

    def _read_on(self, tokens: Tensor, vectors: Tensor, memory: Any) -> tuple[Tensor, Any]:
        output = self._run(tokens, vectors, use_cache=True, past_key_values=memory)
        if output.past_key_values is None:
            raise InputError(
                "the model keeps no cache while it trains with gradient checkpointing: call eval() "
                "before you sample"
            )
        logits = self._logits(output.last_hidden_state[:, -1:], vectors, None)[:, 0]
        return logits, output.past_key_values

    def _run(
        self, tokens: Tensor, vectors: Tensor, past_key_values: Any = None, **options: Any
    ) -> Any:
        """The body's output on tokens [B, n], after what it has read already."""
        position = 0 if past_key_values is None else past_key_values.get_seq_length()
        x = self._look_up(tokens, vectors, position)
        if position == 0:
            x = torch.cat([self.start.to(x.dtype).expand(len(x), 1, -1), x], dim=1)
        return self.base(
            inputs_embeds=x.to(self.base.dtype),
            past_key_values=past_key_values,
            return_dict=True,
            **options,
        )

    @torch.enable_grad()
    def _check_causal(self, name: str) -> None:
        """Refuse a body whose output at a position depends on the position after it."""
        x = torch.eye(2, self.vector_width, device=self.base.device, dtype=self.base.dtype)[None]
        x.requires_grad_()
        output = self.base(inputs_embeds=x, use_cache=False, return_dict=True)
        (gradient,) = torch.autograd.grad(output.last_hidden_state[0, 0, 0], x)
        if gradient[0, 1].any():
            raise InputError(f"{name} is not causal: give a model that reads from left to right")
