# ruff: noqa: RUF001 (characters that look alike are what is tested)
from __future__ import annotations

import pickle
import string

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ciphers import ASCII, LETTERS, LETTERS_SPACE, Alphabet, InputError, get_alphabet
from ciphers import alphabet as alphabet_module
from ciphers.alphabet import ALPHABETS, SPELLINGS, check_ids

UPPER = Alphabet(string.ascii_uppercase, "upper")
any_alphabet = st.sampled_from([LETTERS, LETTERS_SPACE, ASCII, UPPER])
# Lone surrogates and a few characters that exercise every rule come up more often than by chance.
any_text = st.text(
    st.one_of(
        st.sampled_from("abcXYZ  \n\t'’—.æÆßﬁ½⒜ŉéİ\u0301\u00ad\u00a0…\ud800"),
        st.characters(codec=None),
    )
)


def test_sizes_and_names() -> None:
    assert (LETTERS.size, LETTERS_SPACE.size, ASCII.size) == (26, 27, 96)
    assert LETTERS_SPACE.index(" ") == 26
    assert ASCII.index("\n") == 95
    assert list(ALPHABETS) == ["letters", "letters-space", "ascii"]
    assert get_alphabet("ascii") is ASCII


def test_get_alphabet_lists_the_names() -> None:
    with pytest.raises(InputError, match="letters, letters-space, ascii"):
        get_alphabet("greek")


@pytest.mark.parametrize("symbols", ["", "a", "aba", "".join(map(chr, range(256)))])
def test_bad_alphabets(symbols: str) -> None:
    with pytest.raises(InputError):
        Alphabet(symbols)


def test_equality_is_by_symbols() -> None:
    twin = Alphabet(string.ascii_lowercase, "another name")
    assert twin == LETTERS
    assert hash(twin) == hash(LETTERS)
    assert UPPER != LETTERS


def test_membership_and_index() -> None:
    assert "q" in LETTERS
    assert " " not in LETTERS
    assert "ab" not in LETTERS
    assert len(LETTERS) == 26
    with pytest.raises(InputError, match="'!'"):
        LETTERS.index("!")


def test_an_alphabet_pickles_without_its_table() -> None:
    LETTERS.encode("abc")
    assert len(pickle.dumps(LETTERS)) < 1000
    assert pickle.loads(pickle.dumps(LETTERS)) == LETTERS


@pytest.mark.parametrize(
    ("text", "letters", "letters_space", "ascii_"),
    [
        ("Attack at dawn!", "attackatdawn", "attack at dawn", "Attack at dawn!"),
        ("don't, 'tis dogs' o''k", "donttisdogsok", "dont tis dogs o k", "don't, 'tis dogs' o''k"),
        ("“Don’t” — he said…", "donthesaid", "dont he said", '"Don\'t" - he said...'),
        ("  one \n\n two--three  ", "onetwothree", "one two three", "  one \n\n two--three  "),
        (
            "café naïve Ærø Straße",
            "cafenaiveaerostrasse",
            "cafe naive aero strasse",
            "cafe naive Aero Strasse",
        ),
        ("cafe\u0301s co\u00adop e\u200dx", "cafescoopex", "cafes coop ex", "cafes coop ex"),
        ("a\tb\u00a0c\u2009d", "abcd", "a b c d", "a b c d"),
        ("ﬁsh №5 ＡＢ", "fishnoab", "fish no ab", "fish No5 AB"),
        ("x⒜y a½b", "xayab", "x a y a b", "x(a)y a1/2b"),
        ("漢字 word 漢字", "word", "word", " word "),
        ("", "", "", ""),
        ("'", "", "", "'"),
        (" ", "", "", " "),
    ],
)
def test_normalisation(text: str, letters: str, letters_space: str, ascii_: str) -> None:
    assert LETTERS.normalise(text) == letters
    assert LETTERS_SPACE.normalise(text) == letters_space
    assert ASCII.normalise(text) == ascii_
    assert UPPER.normalise(text) == letters.upper()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" ab  c ", " ab  c "),
        ("ab\ncd ef\n", "abcd ef"),
        ("a,b. c", "ab c"),
        ("a\tb\u00a0c¨d", "abcd"),
        ("it's", "its"),
    ],
)
def test_without_collapse_only_literal_spaces_are_symbols(text: str, expected: str) -> None:
    assert LETTERS_SPACE.decode(LETTERS_SPACE.encode(text, collapse=False)) == expected


def test_every_spelling_is_plain() -> None:
    assert all(spelling.isascii() and spelling for spelling in SPELLINGS.values())
    assert all(character == character.lower() for character in SPELLINGS)


@given(any_alphabet, any_text, st.booleans())
def test_encode_is_what_layout_holds(alphabet: Alphabet, text: str, collapse: bool) -> None:
    ids = alphabet.encode(text, collapse=collapse)
    layout = alphabet.layout(text, collapse=collapse)
    assert ids.dtype == np.uint8
    np.testing.assert_array_equal(ids, layout.ids)
    assert len(layout.positions) == len(ids)
    assert (np.diff(layout.positions) >= 0).all()
    assert not len(ids) or 0 <= layout.positions[0] <= layout.positions[-1] < len(text)


