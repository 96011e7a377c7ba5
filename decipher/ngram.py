"""Character n-gram language models: estimate, score, predict, store, and ARPA in and out.

The smoothing is interpolated modified Kneser-Ney (Chen and Goodman 1998, section 4): with
context h, symbol w and the context h' that drops the oldest symbol of h,

    p(w | h) = max(c(hw) - D(c(hw)), 0) / c(h) + gamma(h) p(w | h'),

where c is the count at the highest order and the number of distinct symbols seen to the left
below it, D takes three values (for counts of 1, 2, and 3 or more), gamma(h) hands the discounted
mass on, and the recursion ends in the uniform distribution over the alphabet.

The first n - 1 symbols of a text have less context than n - 1. A ciphertext is mostly cut from the
middle of something, so they are scored by the models of order 1, 2, ..., n - 1 over the true
counts, and not by the Kneser-Ney lower orders: those answer another question (after how many
symbols is this one new?), and over a small alphabet that saturates, so that every letter looks
alike.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ciphers.alphabet import Alphabet, check_ids
from ciphers.errors import InputError
from ciphers.files import atomic_write, read_text

MAX_ORDER = 6
SHIPPED = ("letters", "letters-space")
FORMAT = "bayesian-decipher n-gram counts"
VERSION = 1
#: A dense table holds V + V^2 + ... + V^n scores; past this many the model stays sparse.
DENSE_LIMIT = 450_000_000
#: No logarithm in an ARPA file is larger.
MAX_LOG = 1e6
#: Codes below this are looked up through an array of ranks; above it by bisection.
RANK_LIMIT = 1 << 24

Int = NDArray[np.int64]
Float = NDArray[np.float32]


@dataclass(frozen=True)
class NGramCounts:
    """How often each n-gram was seen, for one n; the lower orders follow from it exactly.

    The code of an n-gram w1 ... wn is the integer w1 V^(n-1) + ... + wn.

    Attributes:
        size: V, the number of symbols.
        order: n.
        codes: [M], the distinct n-grams seen, ascending.
        counts: [M], how often, at least 1.
        heads: the first n - 1 ids of each document (a shorter document whole). Every shorter
            window but the first of a document is the tail of an n-gram, so the heads are all that
            the n-grams do not tell.
    """

    size: int
    order: int
    codes: Int
    counts: Int
    heads: tuple[bytes, ...]

    @classmethod
    def count(cls, documents: Iterable[ArrayLike], size: int, order: int) -> NGramCounts:
        """Count the n-grams of `documents`, 1-d id arrays; no n-gram crosses a document border."""
        codes: list[Int] = []
        heads: list[bytes] = []
        for document in documents:
            ids = np.asarray(document, np.uint8)
            codes.append(ngram_codes(ids, size, order))
            heads.append(ids[: order - 1].tobytes())
        seen = np.concatenate([np.zeros(0, np.int64), *codes])
        distinct, counts = _add_up(seen, np.ones(len(seen), np.int64), size**order)
        return cls(size, order, distinct, counts, tuple(heads))

    @cached_property
    def lower(self) -> NGramCounts:
        """The counts of order n - 1, equal to counting the documents again."""
        n = self.order - 1
        first = [ngram_codes(np.frombuffer(h, np.uint8), self.size, n) for h in self.heads]
        extra = np.concatenate([np.zeros(0, np.int64), *first])
        codes = np.concatenate([self.codes % self.size**n, extra])
        counts = np.concatenate([self.counts, np.ones_like(extra)])
        distinct, counts = _add_up(codes, counts, self.size**n)
        return NGramCounts(
            self.size, n, distinct, counts, tuple(head[: n - 1] for head in self.heads)
        )

    @property
    def consistent(self) -> bool:
        """Whether these can be the counts of a text: what a file holds may be anything."""
        return (
            len(self.codes) == len(self.counts) > 0
            and 0 <= self.codes[0] <= self.codes[-1] < self.size**self.order
            and bool((np.diff(self.codes) > 0).all())
            and bool((self.counts > 0).all())
            and all(len(h) < self.order and max(h, default=0) < self.size for h in self.heads)
        )

    @cached_property
    def left_variety(self) -> tuple[Int, Int]:
        """The (n-1)-grams that were seen with a symbol to their left, and the number of distinct
        such symbols: what Kneser-Ney counts below the highest order (N1+ of Chen and Goodman)."""
        n = self.order - 1
        return _add_up(self.codes % self.size**n, np.ones_like(self.codes), self.size**n)


@dataclass(frozen=True)
class Level:
    """One order k of a back-off model; natural logarithms.

    Attributes:
        codes: [M], the k-grams with a probability of their own, ascending.
        log_prob: [M], log p(last symbol | the k - 1 before it).
        contexts: [C], the (k-1)-grams that were seen as contexts, ascending.
        backoff: [C], log of the weight with which a context hands the symbols that it was not
            seen with to order k - 1. A context that was never seen hands on with weight 1.
    """

    codes: Int
    log_prob: Float
    contexts: Int
    backoff: Float


@dataclass(frozen=True, eq=False)
class NGramModel:
    """A character n-gram model p(w | the n - 1 symbols before it) over an alphabet.

    Attributes:
        alphabet: the symbols.
        order: n, 1 to 6.
        levels: the back-off chain, `levels[k - 1]` of order k.
        starts: `starts[k - 1]`, the level of order k < n that scores symbol k of a text; it backs
            off into `levels[k - 2]`.
        counts: what the model was estimated from; None where it was read from an ARPA file.
        provenance: corpus name and hash, number of documents and symbols, smoothing, discounts.
    """

    alphabet: Alphabet
    order: int
    levels: tuple[Level, ...]
    starts: tuple[Level, ...]
    counts: NGramCounts | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    # --- estimation -----------------------------------------------------------------------------

    @classmethod
    def estimate(
        cls,
        documents: Iterable[ArrayLike],
        alphabet: Alphabet,
        order: int = 5,
        provenance: Mapping[str, Any] | None = None,
    ) -> NGramModel:
        """Estimate by interpolated modified Kneser-Ney.

        Args:
            documents: 1-d integer arrays of ids of `alphabet`.
            alphabet: the symbols.
            order: n, 1 to 6.
            provenance: what to remember of the corpus (its name and hash).

        Raises:
            InputError: the order is out of range, an id is, or no document is `order` long.
        """
        check_order(order)
        arrays = [_checked(ids, alphabet) for ids in documents]
        counts = NGramCounts.count(arrays, alphabet.size, order)
        if len(counts.codes) == 0:
            raise InputError(
                f"no document has {order} symbols of the alphabet, so there is no {order}-gram to "
                "count: give more text or a lower order"
            )
        about = {
            **(provenance or {}),
            "documents": len(arrays),
            "symbols": sum(len(ids) for ids in arrays),
        }
        return cls.from_counts(counts, alphabet, about)

    @classmethod
    def from_counts(
        cls, counts: NGramCounts, alphabet: Alphabet, provenance: Mapping[str, Any]
    ) -> NGramModel:
        """The model that `counts` estimate; see `estimate`."""
        by_order = [counts]
        while by_order[0].order > 1:
            by_order.insert(0, by_order[0].lower)
        size, order = alphabet.size, counts.order
        levels: list[Level] = []
        starts: list[Level] = []
        lower: Level | None = None
        for k, raw in enumerate(by_order, start=1):
            top = _kneser_ney(size, k, raw.codes, raw.counts, lower)
            if k < order:
                starts.append(top)
                lower = _kneser_ney(size, k, *by_order[k].left_variety, lower)
                levels.append(lower)
            else:
                levels.append(top)
        about = {
            **provenance,
            "smoothing": "interpolated modified Kneser-Ney",
            "discounts": [round(d, 6) for d in discounts(counts.counts)],
        }
        return cls(alphabet, order, tuple(levels), tuple(starts), counts, about)

    # --- scores ---------------------------------------------------------------------------------

    def log_prob(self, ids: ArrayLike) -> NDArray[np.float64]:
        """log p(ids[..., i] | the up to n - 1 symbols before it), nats.

        Args:
            ids: [..., n] ids; each row is a text of its own.

        Returns:
            [..., n]; the sum over the last axis is the log probability of the text.

        Raises:
            InputError: an id lies outside the alphabet.
        """
        array = _checked(ids, self.alphabet)
        size, n = self.alphabet.size, self.order
        out = np.empty(array.shape, np.float64)
        for k in range(1, min(n - 1, array.shape[-1]) + 1):
            code = ngram_codes(array[..., :k], size, k)
            out[..., k - 1 : k] = self._scores(code, k)
        out[..., n - 1 :] = self._scores(ngram_codes(array, size, n), n)
        return out

    def log_conditionals(self, ids: ArrayLike) -> NDArray[np.float64]:
        """log p(. | the up to n - 1 symbols before) after every prefix, nats.

        Args:
            ids: [..., n] ids; each row is a text of its own.

        Returns:
            [..., n + 1, V]; row i is for the symbol after `ids[..., :i]`, the last row for the one
            after the end.

        Raises:
            InputError: an id lies outside the alphabet.
        """
        array = _checked(ids, self.alphabet)
        size, n = self.alphabet.size, self.order
        length = array.shape[-1]
        out = np.empty((*array.shape[:-1], length + 1, size), np.float64)
        for k in range(1, min(n - 1, length + 1) + 1):
            context = ngram_codes(array[..., : k - 1], size, k - 1)
            out[..., k - 1 : k, :] = self._rows(context, k)
        out[..., n - 1 :, :] = self._rows(ngram_codes(array, size, n - 1), n)
        return out

    def conditional(self, context: ArrayLike) -> NDArray[np.float64]:
        """p(. | context): the next symbol's distribution, [..., V], after `context` [..., k].

        A context shorter than n - 1 is taken as the start of a text.
        """
        before = _checked(context, self.alphabet)
        k = min(before.shape[-1], self.order - 1)
        code = ngram_codes(before[..., before.shape[-1] - k :], self.alphabet.size, k)[..., 0]
        return np.exp(self._rows(code, k + 1))

    def sample(self, length: int, count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Texts [count, length] drawn from the model, each from the start of a text.

        Raises:
            InputError: a size is negative.
        """
        if min(length, count) < 0:
            raise InputError(
                f"cannot draw {count} texts of {length} symbols: give sizes of 0 or up"
            )
        size = self.alphabet.size
        texts = np.empty((count, length), np.uint8)
        context = np.zeros(count, np.int64)
        for i in range(length):
            cumulative = np.exp(self._rows(context, min(i + 1, self.order))).cumsum(axis=1)
            # Scaled by the sum, which is 1 but for the rounding of the scores.
            u = rng.random((count, 1)) * cumulative[:, -1:]
            texts[:, i] = (cumulative[:, :-1] <= u).sum(axis=1)
            context = (context * size + texts[:, i]) % size ** (self.order - 1)
        return texts

    def bits_per_symbol(self, documents: Iterable[ArrayLike]) -> float:
        """Cross entropy of `documents` (1-d id arrays) in bits a symbol; 2 to its power is the
        perplexity."""
        scores = [self.log_prob(ids) for ids in documents]
        symbols = sum(len(s) for s in scores)
        if symbols == 0:
            raise InputError("there is no symbol to score: give some text")
        return float(-sum(s.sum() for s in scores) / symbols / np.log(2))

    @cached_property
    def typical(self) -> tuple[float, float]:
        """Mean and variance of the log probability of a symbol, nats, over the text that the
        model was estimated from; (-inf, 0) for a model without counts."""
        if self.counts is None:
            return -np.inf, 0.0
        weight = self.counts.counts / self.counts.counts.sum()
        scores = self.levels[-1].log_prob.astype(np.float64)  # of the same codes
        mean = float(weight @ scores)
        return mean, float(weight @ (scores - mean) ** 2)

    def _scores(self, codes: Int, k: int) -> NDArray[np.float64]:
        """log p of the k-grams `codes`: the last symbol given the k - 1 before it."""
        if self.dense_size <= DENSE_LIMIT:
            scores = self.table[self.offsets[k - 1] + codes]
            return np.asarray(scores, np.float64)
        return self._back_off(
            self.levels[k - 1] if k == self.order else self.starts[k - 1], codes, k
        )

    def _rows(self, contexts: Int, k: int) -> NDArray[np.float64]:
        """log p(. | context), [..., V], of the (k - 1)-grams `contexts` [...]."""
        size = self.alphabet.size
        if self.dense_size <= DENSE_LIMIT:
            start = self.offsets[k - 1]
            rows = self.table[start : start + size**k].reshape(-1, size)
            # Ten times as fast as indexing with an array.
            return np.asarray(np.take(rows, contexts, axis=0), np.float64)
        return self._scores(contexts[..., None] * size + np.arange(size), k)

    def _back_off(self, level: Level, codes: Int, k: int) -> NDArray[np.float64]:
        """log p of the k-grams `codes` by `level`, of order k, and the levels below it."""
        size = self.alphabet.size
        out = np.zeros(codes.shape, np.float64)
        pending = np.ones(codes.shape, bool)
        for j in range(k, 0, -1):
            tail = codes % size**j
            found, rank = _find(level.codes, tail, size**j)
            out[found & pending] += level.log_prob[rank[found & pending]]
            pending &= ~found
            found, rank = _find(level.contexts, tail // size, size ** (j - 1))
            out[found & pending] += level.backoff[rank[found & pending]]
            if j > 1:
                level = self.levels[j - 2]
        out[pending] -= np.log(size)
        return out

    # --- the dense table ------------------------------------------------------------------------

    @property
    def dense_size(self) -> int:
        """V + V^2 + ... + V^n, the entries of `table`."""
        return sum(self.alphabet.size**k for k in range(1, self.order + 1))

    @property
    def offsets(self) -> Int:
        """[n]; the score of the k-gram with code c is `table[offsets[k - 1] + c]`."""
        sizes = [self.alphabet.size**k for k in range(1, self.order)]
        return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)

    @cached_property
    def table(self) -> Float:
        """Every log probability in one flat array, orders 1 to n one after another: orders below
        n score the start of a text, order n the rest.

        Raises:
            InputError: the table would be too large (see `dense_size`).
        """
        if self.dense_size > DENSE_LIMIT:
            raise InputError(
                f"a table of {self.order}-grams over {self.alphabet.size} symbols would hold "
                f"{self.dense_size:,} scores, more than {DENSE_LIMIT:,}: use a lower order"
            )
        size = self.alphabet.size
        table = np.empty(self.dense_size, np.float32)
        lower = np.full(1, -np.log(size), np.float32)
        for k, offset in enumerate(self.offsets, start=1):
            block = table[offset : offset + size**k]
            top = self.levels[-1] if k == self.order else self.starts[k - 1]
            _spread(top, lower, block, size)
            if k < self.order:
                longer = np.empty_like(block)
                _spread(self.levels[k - 1], lower, longer, size)
                lower = longer
        table.setflags(write=False)
        return table

    @cached_property
    def quantised(self) -> tuple[NDArray[np.int16], float]:
        """`table` as 16-bit integers, and the nats one step stands for.

        Half the memory, so that more of it stays in the caches, and sums of scores are exact. A
        step is the largest score over 32,767: some 0.0006 nats for 5-grams of English.
        """
        step = float(-self.table.min()) / np.iinfo(np.int16).max
        scores = np.rint(self.table / np.float32(step)).astype(np.int16)
        # Read-only like its copies in other processes: one compilation then serves them all.
        scores.setflags(write=False)
        return scores, step

    # --- files ----------------------------------------------------------------------------------

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the alphabet and the probabilities: two equal models share it."""
        digest = hashlib.sha256(f"{self.alphabet.symbols}|{self.order}".encode())
        for level in (*self.levels, *self.starts):
            for array in (level.codes, level.log_prob, level.contexts, level.backoff):
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the counts and their provenance, compressed; `load` estimates from them anew.

        Raises:
            InputError: the path cannot be written, or the model has no counts (read from ARPA).
        """
        if self.counts is None:
            raise InputError(
                "this model was read from an ARPA file and has no counts: write it with to_arpa"
            )
        meta = {
            "format": FORMAT,
            "version": VERSION,
            "symbols": self.alphabet.symbols,
            "name": self.alphabet.name,
            "order": self.order,
            "provenance": dict(self.provenance),
        }
        heads = self.counts.heads
        arrays: dict[str, Any] = {
            "meta": np.frombuffer(json.dumps(meta, sort_keys=True).encode(), np.uint8),
            "gaps": _byte_planes(np.diff(self.counts.codes, prepend=0)),
            "counts": _byte_planes(self.counts.counts),
            "heads": np.frombuffer(b"".join(heads), np.uint8),
            "head_lengths": np.array([len(head) for head in heads], np.int64),
        }
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> NGramModel:
        """Read what `save` wrote.

        Raises:
            InputError: the file is missing, damaged, of another kind or of another version.
        """
        path = Path(path)
        try:
            with np.load(path, allow_pickle=False) as file:
                meta = json.loads(file["meta"].tobytes())
                if meta["format"] != FORMAT:
                    raise InputError(f"{path} is not an n-gram table: make one with `decipher fit`")
                if meta["version"] != VERSION:
                    raise InputError(
                        f"{path} is an n-gram table of version {meta['version']}, this program "
                        f"reads version {VERSION}: make it anew with `decipher fit`"
                    )
                alphabet = Alphabet(str(meta["symbols"]), str(meta["name"]))
                check_order(meta["order"])
                ends = np.cumsum(file["head_lengths"])
                joined = file["heads"].tobytes()
                heads = tuple(
                    joined[end - n : end] for n, end in zip(file["head_lengths"], ends, strict=True)
                )
                counts = NGramCounts(
                    alphabet.size,
                    int(meta["order"]),
                    np.cumsum(_from_byte_planes(file["gaps"])),
                    _from_byte_planes(file["counts"]),
                    heads,
                )
                if not counts.consistent:
                    raise _damaged(path)
                return cls.from_counts(counts, alphabet, meta["provenance"])
        except InputError:
            raise
        except FileNotFoundError as error:
            raise InputError(
                f"there is no n-gram table {path}: name one of {', '.join(SHIPPED)}, or make one "
                "with `decipher fit`"
            ) from error
        except (OSError, EOFError, ValueError, KeyError, TypeError, IndexError) as error:
            raise _damaged(path) from error
        except (zipfile.BadZipFile, zlib.error, RuntimeError) as error:
            raise _damaged(path) from error  # RuntimeError: a damaged flag says "encrypted"

    def to_arpa(self, path: str | os.PathLike[str]) -> None:
        """Write the back-off chain as an ARPA file (base-10 logarithms), as SRILM and KenLM read
        it. The starts are not part of the format: a reader backs off at the start of a text."""
        names = _arpa_names(self.alphabet)
        with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.write("\\data\\\n")
            levels = [_arpa_level(self, k) for k in range(1, self.order + 1)]
            for k, (codes, _, _) in enumerate(levels, start=1):
                file.write(f"ngram {k}={len(codes) + (k == 1)}\n")
            for k, (codes, log_prob, backoff) in enumerate(levels, start=1):
                file.write(f"\n\\{k}-grams:\n")
                if k == 1:
                    file.write("-99\t<unk>\n")
                words = [
                    [
                        names[i]
                        for i in codes // self.alphabet.size ** (k - 1 - place) % self.alphabet.size
                    ]
                    for place in range(k)
                ]
                grams = zip(*words, strict=True)
                if k < self.order:
                    file.writelines(
                        f"{p:.7f}\t{' '.join(gram)}\t{b:.7f}\n"
                        for p, gram, b in zip(log_prob, grams, backoff, strict=True)
                    )
                else:
                    file.writelines(
                        f"{p:.7f}\t{' '.join(gram)}\n"
                        for p, gram in zip(log_prob, grams, strict=True)
                    )
            file.write("\n\\end\\\n")

    @classmethod
    def from_arpa(cls, path: str | os.PathLike[str], alphabet: Alphabet) -> NGramModel:
        """Read an ARPA file over single symbols of `alphabet`.

        A space is written `<space>` and a newline `<newline>`; n-grams with other words in angle
        brackets (`<s>`, `</s>`, `<unk>`) are left out.

        Raises:
            InputError: the file is unreadable, not ARPA, or holds symbols that `alphabet` lacks or
                numbers that are no log probabilities.
        """
        path = Path(path)
        ids = {name: i for i, name in enumerate(_arpa_names(alphabet))}
        sections = _arpa_sections(read_text(path), path)
        check_order(len(sections))
        size = alphabet.size
        levels: list[Level] = []
        weights: dict[int, float] = {0: 0.0}
        for k, section in enumerate(sections, start=1):
            scores: dict[int, float] = {}
            following: dict[int, float] = {}
            for log_prob, words, backoff in section:
                if any(w not in ids and w.startswith("<") and w.endswith(">") for w in words):
                    continue
                try:
                    code = sum(ids[w] * size ** (k - 1 - i) for i, w in enumerate(words))
                except KeyError as error:
                    raise InputError(
                        f"{path} holds the word {error.args[0]!r}, which is no symbol of the "
                        f"alphabet {alphabet.name or alphabet.symbols}: choose the right alphabet"
                    ) from error
                # NaN fails too. The format's customary zero, -99, passes.
                if not (-MAX_LOG <= log_prob <= 0 and abs(backoff) <= MAX_LOG):
                    raise InputError(
                        f"{path} gives {' '.join(words)!r} the logarithms {log_prob} and "
                        f"{backoff}: they are of no probability and no back-off weight"
                    )
                scores[code] = log_prob
                following[code] = backoff
            contexts = np.array(sorted(weights), np.int64)
            codes = np.array(sorted(scores), np.int64)
            levels.append(
                Level(
                    codes,
                    (np.array([scores[c] for c in codes.tolist()]) * np.log(10)).astype(np.float32),
                    contexts,
                    (np.array([weights[c] for c in contexts.tolist()]) * np.log(10)).astype(
                        np.float32
                    ),
                )
            )
            weights = following
        if len(levels[0].codes) < size:
            raise InputError(f"{path} lacks some symbols of the alphabet among its 1-grams")
        about = {"smoothing": f"read from {path.name}"}
        return cls(alphabet, len(levels), tuple(levels), tuple(levels[:-1]), None, about)


