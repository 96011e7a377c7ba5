"""The transformers under study: one class, and one switch for what a symbol looks like.

A decoder-only transformer reads symbols as vectors and predicts the next symbol by the inner
product of its output with those same vectors. What the vectors are is all that the models differ in
(Huang et al. 2023, arXiv 2305.16349, section 2):

    learned       one table, trained with everything else: the standard language model
    lexinvariant  fresh N(0, 1) vectors for each sequence, so that a symbol means nothing beyond it
    mixed         for each sequence every symbol has a fresh vector with probability p, and
                  otherwise its learned one (section 5.3 of the paper)
    hinted        fresh vectors as well; but for each sequence every symbol is, with probability
                  1 - p, told by a learned mark beside its vector where it is read. What a
                  lexinvariant model learns as, until it needs no hints

In the order data flows:

    vectors [B, V, E] -> read -> blocks (attention, MLP) -> write -> logits [B, n + 1, V]
                                                         -> pointer ->

Position 0 holds a learned start vector. It predicts the first symbol, and it is where a head can
look that finds nothing: the weight that is left there tells a head how often it found its symbol.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F  # noqa: N812 (the name everybody knows it by)
from torch import Tensor, nn

from ciphers.alphabet import Alphabet
from ciphers.errors import InputError
from decipher.lexinvariant.symbolic import SymbolModel

Embedding = Literal["learned", "lexinvariant", "mixed", "hinted"]

ROTARY_BASE = 10_000.0
#: Queries of one block of `_attend_in_blocks`.
QUERY_BLOCK = 128
#: Weights that are of single symbols; a lexinvariant model has none of them.
TABLES = {"table", "hints"}
#: By how much a matching head prefers places of the same symbol at first.
BONUS = 5.0
#: How much a copying head adds to the stream at first, for a stream of unit mean square.
COPY = 0.5


@dataclass(frozen=True)
class Config:
    """The sizes of a model.

    Attributes:
        embedding: where the symbol vectors come from.
        layers: the number of blocks.
        passes: how often the text goes through all the blocks (Dehghani et al. 2019, arXiv
            1807.03819). What one pass found out is added to the vectors that the next one reads,
            so that what the blocks do with known symbols they can do with guessed ones.
        heads: heads in a block; they share `width` evenly.
        width: of the residual stream.
        hidden: width of the MLP.
        context: the longest sequence, in symbols.
        vector_width: E, the width of a symbol vector. Smaller than `width`, the vectors pass
            through a learned map on the way in and another on the way out, and the stream has room
            for what is known about a symbol beside the symbol itself. Equal to `width`, there are
            no maps, as in the paper.
        shifted_keys: so many heads use the key of the position before: they look for what followed
            the same symbol earlier, which is the in-context bigram, in one layer.
        shifted_values: so many other heads use the value of the position before: they look for
            what stood before, or was expected at, earlier places of the same symbol.
        matching: so many of the unshifted heads, and all shifted ones, begin by attending to places
            of the same symbol: what a head adds to the scores of those places is learned. Symbols
            are only compared, so that what they are called still changes nothing. 0 has none.
        pointer: the width of the keys by which the output points at the newest place of each symbol
            in the text (Vinyals et al. 2015, arXiv 1506.03134): what was found out there about the
            symbol says whether it comes next. Without it the output must find the symbol's random
            vector, which is a long way to learn. 0 has none.
        rotary: the share of each head that is rotated by position (Su et al. 2021); the rest
            matches symbols at any distance alike.
        random_share: p, the probability that a symbol is not known, of a mixed or hinted model.

    Raises:
        InputError: the numbers do not fit together.
    """

    embedding: Embedding = "lexinvariant"
    layers: int = 6
    passes: int = 1
    heads: int = 6
    width: int = 192
    hidden: int = 768
    context: int = 512
    vector_width: int = 64
    shifted_keys: int = 0
    shifted_values: int = 0
    matching: int = 0
    pointer: int = 0
    rotary: float = 0.5
    random_share: float = 0.5

    def __post_init__(self) -> None:
        sizes = ("layers", "passes", "heads", "width", "hidden", "context", "vector_width")
        for name in sizes:
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}: give at least 1")
        if self.embedding not in get_args(Embedding):
            raise InputError(
                f"there is no embedding {self.embedding!r}: choose {', '.join(get_args(Embedding))}"
            )
        if self.width % (2 * self.heads):
            raise InputError(
                f"width {self.width} does not give {self.heads} heads an even width each: "
                f"give a multiple of {2 * self.heads}"
            )
        if self.vector_width > self.width:
            raise InputError(
                f"vector_width {self.vector_width} is more than the width {self.width}: give less"
            )
        if min(self.shifted_keys, self.shifted_values) < 0 or (
            self.shifted_keys + self.shifted_values > self.heads
        ):
            raise InputError(
                f"{self.shifted_keys} + {self.shifted_values} shifted heads of {self.heads}: "
                "give 0 or more of each, and no more than there are heads"
            )
        plain = self.heads - self.shifted_keys - self.shifted_values
        if not 0 <= self.matching <= plain:
            raise InputError(
                f"{self.matching} matching heads of {plain} that do not shift: give 0 or more, and "
                "no more than those"
            )
        if self.pointer < 0:
            raise InputError(f"pointer is {self.pointer}: give the width of its keys, or 0")
        if not (0 <= self.rotary <= 1 and 0 <= self.random_share <= 1):
            raise InputError("rotary and random_share are shares: give numbers from 0 to 1")

    @property
    def depth(self) -> int:
        """Blocks that a symbol goes through, in all passes."""
        return self.layers * self.passes

    @property
    def share(self) -> float:
        """p, the probability that a symbol is not known, that the embedding means."""
        return {"learned": 0.0, "lexinvariant": 1.0}.get(self.embedding, self.random_share)


PRESETS: dict[str, Config] = {
    # Seconds on a CPU: for tests.
    "tiny": Config(layers=2, heads=4, width=32, hidden=64, context=64, vector_width=8,
                   shifted_keys=1, shifted_values=1, matching=1, pointer=8),
    # Hours on a CPU.
    "small": Config(layers=6, passes=2, heads=4, width=128, hidden=512, context=512,
                    vector_width=32, shifted_keys=1, shifted_values=1, matching=1, pointer=32),
    # About 25 million parameters: half an hour on an H100.
    "base": Config(layers=8, passes=2, heads=8, width=512, hidden=2048, context=512,
                   vector_width=64, shifted_keys=2, shifted_values=2, matching=2, pointer=64),
    # The paper's, section 4: about 150 million parameters, and nothing that it does not have.
    "paper": Config(layers=12, heads=8, width=1024, hidden=4096, context=512, vector_width=1024),
}  # fmt: skip


def preset(name: str, embedding: Embedding = "lexinvariant") -> Config:
    """The sizes called `name`.

    Raises:
        InputError: there is no such preset or embedding.
    """
    if name not in PRESETS:
        raise InputError(f"there is no preset {name!r}: choose one of {', '.join(PRESETS)}")
    return replace(PRESETS[name], embedding=embedding)


@dataclass
class Cache:
    """What an attention layer remembers of the positions it has seen, for sampling.

    Attributes:
        keys: [B, H, m, D], shifted where the head shifts; with its mark, D + V wide.
        values: [B, H, m, D], likewise shifted.
        last: the newest position's key and value as they were before the shift, [B, H, 1, D] each.
    """

    keys: Tensor
    values: Tensor
    last: tuple[Tensor, Tensor]


@dataclass
class Memory:
    """What the model remembers of the text it has read, for sampling.

    Attributes:
        tokens: [B, n] the text.
        caches: of the attention layers, in each pass.
        pointer_keys: [B, n + 1, pointer], of every position.
    """

    tokens: Tensor
    caches: list[Cache]
    pointer_keys: Tensor


class Rotary(nn.Module):
    """Rotates pairs of a head's entries by an angle proportional to the position.

    Su et al. 2021 (arXiv 2104.09864), equation 34, on a share of the pairs.
    """

    cosines: Tensor
    sines: Tensor

    def __init__(self, width: int, share: float, positions: int) -> None:
        super().__init__()
        rotated = round(share * width / 2)
        frequencies = torch.zeros(width // 2)
        frequencies[:rotated] = ROTARY_BASE ** -(torch.arange(rotated) / max(rotated, 1))
        angles = torch.arange(positions)[:, None] * frequencies
        self.register_buffer("cosines", angles.cos(), persistent=False)
        self.register_buffer("sines", angles.sin(), persistent=False)

    def forward(self, x: Tensor, position: int) -> Tensor:
        """Rotate x [..., n, D], which begins at `position`."""
        places = slice(position, position + x.shape[-2])
        cosines, sines = self.cosines[places].to(x.dtype), self.sines[places].to(x.dtype)
        a, b = x.chunk(2, dim=-1)
        return torch.cat([a * cosines - b * sines, a * sines + b * cosines], dim=-1)


class Attention(nn.Module):
    """Causal multi-head attention; some heads look beside the place they attend to."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.query = nn.Linear(config.width, config.width, bias=False)
        self.key = nn.Linear(config.width, config.width, bias=False)
        self.value = nn.Linear(config.width, config.width, bias=False)
        self.output = nn.Linear(config.width, config.width, bias=False)
        # Queries and keys have unit mean square, so this alone sets how sharp a head can be.
        self.log_sharpness = nn.Parameter(torch.full((config.heads, 1, 1), math.log(4.0)))
        if config.matching:
            bonus = torch.full((config.heads, 1, 1), BONUS)
            bonus[config.shifted_keys + config.matching : config.heads - config.shifted_values] = 0
            self.bonus = nn.Parameter(bonus)

    def forward(
        self,
        x: Tensor,
        marks: Tensor,
        rotary: Rotary,
        position: int = 0,
        cache: Cache | None = None,
    ) -> tuple[Tensor, Cache]:
        """Attend from x [B, n, width], which begins at `position`, to it and to what is cached.

        `marks` [B, n, V] are those of `mark_symbols`.
        """
        B, n, width = x.shape
        heads = (B, n, self.config.heads, width // self.config.heads)
        query, key, value = (
            project(x).view(heads).transpose(1, 2) for project in (self.query, self.key, self.value)
        )
        sharpness = self.log_sharpness.exp() / math.sqrt(query.shape[-1])
        query = rotary(_normalise(query) * sharpness.to(query.dtype), position)
        key = rotary(_normalise(key), position)
        if self.config.matching:
            # Their product adds the bonus where the symbols are the same.
            marks = marks.to(key.dtype)[:, None].expand(-1, self.config.heads, -1, -1)
            query = torch.cat([query, marks * self.bonus.to(query.dtype)], dim=-1)
            key = torch.cat([key, marks], dim=-1)
        keys, values = self._shift(key, value, cache)
        if cache is not None:
            keys = torch.cat([cache.keys, keys], dim=2)
            values = torch.cat([cache.values, values], dim=2)
        remembered = Cache(keys, values, (key[:, :, -1:], value[:, :, -1:]))
        # Beyond the first call one position is read at a time, and it may look at all there are.
        if cache is None and x.device.type == "cpu":
            y = _attend_in_blocks(query, keys, values)
        else:
            y = F.scaled_dot_product_attention(
                query, keys, values, is_causal=cache is None, scale=1.0
            )
        return self.output(y.transpose(1, 2).reshape(B, n, width)), remembered

    def _shift(self, key: Tensor, value: Tensor, cache: Cache | None) -> tuple[Tensor, Tensor]:
        """The first heads get the keys of the position before, the last ones its values."""
        if cache is None:
            before_key, before_value = (torch.zeros_like(x[:, :, :1]) for x in (key, value))
        else:
            before_key, before_value = cache.last
        by_key, by_value = self.config.shifted_keys, self.config.shifted_values
        unshifted = self.config.heads - by_value
        if by_key:
            earlier = torch.cat([before_key[:, :by_key], key[:, :by_key, :-1]], dim=2)
            key = torch.cat([earlier, key[:, by_key:]], dim=1)
        if by_value:
            earlier = torch.cat([before_value[:, unshifted:], value[:, unshifted:, :-1]], dim=2)
            value = torch.cat([value[:, :unshifted], earlier], dim=1)
        return key, value


class MLP(nn.Module):
    """Two layers with a GELU between them."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.up = nn.Linear(config.width, config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(F.gelu(self.up(x)))
        return y


class Block(nn.Module):
    """Attention, then an MLP, each reading a normalised stream and adding to it."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.mlp = MLP(config)

    def forward(
        self,
        x: Tensor,
        marks: Tensor,
        rotary: Rotary,
        position: int = 0,
        cache: Cache | None = None,
    ) -> tuple[Tensor, Cache]:
        attended, cache = self.attention(_normalise(x), marks, rotary, position, cache)
        x = x + attended
        return x + self.mlp(_normalise(x)), cache


class Transformer(SymbolModel):
    """A language model over the symbols of an alphabet.

    Arrays of vectors are [B, V, E], one set for each sequence; `draw_vectors` makes them. Methods
    that are given none draw their own.
    """

    def __init__(self, config: Config, alphabet: Alphabet) -> None:
        super().__init__()
        self.config = config
        self.alphabet = alphabet
        #: Where trained weights come from: data, tokens, seed and the like.
        self.provenance: dict[str, Any] = {}
        if config.embedding in ("learned", "mixed"):
            self.table = nn.Parameter(torch.empty(alphabet.size, config.vector_width))
        if config.embedding == "hinted":
            self.hints = nn.Parameter(torch.empty(alphabet.size, config.width))
        self.start = nn.Parameter(torch.empty(config.width))
        self.read: nn.Module = nn.Identity()
        self.write: nn.Module = nn.Identity()
        if config.vector_width < config.width:
            self.read = nn.Linear(config.vector_width, config.width, bias=False)
            self.write = nn.Linear(config.width, config.vector_width, bias=False)
        self.rotary = Rotary(config.width // config.heads, config.rotary, config.context + 1)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        #: Passes that are made; fewer than `config.passes` early in a training.
        self.passes = config.passes
        if config.passes > 1:
            self.again = nn.Linear(config.width, config.width, bias=False)
        self.log_scale = nn.Parameter(torch.zeros(()))
        if config.pointer:
            self.pointer_query = nn.Linear(config.width, config.pointer, bias=False)
            self.pointer_key = nn.Linear(config.width, config.pointer, bias=False)
            self.log_pointer_scale = nn.Parameter(torch.zeros(()))
        self.initialise()

    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights: what a block adds is small at first; an MLP and a pass add nothing.

        Where symbol vectors are narrower than the stream, some heads begin as copies: what they
        carry is the symbol's vector, and where they put it is where `write` looks. To predict a
        symbol, whatever its vector, is then a matter of attending to it. Learned from random
        weights, that map between two subspaces takes long, for it must hold in every direction.
        """
        for name, weight in self.named_parameters():
            if weight.ndim == 2 and name not in TABLES:
                nn.init.normal_(weight, std=weight.shape[1] ** -0.5, generator=generator)
        for block in self.blocks:
            assert isinstance(block, Block)
            nn.init.zeros_(block.mlp.down.weight)
            with torch.no_grad():
                block.attention.output.weight /= math.sqrt(2 * self.config.layers)
        if 2 * self.config.vector_width <= self.config.width:
            self._initialise_copies(generator)
        if self.config.passes > 1:
            nn.init.zeros_(self.again.weight)
        nn.init.normal_(self.start, generator=generator)
        for name in TABLES & self.state_dict().keys():
            nn.init.normal_(self.get_parameter(name), generator=generator)

    @torch.no_grad()
    def _initialise_copies(self, generator: torch.Generator | None) -> None:
        """Heads with unshifted values carry symbol vectors to the output, from the middle block on.

        Below the middle only those with shifted keys do: they tell what followed a symbol.
        """
        assert isinstance(self.read, nn.Linear)
        assert isinstance(self.write, nn.Linear)
        config, E = self.config, self.config.vector_width
        basis = torch.empty(config.width, config.width, device=self.device)
        nn.init.orthogonal_(basis, generator=generator)
        into, out = basis[:, :E], basis[:, E : 2 * E]
        self.read.weight.copy_(into * math.sqrt(config.width / E))
        self.write.weight.copy_(out.T)
        D = config.width // config.heads
        carried = min(D, E)
        for i, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            upper = i >= config.layers // 2
            heads = config.heads - config.shifted_values if upper else config.shifted_keys
            for head in range(heads):
                # Heads that cannot carry a whole vector carry different parts of it.
                part = (torch.arange(carried) + head * carried) % E
                rows = slice(head * D, head * D + carried)
                block.attention.value.weight[rows] = into[:, part].T
                block.attention.output.weight[:, rows] = out[:, part] * COPY

    @property
    def context(self) -> int:
        """The longest sequence, in symbols."""
        return self.config.context

    # --- symbols as vectors ---------------------------------------------------------------------

    def draw_vectors(
        self,
        batch: int,
        generator: torch.Generator | None = None,
        share: float | Tensor | None = None,
    ) -> Tensor:
        """Vectors for the symbols of `batch` sequences, [B, V, E].

        A hinted model's have one more entry: 1 for a symbol that is known, 0 for one that is not.

        Args:
            batch: B.
            generator: of the model's device; None takes torch's own.
            share: p, the probability that a symbol is not known, one number or [B]; None is what
                the embedding says: 0 for learned, 1 for lexinvariant, `random_share` for mixed and
                hinted.

        Raises:
            InputError: a share below 1 is asked of a lexinvariant model, which knows no symbol.
        """
        config = self.config
        if share is None:
            share = config.share
        shape = (batch, self.alphabet.size, config.vector_width)
        table_alone = not isinstance(share, Tensor) and share == 0
        if table_alone and config.embedding in ("learned", "mixed"):
            return self.table.expand(shape)
        fresh = torch.randn(shape, generator=generator, device=self.device)
        if config.embedding == "lexinvariant":
            if not isinstance(share, Tensor) and share == 1:
                return fresh
            raise InputError("a lexinvariant model has no learned vectors: its share is 1")
        p = torch.as_tensor(share, device=self.device).reshape(-1, 1)
        is_fresh = torch.rand(shape[:2], generator=generator, device=self.device) < p
        if config.embedding == "hinted":
            return torch.cat([fresh, (~is_fresh)[..., None].to(fresh.dtype)], dim=-1)
        return torch.where(is_fresh[..., None], fresh, self.table)

    def lexinvariant(self) -> Transformer:
        """The same weights without those of single symbols: a model that is used at p = 1 only."""
        model = Transformer(replace(self.config, embedding="lexinvariant"), self.alphabet)
        model.load_state_dict({k: v for k, v in self.state_dict().items() if k not in TABLES})
        return model.to(self.device)

    # --- the forward pass -----------------------------------------------------------------------

    def _outputs(self, tokens: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor | None]:
        states, _ = self._pass_through(self._embed(tokens, vectors), self._mark(tokens))
        x = _normalise(states[-1])
        if not self.config.pointer:
            return self.write(x), None
        return self.write(x), self._point(self.pointer_query(x), self.pointer_key(x), tokens)

    def hidden_states(self, tokens: Tensor, vectors: Tensor) -> Tensor:
        """The residual stream before the first block and after each: [depth + 1, B, n + 1, width].

        Position 0 is the start vector's; position i + 1 is where tokens[:, i] was read. Each block
        comes once for every pass.

        Raises:
            InputError: the sequence is longer than the context.
        """
        x = self._embed(tokens, vectors)
        states, _ = self._pass_through(x, self._mark(tokens))
        return torch.stack([x, *states])

    def _pass_through(
        self, read: Tensor, marks: Tensor, position: int = 0, caches: list[Cache] | None = None
    ) -> tuple[list[Tensor], list[Cache]]:
        """The stream after each block of each pass, and what the attention layers remember."""
        x = read
        states: list[Tensor] = []
        remembered: list[Cache] = []
        for again in range(self.passes):
            if again:
                x = _normalise(read + self.again(_normalise(x)))
            for block in self.blocks:
                cache = None if caches is None else caches[len(states)]
                x, cache = block(x, marks, self.rotary, position, cache)
                states.append(x)
                remembered.append(cache)
        return states, remembered

    def _embed(self, tokens: Tensor, vectors: Tensor, position: int = 0) -> Tensor:
        """The stream that enters the first block, from `position` on; the start vector is at 0."""
        vector = self._look_up(tokens, vectors, position)
        x = _normalise(self.read(vector[..., : self.config.vector_width]))
        if self.config.embedding == "hinted":
            x = x + vector[..., -1:] * self.hints[tokens.long()]
        if position == 0:
            x = torch.cat([self.start.to(x.dtype).expand(len(x), 1, -1), x], dim=1)
        # In float32, whatever the blocks compute in: small additions must not be lost.
        return _normalise(x.float())

    def _logits(self, outputs: Tensor, vectors: Tensor, added: Tensor | None) -> Tensor:
        # Hints are for reading.
        return super()._logits(outputs, vectors[..., : self.config.vector_width], added)

    def _mark(self, tokens: Tensor) -> Tensor:
        """The marks of the positions; of no symbols where no head matches."""
        if not self.config.matching:
            return torch.empty((len(tokens), tokens.shape[1] + 1, 0), device=tokens.device)
        return mark_symbols(tokens, self.alphabet.size)

    def _point(self, query: Tensor, keys: Tensor, tokens: Tensor) -> Tensor:
        """What the pointer adds to the logits of the last m positions, [B, m, V].

        A symbol that was not seen yet has the key of the start vector.

        Args:
            query: [B, m, pointer].
            keys: [B, n + 1, pointer], of all positions.
            tokens: [B, n].
        """
        scale = self.log_pointer_scale.exp() / math.sqrt(self.config.pointer)
        newest = last_places(tokens, self.alphabet.size)[:, -query.shape[1] :]
        return (query @ keys.mT * scale).gather(2, newest)

    def _read_on(
        self, tokens: Tensor, vectors: Tensor, memory: Memory | None
    ) -> tuple[Tensor, Memory]:
        position = 0 if memory is None else memory.tokens.shape[1] + 1
        text = tokens if memory is None else torch.cat([memory.tokens, tokens], dim=1)
        read, marks = self._embed(tokens, vectors, position), self._mark(text)[:, position:]
        caches = None if memory is None else memory.caches
        states, caches = self._pass_through(read, marks, position, caches)
        x, pointed = _normalise(states[-1]), None
        keys = self.pointer_key(x) if self.config.pointer else x[..., :0]
        if memory is not None:
            keys = torch.cat([memory.pointer_keys, keys], dim=1)
        if self.config.pointer:
            pointed = self._point(self.pointer_query(x[:, -1:]), keys, text)
        logits = self._logits(self.write(x[:, -1:]), vectors, pointed)[:, 0]
        return logits, Memory(text, caches, keys)


def mark_symbols(tokens: Tensor, size: int) -> Tensor:
    """Which of `size` symbols each position holds, one-hot: [B, n] ids -> [B, n + 1, size] bool.

    Position 0, the start vector's, holds none. Symbols are numbered as they first appear in the
    text and not by their ids, so that not even the order of sums depends on what they are called.
    """
    held = _holds(tokens, size)
    places = torch.arange(held.shape[1], device=tokens.device)[:, None]
    first = torch.where(held, places, len(places)).amin(dim=1)
    numbers = (first[:, None, :] < first[:, :, None]).sum(dim=2)
    return _holds(numbers.gather(1, tokens.long()), size)


def last_places(tokens: Tensor, size: int) -> Tensor:
    """The newest position, up to each one, that holds each symbol: [B, n] ids -> [B, n + 1, size].

    0, the start vector's, where there is none.
    """
    places = torch.arange(tokens.shape[1] + 1, device=tokens.device)[:, None]
    return (_holds(tokens, size) * places).cummax(dim=1).values


def _holds(tokens: Tensor, size: int) -> Tensor:
    """Whether each position, the start vector's first, holds each symbol: [B, n + 1, size]."""
    tokens = F.pad(tokens.long(), (1, 0), value=-1)
    return tokens[:, :, None] == torch.arange(size, device=tokens.device)


def _normalise(x: Tensor) -> Tensor:
    """x over its root mean square (Zhang and Sennrich 2019), without a learned gain."""
    return F.rms_norm(x, (x.shape[-1],))


def _attend_in_blocks(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Causal attention on a CPU: query and keys [B, H, n, D'], values [B, H, n, D].

    There torch's fused kernel takes no marks beside the keys, and in bfloat16 twice the time of
    plain products; blocks of queries leave out most of what is masked.
    """
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        query, keys, values = query.to(dtype), keys.to(dtype), values.to(dtype)
    n, parts = query.shape[2], []
    for start in range(0, n, QUERY_BLOCK):
        end = min(start + QUERY_BLOCK, n)
        scores = query[:, :, start:end] @ keys[:, :, :end].mT
        seen = torch.ones(end - start, end, dtype=torch.bool, device=query.device).tril(start)
        # Autocast would take the softmax in float32, and most of the gain with it.
        with torch.autocast("cpu", enabled=False):
            weights = scores.masked_fill(~seen, -math.inf).softmax(dim=-1)
        parts.append(weights @ values[:, :, :end])
    return torch.cat(parts, dim=2)
