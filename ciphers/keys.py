"""Substitution keys: permutations of an alphabet, one at a time (`Key`) or many as arrays [N, V].

Everywhere, entry p of a key is the cipher id that stands for the plain id p.
"""

from __future__ import annotations

import math
import string
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ciphers.alphabet import Alphabet, Ids, check_ids
from ciphers.errors import InputError


def random_keys(
    alphabet: Alphabet | int, count: int, rng: np.random.Generator, fixed: str = ""
) -> Ids:
    """`count` independent keys [count, V], each uniform over all that keep `fixed` in place.

    Args:
        alphabet: the alphabet, or only its size V (then nothing can be fixed).
        fixed: symbols that stand for themselves, such as the space.

    Raises:
        InputError: a fixed symbol is not in the alphabet.
    """
    if isinstance(alphabet, Alphabet):
        size, moved = alphabet.size, _moved(alphabet, fixed)
    elif fixed:
        raise InputError(
            f"symbols {fixed!r} can be fixed in an alphabet only: give one, not a size"
        )
    else:
        size, moved = alphabet, np.arange(alphabet)
        if not 2 <= size <= 255:
            raise InputError(f"an alphabet has 2 to 255 symbols, not {size}: give its size")
    keys = np.tile(np.arange(size, dtype=np.uint8), (count, 1))
    keys[:, moved] = rng.permuted(keys[:, moved], axis=1)
    return keys


def invert_keys(keys: Ids) -> Ids:
    """The inverses [N, V] of `keys` [N, V]: entry c is the plain id that the cipher id c means."""
    inverses = np.empty_like(keys)
    plain = np.broadcast_to(np.arange(keys.shape[1], dtype=keys.dtype), keys.shape)
    np.put_along_axis(inverses, keys, plain, axis=1)
    return inverses


def apply_keys(keys: Ids, ids: NDArray[Any]) -> Ids:
    """Each row of `ids` [N, n] encrypted with its own row of `keys` [N, V]."""
    return np.take_along_axis(keys, ids, axis=1)


