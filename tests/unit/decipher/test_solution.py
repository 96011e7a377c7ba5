from __future__ import annotations

import json
import string
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ciphers import LETTERS, LETTERS_SPACE, InputError, Key
from ciphers.files import text_from_bytes
from ciphers.homophonic import HomophonicKey
from decipher import NGramModel, load_ngram, solve
from decipher.methods import METHODS
from decipher.solution import CERTAIN, Cryptogram, Solution

KEY = Key.random(LETTERS, np.random.default_rng(12))
SPACED_KEY = Key.random(LETTERS_SPACE, np.random.default_rng(14))
#: Settings under which the methods are quick, right or wrong: "ngram", "homophonic", "smc".
CHEAP = {"method": "ngram", "starts": 1, "hits": 1, "population": 1, "steps": 1}
QUICK = {"particles": 10, "moves": 5, "islands": 2, "rounds": 1}
FEW = {"particles": 50, "islands": 2, "rounds": 1}

#: Punctuation and capitals of all kinds; long enough to be solved whatever becomes of the spaces.
LETTER = """\
"Dear Sir," wrote Mr. Collins; "the 3 carriages which you ordered will NOT be ready before Friday!

I am sorry for it (so is my wife), but the horse has lost a shoe, and the smith - an honest man -
cannot come until the rain has stopped. We shall wait here at the inn, as it's warm and the bread
is good. Pray tell my mother that we're well, and that she mustn't worry about the children."
"""


@pytest.fixture(scope="module")
def boundaries() -> Solution:
    """By the default method."""
    return solve(KEY.encrypt_text(LETTER))


HOMOPHONIC = HomophonicKey.random(LETTERS, 40, np.random.default_rng(15))
#: Signs of all kinds, of which some mean something in a regular expression, to Unicode, in cribs.
SIGNS = "aAbBxX0123456789+-*/=()[]{}<>.^$\\|?!&%æéД"


@pytest.fixture(scope="module")
def homophonic_ids(passage) -> NDArray[np.uint16]:
    """The cipher ids of the first 400 letters of the passage under `HOMOPHONIC`."""
    plain = LETTERS.encode(passage)[:400]
    return HOMOPHONIC.encrypt(plain, np.random.default_rng(16))


@pytest.fixture(scope="module")
def homophonic(homophonic_ids) -> Solution:
    """Of the cipher in signs, in lines of two words of 25."""
    signs = "".join(SIGNS[i] for i in homophonic_ids)
    words = [signs[i : i + 25] for i in range(0, 400, 25)]
    lines = [f"{a} {b}\n" for a, b in zip(words[::2], words[1::2], strict=True)]
    return solve("".join(lines), homophonic=True, moves=200)


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
    assert set(boundaries.certain) == truth.keys() - doubted
    assert boundaries.knows_doubt
    for letters in boundaries.alternatives.values():
        probabilities = [p for _, p in letters]
        assert sum(probabilities) >= CERTAIN - 1e-9
        assert probabilities == sorted(probabilities, reverse=True)
    assert boundaries.run["seed"] == 0
    assert boundaries.run["method"] == "smc"
    assert boundaries.run["model"] == load_ngram("letters-space").hash


def test_confidence_and_alternatives_read_the_marginals() -> None:
    solution = solve("xlj qk", **CHEAP | {"population": 5, "steps": 60})
    cryptogram, marginals = solution.cryptogram, solution.posterior.marginals
    symbols = cryptogram.alphabet.symbols
    assert solution.alternatives  # five letters leave plenty of doubt
    for cipher, plain in solution.mapping.items():
        row = marginals[symbols.index(cipher)]
        assert solution.confidence[cipher] == pytest.approx(row[symbols.index(plain)])
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
    assert again["expected_accuracy"] == boundaries.expected_accuracy
    assert again["search"]["islands"] >= 2
    assert {type(value) for value in found["search"].values()} <= {int, float, bool, type(None)}
    assert again["run"]["model_from"]["symbols"] > 0
    assert Key.from_text(LETTERS_SPACE, again["key"]) == boundaries.key


@pytest.mark.parametrize("method", METHODS)
def test_every_method_solves_and_says_what_it_knows(method) -> None:
    plain = "a noon on a noon"
    options = FEW if method == "smc" else {}
    if method == "tempering":
        options = {"draws": 50, "burn_in": 50}
    solution = solve(KEY.encrypt_text(plain), method=method, **options)
    found = json.loads(json.dumps(solution.as_dict(), allow_nan=False))
    assert found["run"]["method"] == method
    assert set(found["mapping"]) == set(KEY.encrypt_text("ano"))
    knows = method not in ("astar", "frequency")
    assert solution.knows_doubt == knows
    for name in ("confidence", "alternatives", "expected_accuracy"):
        assert (found[name] is not None) == knows
    if knows:
        assert found["alternatives"]  # nobody could be certain of this
    if method == "astar":
        assert solution.posterior.info["certified"]


