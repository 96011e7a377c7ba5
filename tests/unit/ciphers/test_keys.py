from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ciphers import ASCII, LETTERS, LETTERS_SPACE, Alphabet, InputError, Key
from ciphers.keys import apply_keys, invert_keys, random_keys

alphabets = st.sampled_from([LETTERS, LETTERS_SPACE, ASCII])


@st.composite
def keys(draw: st.DrawFn, alphabet: Alphabet | None = None) -> Key:
    alphabet = alphabet or draw(alphabets)
    return Key(alphabet, np.array(draw(st.permutations(range(alphabet.size)))))


ids_of_letters = st.lists(st.integers(0, 25), max_size=60)


@given(keys(LETTERS), ids_of_letters)
def test_decrypt_undoes_encrypt(key: Key, ids: list[int]) -> None:
    assert key.decrypt(key.encrypt(ids)).tolist() == ids
    assert key.inverse.encrypt(key.encrypt(ids)).tolist() == ids


@given(keys(LETTERS), keys(LETTERS), keys(LETTERS), ids_of_letters)
def test_permutation_laws(a: Key, b: Key, c: Key, ids: list[int]) -> None:
    identity = Key.identity(LETTERS)
    assert a.compose(b).compose(c) == a.compose(b.compose(c))
    assert a.compose(a.inverse) == identity == a.inverse.compose(a)
    assert a.compose(identity) == a == a.inverse.inverse
    np.testing.assert_array_equal(a.compose(b).encrypt(ids), b.encrypt(a.encrypt(ids)))
    assert a.compose(b).inverse == b.inverse.compose(a.inverse)


@given(keys())
def test_text_round_trip(key: Key) -> None:
    assert Key.from_text(key.alphabet, key.text) == key
    assert str(key) == key.text
    assert hash(Key.from_text(key.alphabet, key.text)) == hash(key)


def test_shapes_are_kept() -> None:
    key = Key.caesar(LETTERS, 1)
    assert key.encrypt(np.zeros((2, 3, 4), dtype=np.int64)).shape == (2, 3, 4)
    assert key.encrypt([]).shape == (0,)
    assert key.encrypt([25]).dtype == np.uint8


@pytest.mark.parametrize("ids", [[26], [-1], [0.5]])
def test_ids_out_of_range_are_refused(ids: list[float]) -> None:
    with pytest.raises(InputError):
        Key.identity(LETTERS).encrypt(ids)
    with pytest.raises(InputError):
        Key.identity(LETTERS).decrypt(ids)


@pytest.mark.parametrize(
    "mapping", [range(25), [0] * 26, range(1, 27), [[*range(26)]], [], [0.0] * 26]
)
def test_what_is_no_permutation_is_refused(mapping: object) -> None:
    with pytest.raises(InputError):
        Key(LETTERS, np.array(mapping))


def test_mapping_is_its_own_and_read_only() -> None:
    mapping = np.arange(26, dtype=np.uint8)
    key = Key(LETTERS, mapping)
    mapping[0] = 7
    assert key == Key.identity(LETTERS)
    with pytest.raises(ValueError, match="read-only"):
        key.mapping[0] = 1


def test_keys_of_different_alphabets_differ() -> None:
    assert Key.identity(LETTERS) != Key.identity(Alphabet(LETTERS.symbols.upper()))
    with pytest.raises(InputError, match="cannot compose"):
        Key.identity(LETTERS).compose(Key.identity(LETTERS_SPACE))


def test_keyword() -> None:
    assert Key.keyword(LETTERS, "Zebras!").text == "zebrascdfghijklmnopqtuvwxy"
    key = Key.keyword(LETTERS_SPACE, "zebra zoo", fixed=" ")
    assert key.text == "zebraocdfghijklmnpqstuvwxy "
    with pytest.raises(InputError, match="keyword '123'"):
        Key.keyword(LETTERS, "123")


def test_caesar() -> None:
    assert Key.caesar(LETTERS, 3).encrypt_text("xyz abc") == "abc def"
    assert (
        Key.caesar(LETTERS, -23) == Key.caesar(LETTERS, 3) == Key.caesar(LETTERS, 10**30 * 26 + 3)
    )
    assert Key.caesar(LETTERS_SPACE, 1, fixed=" ").text == "bcdefghijklmnopqrstuvwxyza "
    assert Key.caesar(LETTERS_SPACE, 1).text == "bcdefghijklmnopqrstuvwxyz a"


@given(st.integers(), st.integers(), st.sampled_from(["", "a", "abc"]))
def test_affine_is_a_key_or_says_why(a: int, b: int, fixed: str) -> None:
    m = 26 - len(fixed)
    if math.gcd(a, m) == 1:
        key = Key.affine(LETTERS, a, b, fixed)
        first, moved = len(fixed), np.arange(m)
        expected = [first + (a * i + b) % m for i in moved.tolist()]
        assert key.mapping[first:].tolist() == expected
        assert key.mapping[:first].tolist() == list(range(first))
    else:
        with pytest.raises(InputError, match="take one of 1, "):
            Key.affine(LETTERS, a, b, fixed)


def test_from_text_reads_what_people_write() -> None:
    qwerty = "QWERTYUIOPASDFGHJKLZXCVBNM"
    assert Key.from_text(LETTERS, f"  {qwerty}\n").text == qwerty.lower()
    assert Key.from_text(LETTERS_SPACE, qwerty + "\n", fixed=" ").text == qwerty.lower() + " "
    assert Key.from_text(LETTERS_SPACE, qwerty + " ", fixed=" ").text == qwerty.lower() + " "


