"""From a cryptogram as people write it to its solution: `solve`.

How the text is read. Upper and lower case are the same letter, and everything that is no cipher
symbol (punctuation, digits, line breaks) is carried over to the solution as it stands. Spaces are

- "boundaries": kept, as the ends of words, which helps the language model a great deal;
- "ignore": carried over like punctuation, for a text in groups of five or with its spaces lost;
- "symbol": encrypted like the letters, one of 27 symbols;
- "auto" (the default): boundaries where the text has words; ignored where it has no spaces, or
  its groups are all of one length.

What the cipher symbols are is said apart:

- "letters" (the default): a to z;
- "any": every sign but white space (digits, marks; capitals apart from small letters);
- "groups": every group of characters between white space, as in 17 04 22. The white space says no
  more: of each gap in a line one space is left out of the solution, so that letters meet.

A homophonic cipher, where several symbols stand for one letter, may use more symbols than there are
letters; they are any sign unless something else is said, and spaces are ignored.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ciphers.alphabet import LETTERS, LETTERS_SPACE, Alphabet, Layout
from ciphers.errors import InputError
from ciphers.homophonic import HomophonicKey
from ciphers.keys import Key
from decipher.methods import check_options, make_decipherer
from decipher.ngram import NGramModel, load_ngram
from decipher.posterior import Decipherer, HomophonicPosterior, KeyPosterior
from decipher.sampling.homophonic import HomophonicDecipherer

Spaces = Literal["auto", "boundaries", "ignore", "symbol"]
Symbols = Literal["letters", "any", "groups"]

#: The decipherer of one-to-one ciphers, where no other is asked for.
METHOD = "smc"

#: Settings for one text whose letters are in question, and whose evidence is not.
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "smc": {"jobs": -1, "tolerance": 0.5},
    "homophonic": {"jobs": -1},
}
#: A letter is called certain from this probability on.
CERTAIN = 0.99
#: What homophonic cipher symbols are read as: characters that mean nothing to Unicode (its private
#: use area), as many as an alphabet holds.
SIGNS = Alphabet("".join(map(chr, range(0xE000, 0xE000 + 255))), "signs")


@dataclass(frozen=True, eq=False)
class Cryptogram:
    """A cryptogram as it was written, and the cipher ids that were read from it.

    Attributes:
        text: as written.
        layout: the ids [n] and the way back to the text.
        names: {cipher id: how the text writes that symbol}, for those that occur.
        spaces: how spaces were taken: "boundaries", "ignore" or "symbol".
        symbols: what the cipher symbols are: "letters", "any" sign or "groups".
        homophonic: whether several symbols may stand for one letter.
    """

    text: str
    layout: Layout
    names: Mapping[int, str]
    spaces: Spaces
    symbols: Symbols
    homophonic: bool = False

    @property
    def alphabet(self) -> Alphabet:
        """The symbols of the plaintext."""
        return LETTERS if self.homophonic else self.layout.alphabet

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
    def read(
        cls,
        text: str,
        spaces: Spaces = "auto",
        symbols: Symbols | None = None,
        homophonic: bool = False,
    ) -> Cryptogram:
        """Read a cryptogram; see the module's documentation.

        Args:
            text: the cryptogram.
            spaces: what its spaces are.
            symbols: what its symbols are (None: "letters", or "any" where it is homophonic).
            homophonic: whether several symbols may stand for one letter.

        Raises:
            InputError: there is nothing to decipher, there are more symbols than an alphabet has,
                or spaces that mean nothing are said to mean something.
        """
        symbols = symbols or ("any" if homophonic else "letters")
        for name, value, choices in (
            ("spaces", spaces, get_args(Spaces)),
            ("symbols", symbols, get_args(Symbols)),
        ):
            if value not in choices:
                raise InputError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
        if homophonic and symbols == "letters":
            raise InputError(
                "the symbols of a homophonic cipher are 'any' sign or 'groups', for there may be "
                "more of them than letters: leave out that they are 'letters'"
            )
        if not text.strip():
            raise InputError("the text is empty: give a cryptogram")
        spaces = _settle_spaces(text, spaces, symbols, homophonic)
        alphabet = SIGNS if homophonic else LETTERS if spaces == "ignore" else LETTERS_SPACE
        written = text
        sign_of: dict[str, str] = {}
        if symbols != "letters":
            written, sign_of = _stand_in(text, symbols, SIGNS if homophonic else LETTERS)
        layout = alphabet.layout(written, collapse=spaces != "symbol")
        names = {
            int(i): sign_of.get(alphabet.symbols[i], alphabet.symbols[i])
            for i in np.unique(layout.ids)
        }
        found = cls(text, layout, names, spaces, symbols, homophonic)
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

    def restore(self, plain_ids: NDArray[np.uint8]) -> str:
        """The plaintext of ids [n] in the layout of the cryptogram."""
        return self.layout.restore(plain_ids, self.alphabet)

    def known(
        self, letters: Mapping[str, str] | None = None, words: Mapping[int, str] | None = None
    ) -> dict[int, int]:
        """Cribs as {cipher id: plain id}.

        Args:
            letters: cipher text -> plain text of as many symbols: {"X": "e"} or {"XLJ": "the"};
                in groups, {"17": "e"} or {"17 04 22": "the"}.
            words: place -> plain word that stands there; places count the letters of the
                cryptogram from 1.

        Raises:
            InputError: the cribs contradict each other, or do not fit the text.
        """
        pairs = dict(self.given)
        ids = {name: i for i, name in self.names.items()}
        for cipher, plain in (letters or {}).items():
            written = self._signs(cipher)
            if len(written) != len(plain) or not written:
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

    def _signs(self, text: str) -> list[str]:
        """The cipher symbols in a piece of cipher text."""
        if self.symbols == "groups":
            return text.split()
        return list(text.lower() if self.symbols == "letters" else text)

    def _add(self, pairs: dict[int, int], cipher: int, letter: str) -> None:
        plain_ids = self.alphabet.encode(letter, collapse=False)
        if len(plain_ids) != 1:
            raise InputError(f"{letter!r} is no plain letter: give one of a to z")
        plain = int(plain_ids[0])
        for c, p in pairs.items():
            two_for_one = p == plain and c != cipher and not self.homophonic
            if two_for_one or (c == cipher and p != plain):
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
    posterior: KeyPosterior | HomophonicPosterior
    run: Mapping[str, Any]

    @cached_property
    def plain_ids(self) -> NDArray[np.uint8]:
        """[n] the ids of the plaintext."""
        return self.posterior.decode(self.cryptogram.ids).ids

    @cached_property
    def plaintext(self) -> str:
        """The plaintext in the layout of the cryptogram."""
        return self.cryptogram.restore(self.plain_ids)

    @property
    def key(self) -> Key | HomophonicKey:
        """The key. The symbols of a one-to-one key that do not occur in the cryptogram are a
        guess."""
        return self.posterior.map_key

    @cached_property
    def mapping(self) -> dict[str, str]:
        """{cipher symbol: plain letter} for the symbols that occur."""
        symbols = self.cryptogram.alphabet.symbols
        return {name: symbols[self._plain[c]] for c, name in self._asked.items()}

    @property
    def homophones(self) -> dict[str, list[str]]:
        """{plain letter: its cipher symbols that occur}, in the order of the alphabet."""
        found: dict[str, list[str]] = {}
        for name, letter in self.mapping.items():
            found.setdefault(letter, []).append(name)
        return dict(sorted(found.items()))

    @property
    def knows_doubt(self) -> bool:
        """Whether the method gives probabilities. Some find one key and nothing else: then
        `confidence` is 1 throughout and says nothing."""
        return self.posterior.samples is not None

    @cached_property
    def confidence(self) -> dict[str, float]:
        """{cipher symbol: probability that `mapping` is right about it}."""
        return {name: float(self._right[c]) for c, name in self._asked.items()}

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
    def certain(self) -> list[str]:
        """The cipher symbols whose letters are certain to 99%."""
        return [name for name, p in self.confidence.items() if p >= CERTAIN]

    @property
    def expected_accuracy(self) -> float:
        """The share of the letters of the plaintext that are expected to be right."""
        letters = self.cryptogram.letters
        return float(self._right[letters].mean())

    @cached_property
    def _plain(self) -> NDArray[np.uint8]:
        """[C] the plain id of each cipher id."""
        key = self.key
        return key.mapping if isinstance(key, HomophonicKey) else key.inverse.mapping

    @cached_property
    def _right(self) -> NDArray[np.float64]:
        """[C] the probability that `_plain` is right about each cipher id."""
        right = self.posterior.marginals[np.arange(len(self._plain)), self._plain]
        # Sums of many shares pass 1, and miss it where a letter is known, by their rounding.
        return np.round(right, 9)

    @cached_property
    def _asked(self) -> dict[int, str]:
        """The cipher symbols that occur, by id, but for those that the reading gives away."""
        given = self.cryptogram.given
        return {c: name for c, name in self.cryptogram.names.items() if c not in given}

    def as_dict(self) -> dict[str, Any]:
        """Everything, in plain types, for JSON. The probabilities are None where the method knows
        none, and so is a number of the search that is infinite or undefined."""
        key = self.key
        doubt = self.knows_doubt
        return {
            "plaintext": self.plaintext,
            "mapping": self.mapping,
            "key": str(key) if isinstance(key, Key) else self.homophones,
            "confidence": self.confidence if doubt else None,
            "alternatives": self.alternatives if doubt else None,
            "expected_accuracy": self.expected_accuracy if doubt else None,
            "log_prob": self.posterior.map_log_prob,
            "letters": len(self.cryptogram.letters),
            "spaces": self.cryptogram.spaces,
            "search": {name: _plain_type(value) for name, value in self.posterior.info.items()},
            "run": dict(self.run),
        }


def solve(
    text: str,
    *,
    spaces: Spaces = "auto",
    symbols: Symbols | None = None,
    homophonic: bool = False,
    known: Mapping[str, str] | None = None,
    words: Mapping[int, str] | None = None,
    model: NGramModel | None = None,
    method: str | None = None,
    seed: int = 0,
    **options: Any,
) -> Solution:
    """Decipher a substitution cipher of English.

    Args:
        text: the cryptogram as it is written.
        spaces: what its spaces are; see the module's documentation.
        symbols: what its symbols are: "letters" a to z, "any" character but white space, or
            "groups" between white space (None: "letters", or "any" where it is homophonic).
        homophonic: several cipher symbols may stand for one letter.
        known: letters already known, {"X": "e"} or {"XLJ": "the"}.
        words: words already known at a place, {17: "attack"}; places count letters from 1.
        model: the language model; by default the shipped one that fits.
        method: a decipherer by name, of `decipher.methods.METHODS` (None: "smc"). They are for
            one-to-one ciphers; a homophonic one has a method of its own.
        seed: settles every random choice.
        options: settings of the decipherer. Where they say nothing else, "smc" anneals in a thread
            for each core, until the marginals are good to some per cent.

    Raises:
        InputError: there is nothing to decipher, the cribs contradict each other, the model is
            over another alphabet, or the method is not for this kind of cipher.
    """
    if homophonic and method is not None:
        raise InputError(
            f"the method {method!r} is for one-to-one ciphers, and a homophonic one has a method "
            "of its own: leave one of the two out"
        )
    cryptogram = Cryptogram.read(text, spaces, symbols, homophonic)
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
    decipherer: Decipherer | HomophonicDecipherer
    given: dict[str, Any] = {"model": model, "rng": rng, "known": pairs}
    if homophonic:
        method = "homophonic"
        given["symbols"] = len(cryptogram.names)
        check_options(method, HomophonicDecipherer, options, given)
        decipherer = HomophonicDecipherer(**given, **{**SETTINGS[method], **options})
    else:
        method = method or METHOD
        settings = {**SETTINGS.get(method, {}), **options}
        decipherer = make_decipherer(method, **given, **settings)
    posterior = decipherer.posteriors(cryptogram.ids, [len(cryptogram.ids)])[0]
    run = {
        "method": method,
        "seed": seed,
        "model": model.hash,
        "model_from": dict(model.provenance),
    }
    return Solution(cryptogram, posterior, run)


def _settle_spaces(text: str, spaces: Spaces, symbols: Symbols, homophonic: bool) -> Spaces:
    """What the spaces are, where that is left open; and whether they can be what is said."""
    if symbols == "groups" or homophonic:
        if spaces not in ("auto", "ignore"):
            kind = "a text in groups" if symbols == "groups" else "a homophonic cipher"
            raise InputError(
                f"spaces can only be ignored in {kind}: leave out that they are {spaces!r}"
            )
        return "ignore"
    if spaces == "auto":
        return "boundaries" if _has_words(text) else "ignore"
    return spaces


def _has_words(text: str) -> bool:
    """Whether the text's spaces part words: not where it has none, nor groups of one length."""
    groups = text.split()
    lengths = {len(group) for group in groups[:-1]}
    return len(groups) > 1 and (len(groups) == 2 or len(lengths) > 1)


def _stand_in(text: str, symbols: Symbols, alphabet: Alphabet) -> tuple[str, dict[str, str]]:
    """Write a text of any signs, or of groups, in an alphabet's symbols, as they appear; white
    space stays, but for one space after each group. With it, {symbol: sign}."""
    signs = list(dict.fromkeys(text.split() if symbols == "groups" else "".join(text.split())))
    if len(signs) > alphabet.size:
        cure = (
            f"more than the {alphabet.size} letters they could stand for: a one-to-one "
            "substitution cannot have made it, but a homophonic one can (--homophonic)"
            if alphabet == LETTERS
            else f"and there can be {alphabet.size}: give a part of it that has no more"
        )
        raise InputError(f"the text has {len(signs)} distinct symbols, {cure}")
    symbol_of = dict(zip(signs, alphabet.symbols, strict=False))
    pattern = r"(\S+)[ \t]?" if symbols == "groups" else r"(\S)"
    written = re.sub(pattern, lambda found: symbol_of[found[1]], text)
    return written, {symbol: sign for sign, symbol in symbol_of.items()}


def _plain_type(value: Any) -> Any:
    """A number as JSON knows it."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
