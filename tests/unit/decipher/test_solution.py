from __future__ import annotations

import json
import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ciphers import LETTERS, LETTERS_SPACE, InputError, Key
from ciphers.files import text_from_bytes
from decipher import NGramModel, load_ngram, solve
from decipher.solution import CERTAIN, Cryptogram, Solution

KEY = Key.random(LETTERS, np.random.default_rng(12))
SPACED_KEY = Key.random(LETTERS_SPACE, np.random.default_rng(14))
CHEAP = {"starts": 1, "hits": 1, "population": 1, "steps": 1}

#: Punctuation and capitals of all kinds; long enough to be solved whatever becomes of the spaces.
LETTER = """\
"Dear Sir," wrote Mr. Collins; "the 3 carriages which you ordered will NOT be ready before Friday!

I am sorry for it (so is my wife), but the horse has lost a shoe, and the smith - an honest man -
cannot come until the rain has stopped. We shall wait here at the inn, as it's warm and the bread
is good. Pray tell my mother that we're well, and that she mustn't worry about the children."
"""


@pytest.fixture(scope="module")
def boundaries() -> Solution:
    return solve(KEY.encrypt_text(LETTER))


# --- reading ------------------------------------------------------------------------------------


def test_words_are_read_by_their_ends(boundaries) -> None:
    assert boundaries.cryptogram.spaces == "boundaries"
    assert boundaries.cryptogram.alphabet == LETTERS_SPACE
    assert boundaries.plaintext == LETTER  # capitals, punctuation, digits and line breaks kept
    assert boundaries.expected_accuracy > 0.99
    assert " " not in boundaries.mapping
    assert boundaries.key.mapping[26] == 26


def test_the_parts_of_a_solution_agree(boundaries) -> None:
    truth = {KEY.encrypt_text(p): p for p in set(LETTER.lower()) & set(string.ascii_lowercase)}
    assert boundaries.mapping == truth
    assert list(boundaries.mapping) == sorted(truth)
    assert boundaries.confidence.keys() == truth.keys()
    assert all(0 <= p <= 1 for p in boundaries.confidence.values())
    key = boundaries.key
    assert all(key.encrypt_text(plain) == cipher for cipher, plain in truth.items())
    doubted = {name for name, p in boundaries.confidence.items() if p < CERTAIN}
    assert boundaries.alternatives.keys() == doubted
    for letters in boundaries.alternatives.values():
        probabilities = [p for _, p in letters]
        assert sum(probabilities) >= CERTAIN - 1e-9
        assert probabilities == sorted(probabilities, reverse=True)
    assert boundaries.run["seed"] == 0
    assert boundaries.run["method"] == "ngram"
    assert boundaries.run["model"] == load_ngram("letters-space").hash


def test_confidence_and_alternatives_read_the_marginals() -> None:
    solution = solve("xlj qk", **CHEAP | {"population": 5, "steps": 60})
    cryptogram, marginals = solution.cryptogram, solution.posterior.marginals
    symbols = cryptogram.alphabet.symbols
    assert solution.alternatives  # five letters leave plenty of doubt
    for cipher, plain in solution.mapping.items():
        row = marginals[symbols.index(cipher)]
        assert solution.confidence[cipher] == row[symbols.index(plain)]
        for letter, p in solution.alternatives.get(cipher, []):
            assert p == row[symbols.index(letter)]
    mean = np.mean([solution.confidence[c] for c in "xljqk"])
    assert solution.expected_accuracy == pytest.approx(mean)


def test_as_dict_is_json(boundaries) -> None:
    found = boundaries.as_dict()
    again = json.loads(json.dumps(found))
    assert again["plaintext"] == LETTER
    assert again["mapping"] == boundaries.mapping
    assert again["spaces"] == "boundaries"
    assert again["letters"] == sum(c.isalpha() for c in LETTER)
    assert again["log_prob"] == boundaries.posterior.map_log_prob
    assert again["search"]["starts"] >= 1
    assert again["run"]["model_from"]["symbols"] > 0
    assert Key.from_text(LETTERS_SPACE, again["key"]) == boundaries.key
    frequency = solve(KEY.encrypt_text(LETTER), method="frequency")
    assert json.loads(json.dumps(frequency.as_dict()))["search"] == {}