def test_numbers_that_are_none() -> None:
    solution = solve("ab cab", **CHEAP)
    odd = {"a": np.float64(np.inf), "b": np.nan, "c": np.int64(3), "d": np.bool_(True), "e": 0.5}
    found = replace(solution, posterior=replace(solution.posterior, info=odd)).as_dict()["search"]
    assert json.dumps(found) == '{"a": null, "b": null, "c": 3, "d": true, "e": 0.5}'


def test_probabilities_keep_to_their_range() -> None:
    solution = solve("ab cab", **CHEAP, known={"a": "x"})
    marginals = solution.posterior.marginals
    for off in (1 - 3e-13, 1 + 3e-13):
        posterior = replace(solution.posterior, marginals=marginals * off)
        assert replace(solution, posterior=posterior).confidence["a"] == 1
        assert replace(solution, posterior=posterior).expected_accuracy <= 1


def test_spaces_can_be_ignored() -> None:
    solution = solve(KEY.encrypt_text(LETTER), spaces="ignore", method="ngram")
    assert solution.cryptogram.alphabet == LETTERS
    assert solution.plaintext == LETTER


def grouped(text: str, n: int) -> str:
    letters = "".join(c for c in text.upper() if c.isalpha())
    return " ".join(letters[i : i + n] for i in range(0, len(letters), n))


@pytest.mark.parametrize("n", [5, 4, 7])
def test_groups_are_no_words(n) -> None:
    written = grouped(LETTER, n)
    solution = solve(KEY.encrypt_text(written), method="ngram")
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
    solution = solve(SPACED_KEY.encrypt_text(plain), spaces="symbol", method="ngram")
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
    solution = solve(written, symbols="any", method="ngram")
    assert solution.plaintext.split() == plain.split()
    assert solution.plaintext.count("\n") == 3
    assert solution.mapping == {table[ord(p)]: p for p in set(plain) - {" "}}
    assert solution.mapping["A"] == "y"  # capitals apart from small letters
    assert solution.mapping["6"] == "f"
    known = solve(written, symbols="any", known={"5": "e", "A": "y"}, words={1: "dear"}, **CHEAP)
    assert known.mapping["5"] == "e"
    assert known.plaintext.startswith("dear")
    joined = solve("".join(written.split()), symbols="any", method="ngram")
    assert joined.cryptogram.spaces == "ignore"
    assert joined.plaintext == plain.replace(" ", "")


def test_groups_can_be_symbols() -> None:
    """Numbers of one and of several digits; each line's gaps but for one space are kept."""
    number_of = {letter: str(7 * i) for i, letter in enumerate(string.ascii_lowercase)}
    words = LETTERS_SPACE.normalise(LETTER).split()
    lines = [words[:20], words[20:40], words[40:]]
    written = "\n\n".join(
        "  ".join(" ".join(number_of[p] for p in word) for word in line) for line in lines
    )
    solution = solve(written, symbols="groups", method="ngram")
    assert solution.cryptogram.spaces == "ignore"
    assert solution.plaintext == "\n\n".join(map(" ".join, lines))
    assert solution.mapping == {number_of[p]: p for p in set("".join(words))}
    tabbed = written.replace("  ", " ").replace(" ", "\t")
    known = solve(tabbed, symbols="groups", known={"28": "e", "21 28 0": "dea"}, **CHEAP)
    assert known.plaintext.startswith("dea")
    assert len(known.plaintext) == sum(map(len, words)) + 4
    for wrong in ({"21 28": "d"}, {"2": "de"}, {" ": ""}):
        with pytest.raises(InputError, match="differ in length"):
            solve(written, symbols="groups", known=wrong, **CHEAP)
    with pytest.raises(InputError, match="'2' does not occur"):
        solve(written, symbols="groups", known={"2": "d"}, **CHEAP)


# --- homophonic ---------------------------------------------------------------------------------


def test_homophonic_signs(homophonic, homophonic_ids) -> None:
    plain = HOMOPHONIC.decrypt(homophonic_ids)
    assert np.mean(homophonic.plain_ids == plain) > 0.9
    text, found = homophonic.cryptogram.text, homophonic.plaintext
    assert [i for i, c in enumerate(found) if c.isspace()] == [
        i for i, c in enumerate(text) if c.isspace()
    ]
    assert "".join(found.split()) == LETTERS.decode(homophonic.plain_ids)
    assert homophonic.cryptogram.spaces == "ignore"
    assert homophonic.cryptogram.symbols == "any"
    assert homophonic.mapping.keys() == set("".join(text.split()))
    assert homophonic.expected_accuracy > 0.9


def test_the_parts_of_a_homophonic_solution_agree(homophonic) -> None:
    pairs = [(s, letter) for letter, signs in homophonic.homophones.items() for s in signs]
    assert dict(pairs) == homophonic.mapping
    assert len(pairs) == len(homophonic.mapping)
    assert list(homophonic.homophones) == sorted(homophonic.homophones)
    assert len(homophonic.homophones["e"]) > 1
    found = json.loads(json.dumps(homophonic.as_dict(), allow_nan=False))
    assert found["key"] == homophonic.homophones
    assert found["mapping"] == homophonic.mapping
    assert found["run"]["method"] == "homophonic"
    assert found["letters"] == 400
    assert found["log_prob"] == pytest.approx(
        load_ngram("letters").log_prob(homophonic.plain_ids).sum()
    )