@dataclass(frozen=True, eq=False, repr=False)
class Key:
    """A permutation of an alphabet; `mapping` [V] takes a plain id to its cipher id (read-only).

    Raises:
        InputError: `mapping` is no permutation of 0 to V - 1.
    """

    alphabet: Alphabet
    mapping: Ids

    def __post_init__(self) -> None:
        size = self.alphabet.size
        mapping = check_ids(self.mapping, size).astype(np.uint8)
        if mapping.shape != (size,) or len(np.unique(mapping)) != size:
            raise InputError(f"a key of {self.alphabet} holds each id from 0 to {size - 1} once")
        mapping.flags.writeable = False
        object.__setattr__(self, "mapping", mapping)

    @classmethod
    def identity(cls, alphabet: Alphabet) -> Key:
        """The key that leaves every symbol as it is."""
        return cls(alphabet, np.arange(alphabet.size, dtype=np.uint8))

    @classmethod
    def random(cls, alphabet: Alphabet, rng: np.random.Generator, fixed: str = "") -> Key:
        """A key drawn uniformly over all that leave the symbols in `fixed` as they are."""
        return cls(alphabet, random_keys(alphabet, 1, rng, fixed)[0])

    @classmethod
    def keyword(cls, alphabet: Alphabet, word: str, fixed: str = "") -> Key:
        """The word's distinct symbols, then the rest of the alphabet in order.

        Raises:
            InputError: the word holds no symbol that the key may move.
        """
        moved = _moved(alphabet, fixed)
        chosen = [i for i in dict.fromkeys(alphabet.encode(word).tolist()) if i in moved]
        if not chosen:
            raise InputError(
                f"keyword {word!r} holds no symbol of {alphabet} that can move: give a word"
            )
        return cls._moving(alphabet, moved, chosen + [i for i in moved if i not in chosen])

    @classmethod
    def caesar(cls, alphabet: Alphabet, shift: int, fixed: str = "") -> Key:
        """Each symbol becomes the one `shift` places on, round the alphabet."""
        return cls.affine(alphabet, 1, shift, fixed)

    @classmethod
    def affine(cls, alphabet: Alphabet, a: int, b: int, fixed: str = "") -> Key:
        """Symbol i of the m that move becomes symbol (a i + b) mod m of them.

        Raises:
            InputError: a and m have a common factor, so that two symbols would become one.
        """
        moved = _moved(alphabet, fixed)
        m = len(moved)
        if math.gcd(a, m) != 1:
            choices = ", ".join(str(i) for i in range(1, m + 1) if math.gcd(i, m) == 1)
            raise InputError(
                f"affine a = {a} shares the factor {math.gcd(a, m)} with the {m} symbols "
                f"to move: take one of {choices}"
            )
        return cls._moving(alphabet, moved, moved[(a % m * np.arange(m) + b % m) % m])

    @classmethod
    def from_text(cls, alphabet: Alphabet, text: str, fixed: str = "") -> Key:
        """The key written as its cipher symbols in the order of the plain ones.

        The symbols in `fixed` may be left out. Case does not matter where the alphabet has one
        case only; white space round the key is ignored unless the alphabet holds it.

        Raises:
            InputError: a symbol is unknown, missing or repeated, or a fixed one is moved.
        """
        text = text.strip("".join(s for s in string.whitespace if s not in alphabet))
        cipher = [_symbol_id(alphabet, character) for character in text]
        moved = _moved(alphabet, fixed)
        if len(cipher) == alphabet.size:
            moved, kept = np.arange(alphabet.size), np.setdiff1d(np.arange(alphabet.size), moved)
        else:
            kept = moved[:0]
        if len(cipher) != len(moved):
            raise InputError(
                f"the key has {len(cipher)} symbols: write the {len(moved)} cipher symbols for "
                f"{alphabet.decode(moved)!r}, in that order"
            )
        missing = np.setdiff1d(moved, cipher)
        if missing.size:
            repeated = sorted({i for i in cipher if cipher.count(i) > 1} | set(cipher) - set(moved))
            raise InputError(
                f"the key lacks {alphabet.decode(missing)!r} and has {alphabet.decode(repeated)!r} "
                "too often: write each cipher symbol once"
            )
        if any(cipher[i] != i for i in kept):
            raise InputError(f"the key moves one of {fixed!r}, which should stand for themselves")
        return cls._moving(alphabet, moved, cipher)

    @classmethod
    def _moving(cls, alphabet: Alphabet, moved: NDArray[np.intp], images: ArrayLike) -> Key:
        """The key that takes each id in `moved` to its image and leaves the rest."""
        mapping = np.arange(alphabet.size, dtype=np.uint8)
        mapping[moved] = images
        return cls(alphabet, mapping)

    @property
    def text(self) -> str:
        """The cipher symbols in the order of the plain ones; `from_text` reads it back."""
        return self.alphabet.decode(self.mapping)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Key({self.alphabet}, {self.text!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Key):
            return NotImplemented
        return self.alphabet == other.alphabet and np.array_equal(self.mapping, other.mapping)

    def __hash__(self) -> int:
        return hash((self.alphabet, self.mapping.tobytes()))

    @cached_property
    def inverse(self) -> Key:
        """The key that undoes this one."""
        return Key(self.alphabet, invert_keys(self.mapping[None])[0])

    def compose(self, other: Key) -> Key:
        """The key that encrypts with this one and then with `other`.

        Raises:
            InputError: the keys are of different alphabets.
        """
        if self.alphabet != other.alphabet:
            raise InputError(
                f"cannot compose keys of {self.alphabet} and {other.alphabet}: take one alphabet"
            )
        return Key(self.alphabet, other.mapping[self.mapping])

    def encrypt(self, ids: ArrayLike) -> Ids:
        """The cipher ids of plain `ids`, of the same shape.

        Raises:
            InputError: an id is not in 0 to V - 1.
        """
        encrypted: Ids = self.mapping[check_ids(ids, self.alphabet.size)]
        return encrypted

    def decrypt(self, ids: ArrayLike) -> Ids:
        """The plain ids of cipher `ids`, of the same shape.

        Raises:
            InputError: an id is not in 0 to V - 1.
        """
        return self.inverse.encrypt(ids)

    def encrypt_text(self, text: str) -> str:
        """`text` encrypted in its own layout: case, punctuation and line breaks stay.

        Where the key moves the space, spaces before the first symbol and after the last are left
        out: in such a ciphertext every space is a symbol.
        """
        layout = self.alphabet.layout(text)
        if " " in self.alphabet and self._moves(" "):
            first, last = 0, 0
            if layout.ids.size:
                first, last = int(layout.positions[0]), int(layout.positions[-1]) + 1
            head, tail = text[:first].replace(" ", ""), text[last:].replace(" ", "")
            layout = self.alphabet.layout(head + text[first:last] + tail)
        return layout.restore(self.encrypt(layout.ids))

    def decrypt_text(self, text: str) -> str:
        """The plaintext of `text` in the ciphertext's layout; each of its spaces is a symbol."""
        layout = self.alphabet.layout(text, collapse=False)
        return layout.restore(self.decrypt(layout.ids))

    def _moves(self, symbol: str) -> bool:
        i = self.alphabet.index(symbol)
        return int(self.mapping[i]) != i


def _moved(alphabet: Alphabet, fixed: str) -> NDArray[np.intp]:
    """The ids that a key may move: all but those of the symbols in `fixed`."""
    return np.setdiff1d(np.arange(alphabet.size), alphabet.indices(fixed))


def _symbol_id(alphabet: Alphabet, character: str) -> int:
    """The id of one written symbol, in either case where the alphabet has only one."""
    for form in (character, character.lower(), character.upper()):
        if form in alphabet:
            return alphabet.index(form)
    raise InputError(f"the key holds {character!r}, which is not in the alphabet {alphabet}")
