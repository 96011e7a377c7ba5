"""From a cryptogram as people write it to its solution: `solve`.

How the text is read. Upper and lower case are the same letter, and everything that is no cipher
symbol (punctuation, digits, line breaks) is carried over to the solution as it stands. Spaces are

- "boundaries": kept, as the ends of words, which helps the language model a great deal;
- "ignore": carried over like punctuation, for a text in groups of five or with its spaces lost;
- "symbol": encrypted like the letters, one of 27 symbols;
- "auto" (the default): boundaries where the text has words; ignored where it has no spaces, or
  its groups are all of one length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ciphers.alphabet import LETTERS, LETTERS_SPACE, Alphabet, Layout
from ciphers.errors import InputError
from ciphers.keys import Key
from decipher.methods import make_decipherer
from decipher.ngram import NGramModel, load_ngram
from decipher.posterior import KeyPosterior

Spaces = Literal["auto", "boundaries", "ignore", "symbol"]
Symbols = Literal["letters", "any"]

#: A letter is called certain from this probability on.
CERTAIN = 0.99


@dataclass(frozen=True, eq=False)
class Cryptogram:
    """A cryptogram as it was written, and the cipher ids that were read from it.

    Attributes:
        text: as written.
        layout: the ids [n] and the way back to the text.
        names: {cipher id: how the text writes that symbol}, for those that occur.
        spaces: how spaces were taken: "boundaries", "ignore" or "symbol".
        symbols: "letters", or "any" sign is a cipher symbol.
    """

    text: str
    layout: Layout
    names: Mapping[int, str]
    spaces: Spaces
    symbols: Symbols

    @property
    def alphabet(self) -> Alphabet:
        """The symbols of the plaintext."""
        return self.layout.alphabet

    @property
    def ids(self) -> NDArray[np.uint8]:
        """[n] cipher ids."""
        return self.layout.ids

    @property
    def given(self) -> dict[int, int]:
        """What the way of reading itself gives away: {cipher id: plain id}."""
        if self.spaces != "boundaries":
            return {}
        space = self.alphabet.index(" ")
        return {space: space}

    @property
    def letters(self) -> NDArray[np.uint8]:
        """The ids without those that are given: what there is to decipher, in order."""
        return self.ids[~np.isin(self.ids, list(self.given))]

    @classmethod
    def read(cls, text: str, spaces: Spaces = "auto", symbols: Symbols = "letters") -> Cryptogram:
        """Read a cryptogram; see the module's documentation.

        Args:
            text: the cryptogram.
            spaces: what its spaces are.
            symbols: "letters": the letters a to z are the cipher symbols. "any": every character
                but white space is one (digits, signs; capitals apart from small letters).

        Raises:
            InputError: there is nothing to decipher, or more symbols than an alphabet has.
        """
        for name, value, choices in (
            ("spaces", spaces, get_args(Spaces)),
            ("symbols", symbols, get_args(Symbols)),
        ):
            if value not in choices:
                raise InputError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
        if not text.strip():
            raise InputError("the text is empty: give a cryptogram")
        if spaces == "auto":
            spaces = "boundaries" if _has_words(text) else "ignore"
        alphabet = LETTERS if spaces == "ignore" else LETTERS_SPACE
        letters, letter_of = (text, {}) if symbols == "letters" else _stand_in(text)
        layout = alphabet.layout(letters, collapse=spaces != "symbol")
        sign_of = {letter: sign for sign, letter in letter_of.items()}
        names = {
            int(i): sign_of.get(alphabet.symbols[i], alphabet.symbols[i])
            for i in np.unique(layout.ids)
        }
        found = cls(text, layout, names, spaces, symbols)
        distinct = len(np.unique(found.letters))
        if distinct == 0:
            raise InputError(
                "the text has no letters: give a cryptogram written in letters, or say that any "
                "character is a symbol (--symbols any)"
            )
        if distinct == 1:
            raise InputError(
                "the text repeats one symbol only, so there is nothing to tell it by: give a "
                "longer cryptogram"
            )
        return found

    def known(
        self, letters: Mapping[str, str] | None = None, words: Mapping[int, str] | None = None
    ) -> dict[int, int]:
        """Cribs as {cipher id: plain id}.

        Args:
            letters: cipher text -> plain text of the same length: {"X": "e"} or {"XLJ": "the"}.
            words: place -> plain word that stands there; places count the letters of the
                cryptogram from 1.

        Raises:
            InputError: the cribs contradict each other, or do not fit the text.
        """
        pairs = dict(self.given)
        ids = {name: i for i, name in self.names.items()}
        for cipher, plain in (letters or {}).items():
            written = cipher.lower() if self.symbols == "letters" else cipher
            if len(written) != len(plain) or not cipher:
                raise InputError(
                    f"the known letters {cipher}={plain} differ in length: give as many plain "
                    "letters as cipher letters, such as X=e"
                )
            for c, p in zip(written, plain, strict=True):
                if c not in ids:
                    raise InputError(
                        f"the known letter {c!r} does not occur in the cryptogram: give one that "
                        "does"
                    )
                self._add(pairs, ids[c], p)
        for place, word in (words or {}).items():
            there = self.letters[max(place - 1, 0) : place - 1 + len(word)]
            if not word or place < 1 or len(there) < len(word):
                raise InputError(
                    f"the known word {word!r} does not fit at place {place}: the cryptogram has "
                    f"letters 1 to {len(self.letters)}"
                )
            for c, p in zip(there, word, strict=True):
                self._add(pairs, int(c), p)
        return pairs

    def _add(self, pairs: dict[int, int], cipher: int, letter: str) -> None:
        plain_ids = self.alphabet.encode(letter, collapse=False)
        if len(plain_ids) != 1:
            raise InputError(f"{letter!r} is no plain letter: give one of a to z")
        plain = int(plain_ids[0])
        for c, p in pairs.items():
            if (c == cipher) != (p == plain):
                name = self.names.get(cipher, "?")
                other = self.names.get(c, "?")
                raise InputError(
                    f"the known letters contradict each other: {name}={letter.lower()} and "
                    f"{other}={self.alphabet.symbols[p]}; drop one"
                )
        pairs[cipher] = plain


@dataclass(frozen=True, eq=False)
class Solution:
    """A deciphered cryptogram.

    Attributes:
        cryptogram: what was read.
        posterior: what is known of the key.
        run: the settings it was found with: method, model, seed.
    """

    cryptogram: Cryptogram
    posterior: KeyPosterior
    run: Mapping[str, Any]

    @cached_property
    def plain_ids(self) -> NDArray[np.uint8]:
        """[n] the ids of the plaintext."""
        return self.posterior.decode(self.cryptogram.ids).ids

    @cached_property
    def plaintext(self) -> str:
        """The plaintext in the layout of the cryptogram."""
        return self.cryptogram.layout.restore(self.plain_ids)

    @property
    def key(self) -> Key:
        """The key. Its symbols that do not occur in the cryptogram are a guess."""
        return self.posterior.map_key

    @cached_property
    def mapping(self) -> dict[str, str]:
        """{cipher symbol: plain letter} for the symbols that occur."""
        inverse = self.key.inverse.mapping
        symbols = self.cryptogram.alphabet.symbols
        return {name: symbols[inverse[c]] for c, name in self._asked.items()}

    @cached_property
    def confidence(self) -> dict[str, float]:
        """{cipher symbol: probability that `mapping` is right about it}."""
        inverse = self.key.inverse.mapping
        return {
            name: float(self.posterior.marginals[c, inverse[c]]) for c, name in self._asked.items()
        }

    @cached_property
    def alternatives(self) -> dict[str, list[tuple[str, float]]]:
        """{cipher symbol: [(plain letter, probability), ...]} for the symbols that are not
        certain: the letters that together hold 99%, the likeliest first."""
        symbols = self.cryptogram.alphabet.symbols
        return {
            name: [(symbols[p], prob) for p, prob in self.posterior.alternatives(c, CERTAIN)]
            for c, name in self._asked.items()
            if self.confidence[name] < CERTAIN
        }

    @property
    def expected_accuracy(self) -> float:
        """The share of the letters of the plaintext that are expected to be right."""
        letters = self.cryptogram.letters
        inverse = self.key.inverse.mapping
        return float(self.posterior.marginals[letters, inverse[letters]].mean())

    @cached_property
    def _asked(self) -> dict[int, str]:
        """The cipher symbols that occur, by id, but for those that the reading gives away."""
        given = self.cryptogram.given
        return {c: name for c, name in self.cryptogram.names.items() if c not in given}

    def as_dict(self) -> dict[str, Any]:
        """Everything, in plain types, for JSON."""
        return {
            "plaintext": self.plaintext,
            "mapping": self.mapping,
            "key": str(self.key),
            "confidence": self.confidence,
            "alternatives": self.alternatives,
            "expected_accuracy": self.expected_accuracy,
            "log_prob": self.posterior.map_log_prob,
            "letters": len(self.cryptogram.letters),
            "spaces": self.cryptogram.spaces,
            "search": dict(self.posterior.info),
            "run": dict(self.run),
        }


def solve(
    text: str,
    *,
    spaces: Spaces = "auto",
    symbols: Symbols = "letters",
    known: Mapping[str, str] | None = None,
    words: Mapping[int, str] | None = None,
    model: NGramModel | None = None,
    method: str = "ngram",
    seed: int = 0,
    **options: Any,
) -> Solution:
    """Decipher a simple substitution cipher of English.

    Args:
        text: the cryptogram as it is written.
        spaces: what its spaces are; see the module's documentation.
        symbols: "letters" (a to z are the cipher symbols), or "any" character but white space.
        known: letters already known, {"X": "e"} or {"XLJ": "the"}.
        words: words already known at a place, {17: "attack"}; places count letters from 1.
        model: the language model; by default the shipped one that fits.
        method: a decipherer by name.
        seed: settles every random choice.
        options: settings of the decipherer.

    Raises:
        InputError: there is nothing to decipher, the cribs contradict each other, or the model is
            over another alphabet.
    """
    cryptogram = Cryptogram.read(text, spaces, symbols)
    alphabet = cryptogram.alphabet
    if model is None:
        model = load_ngram(alphabet.name)
    if model.alphabet != alphabet:
        raise InputError(
            f"the model is over the alphabet {model.alphabet}, but the text is read as {alphabet}: "
            "choose the model or the treatment of spaces so that they fit"
        )
    rng = np.random.default_rng(seed)
    pairs = cryptogram.known(known, words)
    decipherer = make_decipherer(method, model, rng=rng, known=pairs, **options)
    posterior = decipherer.posteriors(cryptogram.ids, [len(cryptogram.ids)])[0]
    run = {
        "method": method,
        "seed": seed,
        "model": model.hash,
        "model_from": dict(model.provenance),
    }
    return Solution(cryptogram, posterior, run)


def _has_words(text: str) -> bool:
    """Whether the text's spaces part words: not where it has none, nor groups of one length."""
    groups = text.split()
    lengths = {len(group) for group in groups[:-1]}
    return len(groups) > 1 and (len(groups) == 2 or len(lengths) > 1)


def _stand_in(text: str) -> tuple[str, dict[str, str]]:
    """Write a text of any signs in the letters a to z: {sign: letter}, as they appear; white
    space stays."""
    signs = list(dict.fromkeys("".join(text.split())))
    if len(signs) > LETTERS.size:
        raise InputError(
            f"the text has {len(signs)} distinct symbols, more than the {LETTERS.size} letters "
            "they could stand for: a one-to-one substitution cannot have made it"
        )
    letter_of = dict(zip(signs, LETTERS.symbols, strict=False))
    return text.translate({ord(s): letter for s, letter in letter_of.items()}), letter_of