def load_ngram(name: str | os.PathLike[str], alphabet: Alphabet | None = None) -> NGramModel:
    """An n-gram model by name or path.

    Args:
        name: a shipped table ("letters" or "letters-space", order 5), or the path of a table
            written by `decipher fit`, or of an `.arpa` file.
        alphabet: the symbols of an ARPA file, which does not name them; not needed otherwise.

    Raises:
        InputError: there is no such table, it is damaged, or it is over another alphabet.
    """
    if str(name) in SHIPPED:
        model = _shipped(str(name))
    elif str(name).endswith(".arpa"):
        if alphabet is None:
            raise InputError(f"{name} is an ARPA file: say over which alphabet")
        model = NGramModel.from_arpa(name, alphabet)
    else:
        model = NGramModel.load(name)
    if alphabet is not None and model.alphabet != alphabet:
        raise InputError(
            f"the n-gram table {name} is over the alphabet {model.alphabet.name}, not "
            f"{alphabet.name}: choose a table or an alphabet that fit together"
        )
    return model


@lru_cache
def _shipped(name: str) -> NGramModel:
    with resources.as_file(resources.files("decipher") / "data" / f"{name}.npz") as path:
        return NGramModel.load(path)


def check_order(order: int) -> None:
    """Raise InputError unless `order` is 1 to 6."""
    if not 1 <= order <= MAX_ORDER:
        raise InputError(f"the order of an n-gram model is 1 to {MAX_ORDER}, not {order}")