def test_spaces_can_be_ignored() -> None:
    solution = solve(KEY.encrypt_text(LETTER), spaces="ignore")
    assert solution.cryptogram.alphabet == LETTERS
    assert solution.plaintext == LETTER


def grouped(text: str, n: int) -> str:
    letters = "".join(c for c in text.upper() if c.isalpha())
    return " ".join(letters[i : i + n] for i in range(0, len(letters), n))


@pytest.mark.parametrize("n", [5, 4, 7])
def test_groups_are_no_words(n) -> None:
    written = grouped(LETTER, n)
    solution = solve(KEY.encrypt_text(written))
    assert solution.cryptogram.spaces == "ignore"
    assert solution.plaintext == written


def test_groups_over_several_lines() -> None:
    written = grouped(LETTER, 5)
    broken = "\n".join(written[i : i + 36].strip() for i in range(0, len(written), 36))
    assert Cryptogram.read(broken).spaces == "ignore"


@pytest.mark.parametrize(
    ("text", "spaces"),
    [
        ("xlj qsgle", "boundaries"),
        ("abcde fghij", "boundaries"),  # two words of one length are as likely as two groups
        ("abcde fghij kl", "ignore"),
        ("abcde fghij klm nopqr", "boundaries"),
        ("abcdefghij", "ignore"),
        ("  abcdefghij\n", "ignore"),
        ("abcde\nfghij\nklmno", "ignore"),
        ("abc\ndefg\nhi j", "boundaries"),
    ],
)
def test_auto_tells_words_from_groups(text, spaces) -> None:
    assert Cryptogram.read(text).spaces == spaces


def test_spaces_as_a_symbol() -> None:
    plain = LETTERS_SPACE.normalise(LETTER)
    solution = solve(SPACED_KEY.encrypt_text(plain), spaces="symbol")
    assert solution.cryptogram.alphabet == LETTERS_SPACE
    assert solution.plaintext == plain
    assert solution.mapping[" "] == "h"
    assert " " in solution.mapping.values()
    assert len(solution.cryptogram.letters) == len(plain)


def test_any_sign_can_be_a_symbol() -> None:
    signs = "1234567890!@#$%^&*()-_=+Aa"
    plain = LETTERS_SPACE.normalise(LETTER)
    table = {ord(letter): sign for letter, sign in zip(string.ascii_lowercase, signs, strict=True)}
    written = plain.translate(table).replace(" ", "\n", 3)
    solution = solve(written, symbols="any")
    assert solution.plaintext.split() == plain.split()
    assert solution.plaintext.count("\n") == 3
    assert solution.mapping == {table[ord(p)]: p for p in set(plain) - {" "}}
    assert solution.mapping["A"] == "y"  # capitals apart from small letters
    assert solution.mapping["6"] == "f"
    known = solve(written, symbols="any", known={"5": "e", "A": "y"}, words={1: "dear"}, **CHEAP)
    assert known.mapping["5"] == "e"
    assert known.plaintext.startswith("dear")
    joined = solve("".join(written.split()), symbols="any")
    assert joined.cryptogram.spaces == "ignore"
    assert joined.plaintext == plain.replace(" ", "")


def test_a_model_of_ones_own() -> None:
    model = NGramModel.estimate([LETTERS.encode(LETTER * 3)], LETTERS, 4)
    solution = solve(KEY.encrypt_text(LETTER), spaces="ignore", model=model)
    assert solution.plaintext == LETTER
    assert solution.run["model"] == model.hash
    with pytest.raises(InputError, match="over the alphabet letters"):
        solve(KEY.encrypt_text(LETTER), model=model)