@pytest.mark.parametrize(
    ("alphabet", "text", "fixed", "message"),
    [
        (LETTERS, "abc", "", "has 3 symbols"),
        (LETTERS, "", "", "has 0 symbols"),
        (LETTERS, "abcdefghijklmnopqrstuvwxya", "", "lacks 'z' and has 'a' too often"),
        (LETTERS, "abcdefghijklmnopqrstuvwxy1", "", "'1', which is not in the alphabet"),
        (LETTERS_SPACE, "abcdefghijklmnopqrstuvwxyz", "", "has 26 symbols"),
        (LETTERS_SPACE, " bcdefghijklmnopqrstuvwxyza", " ", "should stand for themselves"),
        (LETTERS_SPACE, "abcdefghijklmnopq stuvwxyz", " ", "lacks 'r' and has ' ' too often"),
        (LETTERS, "abcdefghijklmnopqrstuvwxyz", "!", "'!' is not in the alphabet"),
    ],
)
def test_from_text_says_what_is_wrong(
    alphabet: Alphabet, text: str, fixed: str, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Key.from_text(alphabet, text, fixed)
    assert "\n" not in str(caught.value)


@given(alphabets, st.text(), st.sampled_from(["", "a", " ", "é"]))
def test_any_text_gives_a_key_or_an_input_error(alphabet: Alphabet, text: str, fixed: str) -> None:
    for build in (Key.from_text, Key.keyword):
        try:
            key = build(alphabet, text, fixed)
        except InputError:
            continue
        assert all(key.text[alphabet.index(symbol)] == symbol for symbol in fixed)


@given(keys(), st.text())
def test_text_survives_encryption(key: Key, text: str) -> None:
    decrypted = key.decrypt_text(key.encrypt_text(text))
    assert key.alphabet.normalise(decrypted) == key.alphabet.normalise(text)


@given(keys(LETTERS), st.text(st.characters(max_codepoint=126)))
def test_layout_survives_encryption(key: Key, text: str) -> None:
    assert key.decrypt_text(key.encrypt_text(text)) == text


@given(st.integers(0, 99), st.text(st.characters(max_codepoint=126)))
def test_layout_survives_where_the_space_is_fixed(seed: int, text: str) -> None:
    key = Key.random(LETTERS_SPACE, np.random.default_rng(seed), fixed=" ")
    assert key.decrypt_text(key.encrypt_text(text)) == text


def test_a_moved_space_is_written_as_its_symbol() -> None:
    key = Key.caesar(LETTERS_SPACE, 1)  # z -> space -> a
    assert key.encrypt_text(" - Hi, Jazz's pal.") == "-IjaKb  'taqbm."
    assert key.decrypt_text("-IjaKb  'taqbm.") == "-Hi Jazz's pal."


@given(st.integers(0, 2**32), st.integers(0, 5), st.sampled_from(["", " ", "a z"]))
def test_random_keys(seed: int, count: int, fixed: str) -> None:
    batch = random_keys(LETTERS_SPACE, count, np.random.default_rng(seed), fixed)
    assert batch.shape == (count, 27)
    assert batch.dtype == np.uint8
    np.testing.assert_array_equal(np.sort(batch, axis=1), np.tile(np.arange(27), (count, 1)))
    kept = LETTERS_SPACE.indices(fixed)
    np.testing.assert_array_equal(batch[:, kept], np.tile(kept, (count, 1)))
    np.testing.assert_array_equal(
        batch, random_keys(LETTERS_SPACE, count, np.random.default_rng(seed), fixed)
    )


def test_random_keys_by_size() -> None:
    assert random_keys(5, 3, np.random.default_rng(0)).shape == (3, 5)
    with pytest.raises(InputError, match="fixed"):
        random_keys(5, 3, np.random.default_rng(0), fixed="a")
    with pytest.raises(InputError, match="255"):
        random_keys(300, 3, np.random.default_rng(0))


def test_batches_agree_with_single_keys() -> None:
    rng = np.random.default_rng(1)
    batch = random_keys(LETTERS, 20, rng)
    ids = rng.integers(0, 26, (20, 50), dtype=np.uint8)
    cipher = apply_keys(batch, ids)
    for i, row in enumerate(batch):
        np.testing.assert_array_equal(cipher[i], Key(LETTERS, row).encrypt(ids[i]))
    np.testing.assert_array_equal(apply_keys(invert_keys(batch), cipher), ids)


def test_random_keys_are_uniform() -> None:
    """All 24 keys of four symbols, and each pair (plain, cipher) of 27, equally often.

    Chi-square tests on a fixed seed; each raises a false alarm for one seed in 10,000.
    """
    rng = np.random.default_rng(2024)
    small = random_keys(4, 24_000, rng)
    index = {p: i for i, p in enumerate(itertools.permutations(range(4)))}
    counts = np.bincount([index[tuple(key)] for key in small.tolist()], minlength=24)
    assert stats.chisquare(counts).pvalue > 1e-4

    large = random_keys(LETTERS_SPACE, 20_000, rng)
    pairs = np.bincount((large + 27 * np.arange(27)).ravel(), minlength=27 * 27).reshape(27, 27)
    expected = 20_000 / 27
    # Rows and columns are fixed sums, which leaves 26 x 26 degrees of freedom; the statistic of a
    # random permutation matrix has mean (V - 1)^2 when each term is scaled by (V - 1) / V.
    statistic = ((pairs - expected) ** 2 / expected).sum() * 26 / 27
    assert stats.chi2.sf(statistic, 26 * 26) > 1e-4
    assert stats.chi2.cdf(statistic, 26 * 26) > 1e-4