def ngram_codes(ids: NDArray[np.integer[Any]], size: int, order: int) -> Int:
    """Codes of all windows of `order` ids: [..., n] -> [..., n - order + 1] (none: empty)."""
    windows = max(0, ids.shape[-1] - order + 1)
    codes = np.zeros((*ids.shape[:-1], windows), np.int64)
    for place in range(order):
        codes *= size
        codes += ids[..., place : place + windows]
    return codes


def discounts(counts: Int) -> tuple[float, float, float]:
    """D1, D2, D3+ of modified Kneser-Ney from the counts of counts (Chen and Goodman, eq. 17).

    Where a count of counts is missing, or the estimate leaves (0, k] (small or saturated data),
    the customary 0.5, 1, 1.5 stand in.
    """
    n1, n2, n3, n4 = (int(np.count_nonzero(counts == k)) for k in (1, 2, 3, 4))
    if min(n1, n2, n3, n4) > 0:
        y = n1 / (n1 + 2 * n2)
        d = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
        if all(0 < x <= k for k, x in enumerate(d, start=1)):
            return d
    return (0.5, 1.0, 1.5)


def _kneser_ney(size: int, k: int, codes: Int, counts: Int, lower: Level | None) -> Level:
    """One level of the recursion; `lower` is the level of order k - 1 (None: uniform)."""
    d1, d2, d3 = discounts(counts)
    discount = np.array([0.0, d1, d2, d3])[np.minimum(counts, 3)]
    starts = np.flatnonzero(np.diff(codes // size, prepend=-1))
    contexts = codes[starts] // size
    total = np.add.reduceat(counts, starts)
    gamma = np.add.reduceat(discount, starts) / total
    of = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(codes)))
    below = np.full(len(codes), 1 / size)
    if lower is not None:
        # The tail of a seen k-gram was seen, with a symbol to its left: it has a rank below.
        _, rank = _find(lower.codes, codes % size ** (k - 1), size ** (k - 1))
        below = np.exp(lower.log_prob, dtype=np.float64)[rank]
    prob = (counts - discount) / total[of] + gamma[of] * below
    return Level(codes, np.log(prob).astype(np.float32), contexts, np.log(gamma).astype(np.float32))