def test_the_seed_settles_everything() -> None:
    text = KEY.encrypt_text("a short one, hard to read")
    one, two, other = (solve(text, seed=seed).as_dict() for seed in (4, 4, 5))
    assert one == two
    assert one["confidence"] != other["confidence"]
    assert other["run"]["seed"] == 5


# --- cribs --------------------------------------------------------------------------------------


def test_known_letters_and_words() -> None:
    plain = "Wait for me at the old mill."
    text = KEY.encrypt_text(plain)
    c = KEY.encrypt_text
    solution = solve(text, known={c("M").upper(): "m", c("ld"): "LD"}, words={1: "wait"})
    for p in "mldwait":
        assert solution.mapping[c(p)] == p
        assert solution.confidence[c(p)] == 1
    assert solution.plaintext.startswith("Wait ")
    # Places count letters, not spaces or marks: the 16th is the "o" of "old".
    solution = solve(text, words={15: "old"})
    assert solution.plaintext.split()[5] == "old"
    solution = solve(text, words={18: "mill"}, spaces="ignore")
    assert solution.plaintext.endswith("mill.")
    solution = solve(text.replace(" ", ""), words={1: "Wait", 5: "for"})
    assert solution.plaintext.startswith("Waitforme")


def test_cribs_as_ids() -> None:
    cryptogram = Cryptogram.read("Abc cab.")
    assert cryptogram.given == {26: 26}
    assert cryptogram.known() == {26: 26}
    assert cryptogram.known({"A": "e", "bc": "xy"}) == {26: 26, 0: 4, 1: 23, 2: 24}
    with pytest.raises(InputError, match="contradict"):
        cryptogram.known(None, {3: "no"})  # both of its letters stand over the one symbol c
    assert cryptogram.known(None, {3: "nn", 5: "o"}) == {26: 26, 2: 13, 0: 14}
    assert Cryptogram.read("Abc cab.", "ignore").known({"a": "z"}) == {0: 25}


TEXT = "Xlj qsgle hjkll xlj"  # letters: 1 x, 2 l, 3 j, 4 q, ...


@pytest.mark.parametrize(
    ("known", "words", "says"),
    [
        ({"X": "e", "L": "e"}, {}, "contradict"),  # two for one plain letter
        ({"XX": "ea"}, {}, "contradict"),  # one for two plain letters
        ({"X": "e", "x": "a"}, {}, "contradict"),  # the same, in two cases
        ({"XL": "ee"}, {}, "contradict"),
        ({"X": "e"}, {1: "the"}, "contradict"),  # a letter against a word
        ({}, {1: "the", 14: "ten"}, "contradict"),  # a word against a word
        ({}, {1: "tte"}, "contradict"),  # a word against itself
        ({}, {12: "th"}, "contradict"),
        ({"X": " "}, {}, "contradict"),  # spaces are given: they are boundaries
        ({" ": "e"}, {}, "contradict"),
        ({"X": "th"}, {}, "differ in length"),
        ({"XL": "t"}, {}, "differ in length"),
        ({"": ""}, {}, "differ in length"),
        ({"İ": "e"}, {}, "differ in length"),  # its small letter is two characters
        ({"Z": "e"}, {}, "'z' does not occur"),
        ({"7": "e"}, {}, "'7' does not occur"),
        ({"X": "7"}, {}, "'7' is no plain letter"),
        ({"X": "æ"}, {}, "'æ' is no plain letter"),
        ({}, {0: "the"}, "does not fit"),
        ({}, {-3: "the"}, "does not fit"),
        ({}, {15: "thee"}, "does not fit"),
        ({}, {400: "the"}, "does not fit"),
        ({}, {3: ""}, "does not fit"),
        ({}, {1: "th-"}, "no plain letter"),
    ],
)
def test_cribs_that_cannot_be(known, words, says) -> None:
    with pytest.raises(InputError, match=says):
        solve(TEXT, known=known, words=words, **CHEAP)
    with pytest.raises(InputError, match=says):  # and before any decipherer sees them
        Cryptogram.read(TEXT).known(known, words)


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("", {}, "empty"),
        (" \n\t ", {}, "empty"),
        ("1234 5678!", {}, "no letters"),
        ("яблоко", {}, "no letters"),
        ("zzzz zz z", {}, "one symbol only"),
        ("z", {}, "one symbol only"),
        ("z", {"spaces": "symbol"}, "one symbol only"),
        ("????", {"symbols": "any"}, "one symbol only"),
        (string.ascii_letters, {"symbols": "any"}, "52 distinct symbols"),
        ("ab c", {"spaces": "sometimes"}, "spaces must be one of auto, boundaries"),
        ("ab c", {"symbols": "runes"}, "symbols must be one of letters, any"),
        ("ab c", {"method": "oracle"}, "'oracle'"),
        ("ab c", {"particles": 3}, "no such setting"),
    ],
)
def test_bad_input(text, options, says) -> None:
    with pytest.raises(InputError, match=says):
        solve(text, **options)


