from __future__ import annotations

import numpy as np
import pytest

from ciphers import Alphabet, InputError, Key
from decipher import KeyPosterior
from decipher.posterior import check_known, check_prefixes

FOUR = Alphabet("abcd")
#: Rows are cipher symbols.
MARGINALS = np.array(
    [
        [0.40, 0.60, 0.00, 0.00],
        [0.55, 0.35, 0.10, 0.00],
        [0.03, 0.03, 0.54, 0.40],
        [0.02, 0.02, 0.36, 0.60],
    ]
)


def posterior(**changes) -> KeyPosterior:
    settings = {
        "alphabet": FOUR,
        "marginals": MARGINALS,
        "map_key": Key.identity(FOUR),
        "seen": np.array([0, 1, 2]),
    }
    return KeyPosterior(**{**settings, **changes})


def test_map_rule_gives_the_map_key_whatever_the_marginals_say() -> None:
    key = Key(FOUR, [3, 1, 2, 0])
    assert posterior(map_key=key).best_key() == key
    assert posterior(map_key=key).best_key([0, 0, 1], "map") == key


def test_marginal_rule_weighs_symbols_by_their_counts() -> None:
    marginals = np.array([[0.5, 0.5, 0.0], [0.6, 0.3, 0.1], [0.3, 0.2, 0.5]])
    three = Alphabet("abc")
    p = KeyPosterior(three, marginals, Key.identity(three), np.array([0, 1, 2]))
    # Swapped: 0.5 + 0.6 against 0.5 + 0.3.
    assert p.best_key(rule="marginal").mapping.tolist() == [1, 0, 2]
    assert p.best_key([2, 2, 1], "marginal").mapping.tolist() == [1, 0, 2]
    # With symbol 0 alone, both ways are as good: stay with the MAP key.
    assert p.best_key([0, 0], "marginal") == Key.identity(three)
    swapped = Key(three, [1, 0, 2])
    q = KeyPosterior(three, marginals, swapped, np.array([0, 1, 2]))
    assert q.best_key([0, 0], "marginal") == swapped

    marginals = np.array([[0.4, 0.6, 0.0], [0.2, 0.5, 0.3], [0.4, 0.0, 0.6]])
    r = KeyPosterior(three, marginals, Key.identity(three), np.array([0, 1, 2]))
    assert r.best_key([0, 1, 2], "marginal") == Key.identity(three)  # 1.5 against 1.4, 1.3, ...
    # Symbol 0 twice: 1.2 + 0.3 against 0.8 + 0.5, the identity.
    assert r.best_key([0, 0, 1], "marginal").mapping.tolist() == [2, 0, 1]


def test_marginal_rule_is_not_the_inverse_key() -> None:
    """A cycle of three, which differs from its inverse."""
    three = Alphabet("abc")
    marginals = np.eye(3)[[1, 2, 0]]  # cipher 0 is plain 1, cipher 1 is plain 2, ...
    p = KeyPosterior(three, marginals, Key.identity(three), np.array([0, 1, 2]))
    key = p.best_key(rule="marginal")
    assert key.decrypt([0, 1, 2]).tolist() == [1, 2, 0]
    decoding = p.decode([0, 1, 2, 0], "marginal")
    assert decoding.ids.tolist() == [1, 2, 0, 1]
    assert decoding.confidence.tolist() == [1, 1, 1, 1]
    assert p.decode([0, 1, 2]).confidence.tolist() == [0, 0, 0]


def test_unknown_rule() -> None:
    with pytest.raises(InputError, match="'mode'"):
        posterior().best_key(rule="mode")


def test_decode_gives_each_symbol_its_probability() -> None:
    key = Key(FOUR, [1, 0, 2, 3])  # cipher 1 is plain 0, cipher 0 is plain 1
    decoding = posterior(map_key=key).decode([0, 1, 2, 0])
    assert decoding.ids.tolist() == [1, 0, 2, 1]
    assert decoding.confidence.tolist() == [0.60, 0.55, 0.54, 0.60]
    expected = posterior(map_key=key).expected_accuracy([0, 1, 2, 0])
    assert expected == pytest.approx((0.60 + 0.55 + 0.54 + 0.60) / 4)
    assert posterior().expected_accuracy([0]) == 0.40
    assert posterior().expected_accuracy([0], "marginal") == 0.60
    with pytest.raises(InputError, match="out of range"):
        posterior().decode([4])