def _find(ascending: Int, wanted: Int, bound: int) -> tuple[NDArray[np.bool_], Int]:
    """Where each of `wanted` (in 0 ... bound - 1) stands in `ascending`: (found, rank); the rank
    is some valid index where it was not found."""
    if len(ascending) == 0:
        return np.zeros(wanted.shape, bool), np.zeros(wanted.shape, np.int64)
    if bound <= RANK_LIMIT and wanted.size > bound // 16:
        ranks = np.zeros(bound, np.int64)
        ranks[ascending] = np.arange(len(ascending))
        rank = ranks[wanted]
    else:
        rank = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    return ascending[rank] == wanted, rank


def _add_up(codes: Int, weights: Int, bound: int) -> tuple[Int, Int]:
    """The distinct `codes` (in 0 ... bound - 1), ascending, and the sum of each one's weights."""
    if bound <= RANK_LIMIT:
        sums = np.bincount(codes, weights, minlength=bound)
        distinct = np.flatnonzero(sums)
        return distinct, sums[distinct].astype(np.int64)
    distinct, place = np.unique(codes, return_inverse=True)
    return distinct, np.bincount(place, weights, minlength=len(distinct)).astype(np.int64)


def _spread(level: Level, lower: Float, out: Float, size: int) -> None:
    """Fill the dense scores of one order from its level and the dense scores one order below."""
    rows = out.reshape(-1, len(lower))
    rows[:] = lower
    out.reshape(-1, size)[level.contexts] += level.backoff[:, None]
    out[level.codes] = level.log_prob