def test_homophonic_numbers(homophonic, homophonic_ids) -> None:
    numbers = [str(i + 1) for i in homophonic_ids]
    written = "\n".join(" ".join(numbers[i : i + 40]) for i in range(0, 400, 40))
    solution = solve(written, homophonic=True, symbols="groups", moves=200)
    assert np.mean(solution.plain_ids == HOMOPHONIC.decrypt(homophonic_ids)) > 0.9
    assert [len(line) for line in solution.plaintext.split("\n")] == [40] * 10
    assert solution.homophones.keys() == homophonic.homophones.keys()


def test_homophonic_cribs(homophonic, homophonic_ids) -> None:
    text = homophonic.cryptogram.text
    first = SIGNS[homophonic_ids[0]]
    wrong = {"known": {first: "q", SIGNS[homophonic_ids[1]]: "q"}, "words": {3: "jj"}}
    solution = solve(text, homophonic=True, **wrong, **QUICK)
    assert solution.plaintext.startswith("qqjj")
    assert solution.confidence[first] == 1
    with pytest.raises(InputError, match="contradict"):
        solve(text, known={first: "a"}, words={1: "b"}, homophonic=True, **QUICK)
    again = solve(text, homophonic=True, **wrong, **QUICK)
    assert again.as_dict() == solution.as_dict()
    assert solve(text, homophonic=True, **wrong, **QUICK, seed=1).as_dict() != solution.as_dict()


def test_a_model_of_ones_own() -> None:
    model = NGramModel.estimate([LETTERS.encode(LETTER * 3)], LETTERS, 4)
    solution = solve(KEY.encrypt_text(LETTER), spaces="ignore", model=model, method="ngram")
    assert solution.plaintext == LETTER
    assert solution.run["model"] == model.hash
    with pytest.raises(InputError, match="over the alphabet letters"):
        solve(KEY.encrypt_text(LETTER), model=model)


def test_the_seed_settles_everything() -> None:
    text = KEY.encrypt_text("a short one, hard to read")
    one, two, other = (solve(text, seed=seed, **FEW).as_dict() for seed in (4, 4, 5))
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
    solution = solve(text, words={15: "old"}, method="ngram")
    assert solution.plaintext.split()[5] == "old"
    solution = solve(text, words={18: "mill"}, spaces="ignore", method="ngram")
    assert solution.plaintext.endswith("mill.")
    solution = solve(text.replace(" ", ""), words={1: "Wait", 5: "for"}, method="ngram")
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
        ("ab c", {"symbols": "runes"}, "symbols must be one of letters, any, groups"),
        ("ab c", {"method": "oracle"}, "'oracle'"),
        ("ab c", {"starts": 3}, "'smc' has no setting 'starts'"),
        (string.ascii_lowercase, {"method": "enumerate"}, "at most 362,880"),
        ("17 17 17", {"symbols": "groups"}, "one symbol only"),
        (" ".join(map(str, range(27))), {"symbols": "groups"}, "27 distinct symbols"),
        ("17 4 17", {"symbols": "groups", "spaces": "boundaries"}, "only be ignored in a text"),
        (" \n", {"homophonic": True}, "empty"),
        ("????", {"homophonic": True}, "one symbol only"),
        ("ab c", {"homophonic": True, "symbols": "letters"}, "'any' sign or 'groups'"),
        ("ab c", {"homophonic": True, "spaces": "symbol"}, "only be ignored in a homophonic"),
        ("ab c", {"homophonic": True, "method": "smc"}, "'smc' is for one-to-one ciphers"),
        ("ab c", {"homophonic": True, "starts": 3}, "'homophonic' has no setting 'starts'"),
        ("".join(map(chr, range(0x4E00, 0x4F00))), {"homophonic": True}, "256 distinct symbols"),
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
        "symbols": st.sampled_from(["letters", "any", "groups"]),
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


@settings(max_examples=60)
@given(st.text(max_size=60) | st.text(st.sampled_from("ab12 .\n\t"), max_size=40), st.booleans())
def test_any_homophonic_text_is_solved_or_refused(text, groups) -> None:
    symbols = "groups" if groups else "any"
    try:
        solution = solve(text, homophonic=True, symbols=symbols, **QUICK)
    except InputError:
        return
    signs = text.split() if groups else "".join(text.split())
    assert solution.mapping.keys() == set(signs)
    expected = "".join(solution.mapping[sign] for sign in signs)
    assert "".join(solution.plaintext.split()) == expected
    json.dumps(solution.as_dict(), allow_nan=False)


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
        written = {"letters": cipher.lower(), "any": cipher, "groups": cipher.split()}
        for c, p in zip(written[reading["symbols"]], plain, strict=True):
            if c != " " or solution.cryptogram.spaces == "symbol":
                ids = LETTERS_SPACE.encode(p, collapse=False)
                assert solution.mapping[c] == LETTERS_SPACE.decode(ids)