def test_a_cipher_of_two_letters_is_enough() -> None:
    assert set(solve("a b").mapping) == {"a", "b"}
    assert set(solve("ab", spaces="symbol").mapping) == {"a", "b"}
    assert len(solve("z z", spaces="symbol").mapping) == 2


readings = st.fixed_dictionaries(
    {
        "spaces": st.sampled_from(["auto", "boundaries", "ignore", "symbol"]),
        "symbols": st.sampled_from(["letters", "any"]),
    }
)


def check_solved(text: str, **options) -> None:
    try:
        solution = solve(text, **CHEAP, **options)
    except InputError as error:
        message = str(error)
    else:
        message = ""
        assert len(solution.plain_ids) == len(solution.cryptogram.ids)
        json.dumps(solution.as_dict())
        assert set(solution.mapping.values()) <= set(solution.cryptogram.alphabet.symbols)
        assert len(set(solution.mapping.values())) == len(solution.mapping)
        if options["symbols"] == "letters":
            back = solution.cryptogram.layout.restore(solution.cryptogram.ids)
            assert back == text or not text.isascii()
    assert "\n" not in message


@settings(max_examples=150)
@given(st.text(max_size=60), readings)
def test_any_text_is_solved_or_refused(text, reading) -> None:
    check_solved(text, **reading)


@settings(max_examples=100)
@given(st.text(st.sampled_from("abXY z.,'\n\t-æéﬁ1"), max_size=40), readings)
def test_text_of_awkward_signs_is_solved_or_refused(text, reading) -> None:
    check_solved(text, **reading)


@settings(max_examples=100)
@given(st.binary(max_size=60), readings)
def test_any_bytes_are_solved_or_refused(data, reading) -> None:
    try:
        text = text_from_bytes(data, "noise")
    except InputError:
        return
    check_solved(text, **reading)


characters = st.text(max_size=3) | st.text(st.sampled_from("xljqXLJQthe æ"), max_size=4)


@settings(max_examples=150)
@given(
    st.dictionaries(characters, characters, max_size=3),
    st.dictionaries(st.integers(-5, 30), characters, max_size=2),
    readings,
)
def test_any_cribs_are_kept_or_refused(known, words, reading) -> None:
    try:
        solution = solve(TEXT, known=known, words=words, **CHEAP, **reading)
    except InputError:
        return
    for cipher, plain in known.items():
        written = cipher.lower() if reading["symbols"] == "letters" else cipher
        for c, p in zip(written, plain, strict=True):
            if c != " " or solution.cryptogram.spaces == "symbol":
                ids = LETTERS_SPACE.encode(p, collapse=False)
                assert solution.mapping[c] == LETTERS_SPACE.decode(ids)