def _checked(ids: ArrayLike, alphabet: Alphabet) -> NDArray[np.uint8]:
    return np.atleast_1d(check_ids(ids, alphabet.size)).astype(np.uint8, copy=False)


def _byte_planes(values: Int) -> NDArray[np.uint8]:
    """[M] int64 -> [B, M] bytes, the least significant first: the high planes are nearly all zero,
    which a general compressor packs to nothing."""
    width = max(1, (int(values.max(initial=0)).bit_length() + 7) // 8)
    return np.ascontiguousarray(values.astype("<u8").view(np.uint8).reshape(-1, 8).T[:width])


def _from_byte_planes(planes: NDArray[np.uint8]) -> Int:
    values = np.zeros(planes.shape[1], np.int64)
    for place, plane in enumerate(planes):
        values |= plane.astype(np.int64) << (8 * place)
    return values


def _damaged(path: Path) -> InputError:
    return InputError(f"{path} is damaged or no n-gram table: make it anew with `decipher fit`")


def _arpa_names(alphabet: Alphabet) -> list[str]:
    special = {" ": "<space>", "\n": "<newline>"}
    return [special.get(symbol, symbol) for symbol in alphabet.symbols]


def _arpa_level(model: NGramModel, k: int) -> tuple[Int, Float, Float]:
    """The k-grams of an ARPA file, their scores, and their back-off weights as contexts."""
    size, level = model.alphabet.size, model.levels[k - 1]
    codes, log_prob = level.codes, level.log_prob.astype(np.float64)
    if k == 1:
        # The format has no order 0: every symbol is listed, a never-seen one with what
        # the uniform distribution gives it.
        codes = np.arange(size, dtype=np.int64)
        log_prob = np.full(size, level.backoff[0] - np.log(size), np.float64)
        log_prob[level.codes] = level.log_prob
    if k < model.order:
        above = model.levels[k]
        # What only starts a document has nothing to its left, so no score here of its own, but a
        # weight as a context, for which the format wants it listed.
        only_contexts = np.setdiff1d(above.contexts, codes)
        codes = np.concatenate([codes, only_contexts])
        log_prob = np.concatenate([log_prob, model._back_off(level, only_contexts, k)])
        backoff = np.zeros(len(codes))
        found, rank = _find(above.contexts, codes, size**k)
        backoff[found] = above.backoff[rank[found]]
    else:
        backoff = np.zeros(len(codes))
    return (
        codes,
        (log_prob / np.log(10)).astype(np.float32),
        (backoff / np.log(10)).astype(np.float32),
    )


def _arpa_sections(text: str, path: Path) -> list[list[tuple[float, list[str], float]]]:
    """The n-gram sections of an ARPA file, lowest order first."""
    sections: list[list[tuple[float, list[str], float]]] = []
    state = "before"
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip("\n")
        if line == "\\data\\":
            state = "data"
        elif line == "\\end\\":
            state = "end"
        elif line == f"\\{len(sections) + 1}-grams:" and state in ("data", "grams"):
            state = "grams"
            sections.append([])
        elif state == "grams" and line.strip():
            fields = line.split("\t")
            words = fields[1].split() if len(fields) > 1 else []
            try:
                backoff = float(fields[2]) if len(fields) > 2 else 0.0
                entry = (float(fields[0]), words, backoff)
            except ValueError as error:
                raise InputError(f"{path} line {number} is not ARPA: {line[:60]!r}") from error
            if len(words) != len(sections):
                raise InputError(f"{path} line {number} is no {len(sections)}-gram: {line[:60]!r}")
            sections[-1].append(entry)
    if state != "end" or not sections:
        raise InputError(f"{path} is no complete ARPA file (\\data\\ ... \\end\\)")
    return sections