def test_alternatives_are_the_fewest_that_hold_the_mass() -> None:
    p = posterior()
    assert p.alternatives(1, 0.5) == [(0, 0.55)]
    assert p.alternatives(1, 0.55) == [(0, 0.55)]
    assert p.alternatives(1, 0.9) == [(0, 0.55), (1, 0.35)]
    assert p.alternatives(1) == [(0, 0.55), (1, 0.35), (2, 0.10)]
    assert p.alternatives(2, 0.95) == [(2, 0.54), (3, 0.40), (0, 0.03)]
    assert posterior(marginals=np.eye(4)).alternatives(3) == [(3, 1.0)]


def test_entropy() -> None:
    certain_and_not = np.array([[1, 0, 0, 0], [0, 0.5, 0.5, 0], [0, 0.25, 0.25, 0.5]])
    np.testing.assert_allclose(
        posterior(marginals=certain_and_not).entropy,
        [0, np.log(2), 1.5 * np.log(2)],
    )


def test_credible_keys_count_keys_that_differ_in_unseen_symbols_as_one() -> None:
    # Read backwards: what each cipher symbol stands for. Symbol 1 and 3 were not seen.
    samples = np.array(
        [[0, 1, 2, 3], [2, 0, 3, 1], [0, 3, 2, 1], [3, 0, 1, 2], [2, 1, 3, 0]], np.uint8
    )
    weights = np.array([0.1, 0.25, 0.2, 0.05, 0.4])
    p = posterior(samples=samples, weights=weights, seen=np.array([0, 2]))
    keys = p.credible_keys(1.0)
    assert [w for _, w in keys] == pytest.approx([0.65, 0.3, 0.05])
    assert [key.decrypt([0, 2]).tolist() for key, _ in keys] == [[2, 3], [0, 2], [3, 1]]
    # Each is one of the samples, whole.
    assert keys[0][0].inverse.mapping.tolist() in samples[[1, 4]].tolist()
    assert keys[2][0].mapping.tolist() == [1, 2, 3, 0]
    assert len(p.credible_keys(0.95)) == 2
    assert len(p.credible_keys(0.65)) == 1
    assert len(p.credible_keys(0.66)) == 2


def test_credible_keys_need_samples() -> None:
    with pytest.raises(InputError, match="no key samples"):
        posterior().credible_keys()


def test_check_prefixes() -> None:
    prefixes = check_prefixes([3, 1, 2], [3, 1, 1], FOUR)
    assert [p.tolist() for p in prefixes] == [[3, 1, 2], [3], [3]]
    assert prefixes[0].dtype == np.uint8
    assert check_prefixes([0], [], FOUR) == []


@pytest.mark.parametrize(
    ("ciphertext", "lengths", "says"),
    [
        ([], [1], "empty"),
        ([0, 1], [0], "no prefix of 0"),
        ([0, 1], [1, 3], "no prefix of 3"),
        ([0, 1], [-1], "no prefix of -1"),
        ([0, 4], [1], "id 4 is out of range"),
        ([0, -1], [1], "id -1 is out of range"),
        ([[0, 1]], [1], "one row"),
        (3, [1], "one row"),
        ([0.5], [1], "integers"),
        ("abc", [1], "integers"),
    ],
)
def test_bad_prefixes(ciphertext, lengths, says) -> None:
    with pytest.raises(InputError, match=says):
        check_prefixes(ciphertext, lengths, FOUR)


def test_check_known() -> None:
    assert check_known(None, FOUR) == {}
    letters = check_known({np.uint8(3): np.int64(1), 0: 0}, FOUR)
    assert letters == {3: 1, 0: 0}
    assert all(type(i) is int for pair in letters.items() for i in pair)


@pytest.mark.parametrize(
    ("known", "says"),
    [
        ({0: 4}, "out of range"),
        ({4: 0}, "out of range"),
        ({-1: 0}, "out of range"),
        ({0: 2, 3: 2}, r"both 'a' and 'd' would stand for 'c'"),
    ],
)
def test_bad_known(known, says) -> None:
    with pytest.raises(InputError, match=says):
        check_known(known, FOUR)
