"""Alphabets: the symbols a cipher acts on, and the one set of rules that turns text into ids.

How a character becomes symbols, the first rule that fits:

1. it is in the alphabet: it stays;
2. its lower-case or upper-case form is in the alphabet: that symbol;
3. it has a plainer spelling (`SPELLINGS`: æ -> ae, curly quotes -> straight ones, ...; otherwise
   Unicode's compatibility decomposition NFKD without its combining marks): each character of the
   spelling is tried again, so é -> e, ﬁ -> fi, Æ -> ae;
4. it cannot be represented. What happens then depends on the alphabet:

   - without a space (`LETTERS`): it is dropped;
   - with a space and nothing but letters and digits beside it (`LETTERS_SPACE`): an apostrophe
     inside a word is dropped (don't -> dont), and every other run of such characters and white
     space becomes one space, with none at the start or end of the text. `collapse=False` is for
     ciphertext, where the space is a cipher symbol like any other: each literal space character is
     kept one for one, and all that cannot be represented is dropped;
   - with a space and punctuation (`ASCII`): other white space becomes a space, the rest is
     dropped, and nothing is collapsed, so plain ASCII text passes unchanged.

Combining marks and invisible format characters (soft hyphens, joiners) never separate words: they
are dropped in every alphabet.
"""

# ruff: noqa: RUF001 (characters that look alike are what the tables below are about)
from __future__ import annotations

import string
import unicodedata
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ciphers.errors import InputError

Ids = NDArray[np.uint8]
"""Symbol ids, 0 to V - 1, of an alphabet of V symbols."""

_LOOK_ALIKES = {
    "'": "‘’‚‛′ʹʻʼʽˈ´",
    '"': "“”„‟″«»〝〞",
    "-": "‐‑‒–—―−⁃",
    "<": "‹",
    ">": "›",
    "/": "⁄∕÷",
    "x": "×",
    ".": "·",
    "*": "•",
    "|": "¦",
}
_LETTERS_SPELLED = {
    "a": "ɑ",
    "ae": "æ",
    "d": "ðđ",
    "e": "ə",
    "f": "ƒ",
    "h": "ħ",
    "i": "ı",
    "j": "ȷ",
    "k": "ĸ",
    "l": "ł",
    "ng": "ŋ",
    "o": "ø",
    "oe": "œ",
    "ss": "ß",
    "t": "ŧ",
    "th": "þ",
}
SPELLINGS: dict[str, str] = {
    character: spelling
    for spelling, characters in (_LOOK_ALIKES | _LETTERS_SPELLED).items()
    for character in characters
}
"""Plainer spellings of lower-case and uncased characters that NFKD leaves as they are, or that it
would turn into a space."""

_APOSTROPHE = "'"
_SPACE = " "


@dataclass(frozen=True)
class Alphabet:
    """An ordered set of V distinct symbols; a symbol's id is its place, 0 to V - 1.

    Two alphabets are equal when their symbols are, whatever they are called.

    Raises:
        InputError: a symbol is repeated, or there are not 2 to 255 of them.
    """

    symbols: str
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not 2 <= len(self.symbols) <= 255:
            raise InputError(
                f"an alphabet has 2 to 255 symbols, not {len(self.symbols)}: "
                "give each symbol once, in order"
            )
        repeated = sorted({s for s in self.symbols if self.symbols.count(s) > 1})
        if repeated:
            raise InputError(
                f"the alphabet repeats {''.join(repeated)!r}: give each symbol once, in order"
            )

    @property
    def size(self) -> int:
        """V, the number of symbols."""
        return len(self.symbols)

    def __len__(self) -> int:
        return self.size

    def __contains__(self, symbol: object) -> bool:
        return isinstance(symbol, str) and len(symbol) == 1 and symbol in self.symbols

    def __str__(self) -> str:
        return self.name or repr(self.symbols)

    def index(self, symbol: str) -> int:
        """The id of `symbol`.

        Raises:
            InputError: the alphabet does not hold it.
        """
        if symbol not in self:
            raise InputError(f"{symbol!r} is not in the alphabet {self}: give one of its symbols")
        return self.symbols.index(symbol)

    def indices(self, symbols: str) -> NDArray[np.intp]:
        """The ids of distinct symbols, ascending.

        Raises:
            InputError: the alphabet does not hold one of them.
        """
        return np.array(sorted({self.index(symbol) for symbol in symbols}), dtype=np.intp)

    def encode(self, text: str, *, collapse: bool = True) -> Ids:
        """The ids [n] of `text` by the rules above (see the module's documentation).

        Args:
            collapse: False for ciphertext whose spaces are cipher symbols.
        """
        return _rules(self).encode(text, collapse)

    def decode(self, ids: ArrayLike) -> str:
        """The symbols of `ids` [n], joined.

        Raises:
            InputError: an id is not in 0 to V - 1.
        """
        points = np.array([ord(symbol) for symbol in self.symbols], dtype="<u4")
        data: bytes = points[check_ids(ids, self.size).ravel()].tobytes()
        return data.decode("utf-32-le", "surrogatepass")

    def normalise(self, text: str) -> str:
        """`text` as the alphabet sees it: its symbols only."""
        return self.decode(self.encode(text))

    def layout(self, text: str, *, collapse: bool = True) -> Layout:
        """The ids of `text`, as `encode` gives them, and the way back into the text's layout."""
        ids, positions = _rules(self).scan(text, collapse)
        return Layout(self, text, ids, positions, collapse)