@given(
    any_alphabet,
    any_text | st.text(st.sampled_from("ab  '.\n⒜\u0301")),
    st.booleans(),
    st.integers(0, 4),
)
@example(LETTERS_SPACE, "  it's  a - 'b' \u0301c  ", True, 0)
def test_blocks_do_not_show(alphabet: Alphabet, text: str, collapse: bool, block: int) -> None:
    whole = alphabet.layout(text, collapse=collapse).ids
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alphabet_module._Rules, "BLOCK", block)
        np.testing.assert_array_equal(alphabet.encode(text, collapse=collapse), whole)


@given(any_alphabet, any_text)
def test_normalising_twice_is_normalising_once(alphabet: Alphabet, text: str) -> None:
    once = alphabet.normalise(text)
    assert alphabet.normalise(once) == once


@given(any_text)
def test_letters_are_letters_space_without_spaces(text: str) -> None:
    assert LETTERS.normalise(text) == LETTERS_SPACE.normalise(text).replace(" ", "")


@given(st.text(st.sampled_from(ASCII.symbols)))
def test_ascii_is_lossless(text: str) -> None:
    assert ASCII.normalise(text) == text


@given(any_alphabet, st.data())
def test_decode_inverts_encode(alphabet: Alphabet, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, alphabet.size - 1)))
    text = alphabet.decode(ids)
    assert alphabet.encode(text, collapse=False).tolist() == ids


@pytest.mark.parametrize("ids", [[26], [-1], [300], [0.5], ["a"]])
def test_decode_refuses_what_is_no_id(ids: list[object]) -> None:
    with pytest.raises(InputError):
        LETTERS.decode(ids)  # type: ignore[arg-type]


def test_check_ids_keeps_shape_and_takes_nothing() -> None:
    assert check_ids(np.zeros((2, 3), dtype=int), 1).shape == (2, 3)
    assert LETTERS.decode([]) == ""


@given(any_alphabet, st.text(st.sampled_from(string.printable)), st.booleans())
def test_restoring_the_same_ids_gives_the_text(
    alphabet: Alphabet, text: str, collapse: bool
) -> None:
    layout = alphabet.layout(text, collapse=collapse)
    assert layout.restore(layout.ids) == text


@given(any_alphabet, any_text, st.booleans())
def test_a_restored_text_encodes_to_the_same_ids(
    alphabet: Alphabet, text: str, collapse: bool
) -> None:
    layout = alphabet.layout(text, collapse=collapse)
    restored = layout.restore(layout.ids)
    np.testing.assert_array_equal(alphabet.encode(restored, collapse=collapse), layout.ids)


@given(any_alphabet, any_text, st.data())
def test_restore_takes_any_ids(alphabet: Alphabet, text: str, data: st.DataObject) -> None:
    layout = alphabet.layout(text)
    n = len(layout.ids)
    ids = data.draw(st.lists(st.integers(0, alphabet.size - 1), min_size=n, max_size=n))
    layout.restore(ids)


@pytest.mark.parametrize(
    ("text", "symbols", "expected"),
    [
        ("Hi, Bob!\n", "xyzab", "Xy, Zab!\n"),
        ("don't", "xyza", "xyz'a"),
        ("æsop Æsop ÆSOP AÆ", "abcdeabcdeabcdexyz", "abcde Abcde ABCDE XYZ"),
        ("É", "x", "X"),
        ("ẞ", "xy", "Xy"),
        ("ﬁx", "abc", "abc"),
    ],
)
def test_restore_letters(text: str, symbols: str, expected: str) -> None:
    layout = LETTERS.layout(text)
    assert layout.restore(LETTERS.encode(symbols)) == expected


@pytest.mark.parametrize(
    ("text", "symbols", "expected"),
    [
        ("a, b", "x y", "x, y"),  # a run that is a space again stays
        ("a, b", "xqy", "xqy"),  # another symbol takes its place
        ("Ab c", "  xy", "  xy"),  # and letters can become spaces
        ('"A"--b.', "z y", '"Z"--y.'),
        ("x⒜y", "abcde", "abcde"),
        ("x⒜y", "a c e", "a c e"),
        (" ⒜, b", "x y", " x y"),  # the space is part of the character, which gives way
    ],
)
def test_restore_spaces(text: str, symbols: str, expected: str) -> None:
    ids = LETTERS_SPACE.encode(symbols, collapse=False)
    assert LETTERS_SPACE.layout(text).restore(ids) == expected


def test_restore_leaves_case_to_an_alphabet_that_has_both() -> None:
    assert ASCII.layout("Él").restore(ASCII.encode("xY")) == "xY"


def test_restore_swaps_case_for_an_upper_case_alphabet() -> None:
    assert UPPER.layout("Hi, Bob").restore(UPPER.encode("VWXYZ")) == "Vw, Xyz"


def test_restore_in_the_symbols_of_another_alphabet() -> None:
    layout = Alphabet("%&()").layout("(% %)\n&(")
    assert layout.ids.tolist() == [2, 0, 0, 3, 1, 2]
    assert layout.restore([25, 1, 1, 2, 3, 25], LETTERS) == "zb bc\ndz"
    with pytest.raises(InputError, match="id 25 is out of range"):
        layout.restore([25, 1, 1, 2, 3, 25])


def test_positions_point_at_the_characters() -> None:
    text = " «Æs»  b"
    assert LETTERS_SPACE.layout(text).positions.tolist() == [2, 2, 3, 4, 7]


def test_restore_refuses_another_length() -> None:
    with pytest.raises(InputError, match="holds 3 symbols, not 2"):
        LETTERS.layout("abc").restore([0, 1])