@dataclass(frozen=True, eq=False)
class Layout:
    """A text, the ids it encodes to, and where each came from.

    `ids` [n]; `positions` [n] is the index in `text` of the character that each id came from (the
    first one, where a run of separators became one space).
    """

    alphabet: Alphabet
    text: str
    ids: Ids
    positions: NDArray[np.intp]
    collapse: bool

    def restore(self, ids: ArrayLike, alphabet: Alphabet | None = None) -> str:
        """`text` with its symbols replaced by those of `ids` [n]; all else stays as it was.

        The ids are those of `alphabet` (None: the layout's own), such as the letters that a text
        written in other signs stands for.

        A replaced capital gives a capital, unless the alphabet tells the two apart. A character
        that was spelled with several symbols (æ) gives way to them all. A separator whose id is the
        space again stays the separator it was; any other symbol takes the place of the whole run.

        Raises:
            InputError: `ids` has another length, or an id is out of range.
        """
        symbols = (alphabet or self.alphabet).decode(ids)
        if len(symbols) != len(self.ids):
            raise InputError(
                f"the layout holds {len(self.ids)} symbols, not {len(symbols)}: give as many ids"
            )
        pieces = []
        done = 0
        starts, ends = self.positions.tolist(), self._ends.tolist()
        for i, (symbol, start, end) in enumerate(zip(symbols, starts, ends, strict=True)):
            pieces.append(self.text[done:start])
            stays = symbol == _SPACE and self._is_separator[i]
            pieces.append(self.text[start:end] if stays else self._cased(i, symbol))
            done = end
        pieces.append(self.text[done:])
        return "".join(pieces)

    @cached_property
    def _spaces(self) -> NDArray[np.intp]:
        """The places in `ids` that hold the space."""
        if _SPACE not in self.alphabet:
            return np.empty(0, dtype=np.intp)
        return np.flatnonzero(self.ids == self.alphabet.index(_SPACE))

    @cached_property
    def _ends(self) -> NDArray[np.intp]:
        """[n] one past the last character that each id stands for."""
        ends = self.positions + 1
        if self.collapse and _rules(self.alphabet).separates:
            # A collapsed run reaches to the next symbol; there is one, for no text ends in a run.
            ends[self._spaces] = self.positions[self._spaces + 1]
        return ends

    @cached_property
    def _is_separator(self) -> NDArray[np.bool_]:
        """[n] whether the id is a space and the only one that its characters gave."""
        is_separator = np.zeros(len(self.ids), dtype=np.bool_)
        is_separator[self._spaces] = True
        repeats = np.flatnonzero(np.diff(self.positions) == 0)
        is_separator[repeats] = is_separator[repeats + 1] = False
        return is_separator

    @cached_property
    def _cases_differ(self) -> bool:
        """Whether the alphabet tells capitals from small letters, so that a symbol has its case."""
        symbols = self.alphabet.symbols
        return symbols not in (symbols.lower(), symbols.upper())

    def _cased(self, i: int, symbol: str) -> str:
        """`symbol` in the case of the character that it replaces."""
        start = int(self.positions[i])
        original = self.text[start]
        if self._cases_differ or original in self.alphabet:
            return symbol
        first = i == 0 or self.positions[i - 1] != start
        if original == original.lower():
            cased = symbol.lower() if original.islower() else symbol
        elif first or self._in_capitals(start):
            cased = symbol.upper()
        else:
            cased = symbol
        return cased if len(cased) == 1 else symbol

    def _in_capitals(self, position: int) -> bool:
        """Whether the word around `position` is in capitals: Æther, but ÆTHER."""
        before = self.text[max(position - 1, 0) : position]
        after = self.text[position + 1 : position + 2]
        return after.isupper() if after.isalpha() else before.isupper()


class _Rules:
    """The normalisation rules of one alphabet, as a table over all of Unicode.

    The table holds a code for each code point: a symbol's id, or one of the marks below. It is
    filled as characters are met, since few texts use more than a few hundred.
    """

    UNKNOWN, SEVERAL, NOTHING, SEPARATOR, APOSTROPHE = range(256, 261)
    BLOCK = 1 << 16  # characters encoded at a time: the working copies stay near the cache

    def __init__(self, alphabet: Alphabet) -> None:
        self.ids = {symbol: i for i, symbol in enumerate(alphabet.symbols)}
        self.space = self.ids.get(_SPACE)
        only_words = all(symbol.isalnum() for symbol in self.ids if symbol != _SPACE)
        self.separates = self.space is not None and only_words
        self.table = np.full(0x110000, self.UNKNOWN, dtype=np.uint16)
        if self.space is not None:
            self.table[ord(_SPACE)] = self.space
        self.several: dict[int, list[int]] = {}

    def scan(self, text: str, collapse: bool) -> tuple[Ids, NDArray[np.intp]]:
        """The ids [n] of `text`, and the index of the character each came from [n]."""
        codes = self._look_up(text)
        origins = None  # the character of each code, once they are no longer one to one
        if (codes == self.SEVERAL).any():
            codes, origins = self._spell_out(text, codes)
        if self.space is not None and self.separates and collapse:
            if (codes == self.NOTHING).any():  # out first: it must not part a word
                visible = np.flatnonzero(codes != self.NOTHING)
                codes, origins = codes[visible], visible if origins is None else origins[visible]
            is_letter = (codes < self.UNKNOWN) & (codes != self.space)
            separates = self._separates(codes, is_letter)
            codes[separates] = self.space
            keep = np.flatnonzero(is_letter | _run_starts_inside(separates))
        else:
            keep = np.flatnonzero(codes < self.UNKNOWN)
        return codes[keep].astype(np.uint8), keep if origins is None else origins[keep]

    def encode(self, text: str, collapse: bool) -> Ids:
        """The ids that `scan` gives, block by block.

        Blocks end in a literal space. No rule looks across one, except that the run of separators
        it belongs to is one space symbol where letters are on both sides.
        """
        blocks: list[Ids] = []
        start = 0
        while start < len(text):
            end = text.find(_SPACE, start + self.BLOCK) + 1 or len(text)
            ids = self.scan(text[start:end], collapse)[0]
            if self.separates and collapse and blocks and ids.size:
                blocks.append(np.array([self.space], dtype=np.uint8))
            if ids.size:
                blocks.append(ids)
            start = end
        return np.concatenate(blocks) if blocks else np.empty(0, dtype=np.uint8)

    def _look_up(self, text: str) -> NDArray[np.uint16]:
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        codes: NDArray[np.uint16] = self.table[points]
        unknown = np.unique(points[codes == self.UNKNOWN])
        if unknown.size:
            for point in unknown.tolist():
                self._learn(point)
            codes = self.table[points]
        return codes

    def _learn(self, point: int) -> None:
        codes = self._represent(chr(point))
        if len(codes) > 1:
            self.several[point] = codes
        self.table[point] = codes[0] if len(codes) == 1 else self.SEVERAL if codes else self.NOTHING

    def _represent(self, character: str) -> list[int]:
        """The codes that stand for a character; rules 1 to 4 of the module."""
        if self.separates and character.isspace():
            return [self.SEPARATOR]  # only the literal space is the space symbol: see __init__
        for form in (character, character.lower(), character.upper()):
            if form in self.ids:
                return [self.ids[form]]
        lower = character.lower()
        spelling = SPELLINGS.get(lower)
        if spelling is not None and character != lower:
            spelling = spelling.title()
        if spelling is None:
            spelling = "".join(
                part
                for part in unicodedata.normalize("NFKD", character)
                if unicodedata.category(part) not in ("Mn", "Mc", "Me", "Cf")
            )
        if spelling != character:
            codes = [code for part in spelling for code in self._represent(part)]
            return [self.SEPARATOR] if codes and set(codes) == {self.SEPARATOR} else codes
        if self.separates:
            return [self.APOSTROPHE if character == _APOSTROPHE else self.SEPARATOR]
        if self.space is not None and character.isspace():
            return [self.space]
        return []

    def _spell_out(
        self, text: str, codes: NDArray[np.uint16]
    ) -> tuple[NDArray[np.uint16], NDArray[np.intp]]:
        """Put each character's several codes in the place of the mark that stands for them."""
        places = np.flatnonzero(codes == self.SEVERAL)
        spelled = [self.several[ord(text[place])] for place in places]
        lengths = np.ones(len(codes), dtype=np.intp)
        lengths[places] = [len(part) for part in spelled]
        positions = np.repeat(np.arange(len(codes)), lengths)
        expanded = codes[positions]
        expanded[expanded == self.SEVERAL] = [code for part in spelled for code in part]
        return expanded, positions

    def _separates(
        self, codes: NDArray[np.uint16], is_letter: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """[n] whether each code belongs to a gap between words: no letter, no inner apostrophe."""
        separates = ~is_letter
        apostrophes = np.flatnonzero(codes == self.APOSTROPHE)
        inner = apostrophes[(apostrophes > 0) & (apostrophes < len(codes) - 1)]
        separates[inner[is_letter[inner - 1] & is_letter[inner + 1]]] = False
        return separates


def _run_starts_inside(run: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[n] where each run of True begins, but for runs that touch the start or the end."""
    starts = run.copy()
    starts[1:] &= ~run[:-1]
    starts[:1] = False
    if run[-1:].any():
        starts[np.flatnonzero(starts)[-1:]] = False
    return starts


@lru_cache(maxsize=32)
def _rules(alphabet: Alphabet) -> _Rules:
    # Beside the alphabet and not in it: an alphabet travels with every key, a 2 MB table must not.
    return _Rules(alphabet)


def check_ids(ids: ArrayLike, size: int) -> NDArray[Any]:
    """`ids` as an integer array of any shape, each id from 0 to `size` - 1.

    Raises:
        InputError: they are no integers, or one is out of range.
    """
    array = np.asarray(ids)
    if array.size == 0:
        return array.astype(np.uint8)
    if not np.issubdtype(array.dtype, np.integer):
        raise InputError(
            f"ids are integers from 0 to {size - 1}, not {array.dtype}: encode text first"
        )
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= size:
        wrong = low if low < 0 else high
        raise InputError(f"id {wrong} is out of range: this alphabet's ids are 0 to {size - 1}")
    return array


LETTERS = Alphabet(string.ascii_lowercase, "letters")
LETTERS_SPACE = Alphabet(string.ascii_lowercase + " ", "letters-space")
ASCII = Alphabet("".join(map(chr, range(0x20, 0x7F))) + "\n", "ascii")
ALPHABETS: dict[str, Alphabet] = {a.name: a for a in (LETTERS, LETTERS_SPACE, ASCII)}


def get_alphabet(name: str) -> Alphabet:
    """The alphabet called `name`.

    Raises:
        InputError: there is none of that name.
    """
    if name not in ALPHABETS:
        raise InputError(f"there is no alphabet {name!r}: take one of {', '.join(ALPHABETS)}")
    return ALPHABETS[name]
