from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import chisquare

from ciphers import ASCII, LETTERS, LETTERS_SPACE, Alphabet, InputError
from decipher import NGramModel, load_ngram, ngram
from decipher.ngram import NGramCounts, discounts, ngram_codes

FOUR = Alphabet("abcd", "four")


def windows(document, n):
    return [tuple(int(x) for x in document[i : i + n]) for i in range(len(document) - n + 1)]


def code(gram, size):
    return sum(symbol * size ** (len(gram) - 1 - i) for i, symbol in enumerate(gram))


def as_dict(codes, values):
    assert (np.diff(codes) > 0).all()
    return dict(zip(codes.tolist(), values.tolist(), strict=True))


def forget_dense(monkeypatch):
    monkeypatch.setattr(ngram, "DENSE_LIMIT", 0)


# --- counts -------------------------------------------------------------------------------------

documents_of_four = st.lists(
    arrays(np.uint8, st.integers(0, 12), elements=st.integers(0, 3)), min_size=1, max_size=5
)


@given(documents_of_four, st.integers(1, 5), st.booleans())
def test_counts_equal_direct_counting(documents, order, many_codes) -> None:
    """Documents shorter than the order too, and on both ways of adding up."""
    limit = ngram.RANK_LIMIT
    ngram.RANK_LIMIT = 1 if many_codes else limit
    try:
        counts = NGramCounts.count(documents, 4, order)
        for n in range(order, 0, -1):
            direct = Counter(code(gram, 4) for d in documents for gram in windows(d, n))
            assert counts.order == n
            assert as_dict(counts.codes, counts.counts) == direct
            again = NGramCounts.count(documents, 4, n)
            assert counts.heads == again.heads
            if n > 1:
                left = Counter(
                    code(gram[1:], 4) for gram in {g for d in documents for g in windows(d, n)}
                )
                assert as_dict(*counts.left_variety) == left
                counts = counts.lower
    finally:
        ngram.RANK_LIMIT = limit


def test_codes_of_a_batch() -> None:
    ids = np.random.default_rng(0).integers(0, 96, (3, 2, 9)).astype(np.uint8)
    codes = ngram_codes(ids, 96, 6)
    assert codes.shape == (3, 2, 4)
    assert codes[2, 1, 3] == code(ids[2, 1, 3:].tolist(), 96)
    assert ngram_codes(ids, 96, 10).shape == (3, 2, 0)


# --- smoothing ----------------------------------------------------------------------------------


def eq17(counts):
    """Discounts of Chen and Goodman (1998), equation 17, and the customary ones in their place."""
    n = [sum(c == k for c in counts) for k in range(5)]
    if min(n[1:]) == 0:
        return [0.0, 0.5, 1.0, 1.5]
    y = n[1] / (n[1] + 2 * n[2])
    d = [0.0] + [k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3)]
    return d if all(0 < d[k] <= k for k in (1, 2, 3)) else [0.0, 0.5, 1.0, 1.5]


class Textbook:
    """Interpolated modified Kneser-Ney as the formula reads, over dictionaries."""

    def __init__(self, documents, size, order) -> None:
        self.size, self.order = size, order
        self.raw = {
            k: Counter(gram for d in documents for gram in windows(d, k))
            for k in range(1, order + 1)
        }
        self.varied = {k: Counter(gram[1:] for gram in self.raw[k + 1]) for k in range(1, order)}

    def prob(self, gram, counts=None):
        k = len(gram)
        if k == 0:
            return 1 / self.size
        counts = self.raw[k] if counts is None else counts
        lower = self.prob(gram[1:], self.varied.get(k - 1))
        d = eq17(list(counts.values()))
        following = [c for other, c in counts.items() if other[:-1] == gram[:-1]]
        if not following:
            return lower
        gamma = sum(d[min(c, 3)] for c in following) / sum(following)
        mine = counts.get(gram, 0)
        return (mine - d[min(mine, 3)]) / sum(following) + gamma * lower

    def log_prob(self, ids):
        grams = [
            tuple(int(x) for x in ids[max(0, i - self.order + 1) : i + 1]) for i in range(len(ids))
        ]
        return np.log([self.prob(gram) for gram in grams])


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("lengths", [[400, 300], [40, 3, 1, 0, 2, 25], [5000]])
def test_scores_are_those_of_the_textbook(
    order, lengths, sparse, markov_texts, monkeypatch
) -> None:
    if sparse:
        forget_dense(monkeypatch)
    alphabet = Alphabet("abcdefg")
    documents = markov_texts(6, lengths, seed=order)  # the seventh symbol is never seen
    model = NGramModel.estimate(documents, alphabet, order)
    textbook = Textbook(documents, 7, order)
    rng = np.random.default_rng(8)
    for text in (rng.integers(0, 7, 60), documents[0][:60], rng.integers(0, 7, 2)):
        np.testing.assert_allclose(model.log_prob(text), textbook.log_prob(text), atol=2e-6)


def test_discounts_of_equation_17() -> None:
    counts = np.repeat([1, 2, 3, 4, 9], [40, 20, 10, 6, 3])
    y = 40 / 80
    expected = (1 - 2 * y * 20 / 40, 2 - 3 * y * 10 / 20, 3 - 4 * y * 6 / 10)
    np.testing.assert_allclose(discounts(counts), expected)


@pytest.mark.parametrize(
    "of_counts",
    [[40, 20, 10, 0], [0, 20, 10, 6], [10, 10, 40, 10], [0, 0, 0, 0], [10, 10, 5, 50]],
)
def test_discounts_that_make_no_sense_give_way(of_counts) -> None:
    assert discounts(np.repeat([1, 2, 3, 4], of_counts)) == (0.5, 1.0, 1.5)


# --- probabilities ------------------------------------------------------------------------------


@pytest.mark.parametrize("order", range(1, 7))
def test_conditionals_sum_to_one_dense_and_sparse_alike(order, markov_texts, monkeypatch) -> None:
    documents = markov_texts(6, [300, 2, 0, 100], seed=3)
    rng = np.random.default_rng(order)
    for alphabet, most in ((Alphabet("abcdefg"), 6), (LETTERS, 4), (ASCII, 3)):
        if order > most:  # the dense table of this alphabet would be large
            continue
        model = NGramModel.estimate(documents, alphabet, order)
        contexts = [rng.integers(0, 7, n) for n in range(order + 3)] + [
            documents[0][:n] for n in range(7)
        ]
        dense = [model.conditional(context) for context in contexts]
        with monkeypatch.context() as patch:
            forget_dense(patch)
            sparse = [model.conditional(context) for context in contexts]
        for p, q in zip(dense, sparse, strict=True):
            assert p.shape == (alphabet.size,)
            assert (p > 0).all()
            assert abs(p.sum() - 1) < 1e-6
            np.testing.assert_allclose(p, q, atol=1e-6, rtol=5e-6)


@pytest.mark.parametrize(("order", "alphabet"), [(5, LETTERS_SPACE), (6, LETTERS), (6, ASCII)])
def test_conditionals_of_large_sparse_models_sum_to_one(
    order, alphabet, passage, monkeypatch
) -> None:
    forget_dense(monkeypatch)
    model = NGramModel.estimate([alphabet.encode(passage)], alphabet, order)
    for context in ("", "q", "the ", "when the wind shook", "zzzzzzz"):
        assert abs(model.conditional(alphabet.encode(context)).sum() - 1) < 1e-6


@pytest.mark.parametrize("sparse", [False, True])
def test_a_batch_scores_as_its_rows_and_a_text_as_its_chain(
    sparse, markov_texts, monkeypatch
) -> None:
    if sparse:
        forget_dense(monkeypatch)
    model = NGramModel.estimate(markov_texts(4, [200], 1), FOUR, 4)
    batch = np.random.default_rng(0).integers(0, 4, (3, 5, 12))
    scores = model.log_prob(batch)
    assert scores.shape == batch.shape
    for place in np.ndindex(3, 5):
        np.testing.assert_array_equal(scores[place], model.log_prob(batch[place]))
    text = batch[0, 0]
    chain = [np.log(model.conditional(text[:i])[text[i]]) for i in range(len(text))]
    np.testing.assert_allclose(scores[0, 0], chain, atol=1e-12)
    for n in range(4):  # shorter than the order
        np.testing.assert_array_equal(model.log_prob(text[:n]), scores[0, 0, :n])


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_log_conditionals_are_those_after_every_prefix(
    order, sparse, markov_texts, monkeypatch
) -> None:
    model = NGramModel.estimate(markov_texts(4, [200], 1), FOUR, order)
    if sparse:
        forget_dense(monkeypatch)
    batch = np.random.default_rng(order).integers(0, 4, (2, 3, 9))
    for n in (0, 1, 2, 4, 9):  # shorter than the order too
        texts = batch[..., :n]
        rows = model.log_conditionals(texts)
        assert rows.shape == (2, 3, n + 1, 4)
        np.testing.assert_allclose(np.exp(rows).sum(axis=-1), 1, atol=1e-6)
        steps = np.take_along_axis(rows[..., :-1, :], texts[..., None], axis=-1)[..., 0]
        np.testing.assert_array_equal(steps, model.log_prob(texts))
        for place in np.ndindex(2, 3):
            np.testing.assert_array_equal(rows[place], model.log_conditionals(texts[place]))
            for i in range(n + 1):
                expected = model.conditional(texts[place][:i])
                np.testing.assert_allclose(np.exp(rows[place][i]), expected, rtol=1e-12)
    with pytest.raises(InputError, match="out of range"):
        model.log_conditionals([0, 4])


def test_log_conditionals_of_a_model_too_large_for_a_table(passage) -> None:
    model = NGramModel.estimate([ASCII.encode(passage)], ASCII, 6)
    assert model.dense_size > ngram.DENSE_LIMIT
    text = ASCII.encode("when the wind shook")
    rows = model.log_conditionals(text)
    np.testing.assert_allclose(np.exp(rows).sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(rows[np.arange(len(text)), text], model.log_prob(text))
    np.testing.assert_allclose(np.exp(rows[-1]), model.conditional(text), rtol=1e-12)


# --- texts drawn from the model -----------------------------------------------------------------


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_samples_are_drawn_from_the_model(order, sparse, markov_texts, monkeypatch) -> None:
    """Chi-square over all 256 texts of four symbols, beginning and body at once; with six cases at
    1 in 10,000, a false alarm in fewer than one seed in 1,000."""
    model = NGramModel.estimate(markov_texts(4, [60], 1), FOUR, order)
    if sparse:
        forget_dense(monkeypatch)
    count = 50_000
    drawn = model.sample(4, count, np.random.default_rng(order))
    assert drawn.shape == (count, 4)
    assert drawn.dtype == np.uint8
    texts = np.array(list(product(range(4), repeat=4)), np.uint8)
    prob = np.exp(model.log_prob(texts).sum(axis=1))
    observed = np.bincount(ngram_codes(drawn, 4, 4)[:, 0], minlength=256)
    often = prob * count >= 5
    assert often.sum() > 50
    expected = np.append(prob[often], prob[~often].sum())
    observed = np.append(observed[often], observed[~often].sum())
    assert chisquare(observed, count * expected / expected.sum()).pvalue > 1e-4


def test_samples_depend_on_the_generator_only(markov_texts) -> None:
    model = NGramModel.estimate(markov_texts(4, [200], 1), FOUR, 3)
    one, again, other = (model.sample(20, 8, np.random.default_rng(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    assert len({row.tobytes() for row in one}) == 8
    assert model.sample(0, 3, np.random.default_rng(0)).shape == (3, 0)
    assert model.sample(3, 0, np.random.default_rng(0)).shape == (0, 3)
    with pytest.raises(InputError, match="sizes of 0 or up"):
        model.sample(-1, 3, np.random.default_rng(0))


def test_long_samples_read_like_the_model() -> None:
    """Mean log probability of a symbol under the model itself, of 20 x 2,000 symbols, beside the
    entropy that its conditionals give along the texts: their difference is a sum of martingale
    steps, and five of its standard errors mean a false alarm in 1 seed of a million."""
    model = load_ngram("letters")
    texts = model.sample(2000, 20, np.random.default_rng(0))
    rows = model.log_conditionals(texts)[:, :-1]
    entropy = -(np.exp(rows) * rows).sum(axis=-1)
    steps = model.log_prob(texts) + entropy
    assert abs(steps.mean()) < 5 * steps.std() / np.sqrt(steps.size)
    assert 1.5 < -model.log_prob(texts).mean() / np.log(2) < 3


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_renaming_the_symbols_changes_no_score(order, markov_texts) -> None:
    documents = markov_texts(6, [150, 80, 3], seed=5)
    rng = np.random.default_rng(2)
    names = rng.permutation(7).astype(np.uint8)
    alphabet = Alphabet("abcdefg")
    text = rng.integers(0, 7, 80)
    one = NGramModel.estimate(documents, alphabet, order).log_prob(text)
    other = NGramModel.estimate([names[d] for d in documents], alphabet, order)
    np.testing.assert_allclose(other.log_prob(names[text]), one, atol=2e-6)


def test_quantised_is_within_half_a_step(markov_texts) -> None:
    for model in (NGramModel.estimate(markov_texts(4, [500], 1), FOUR, 4), load_ngram("letters")):
        steps, step = model.quantised
        assert steps.dtype == np.int16
        part = slice(0, 2_000_000)
        error = np.abs(steps[part] * step - model.table[part].astype(np.float64))
        assert error.max() <= step / 2 * 1.01  # the division is in single precision
        assert steps.min() == -32767


@pytest.mark.parametrize("name", ["letters", "letters-space"])
def test_shipped_tables(name, passage) -> None:
    model = load_ngram(name)
    assert model.order == 5
    assert model.alphabet == {"letters": LETTERS, "letters-space": LETTERS_SPACE}[name]
    assert model.alphabet.size == {"letters": 26, "letters-space": 27}[name]
    ids = model.alphabet.encode(passage)
    bits = model.bits_per_symbol([ids])
    assert 1.5 < bits < {"letters": 3.0, "letters-space": 2.6}[name]
    shuffled = np.random.default_rng(0).permutation(ids)
    assert model.bits_per_symbol([shuffled]) > bits + 1.5
    assert model is load_ngram(name)


def test_bits_per_symbol_weighs_documents_by_length() -> None:
    model = NGramModel.estimate([[0, 0, 0, 1]], Alphabet("ab"), 1)
    scores = model.log_prob([0, 0, 1])
    assert model.bits_per_symbol([[0, 0], [1], []]) == pytest.approx(-scores.sum() / 3 / np.log(2))
    with pytest.raises(InputError, match="no symbol"):
        model.bits_per_symbol([[]])


@pytest.mark.parametrize("order", [0, 7, -1])
def test_bad_orders(order) -> None:
    with pytest.raises(InputError, match="1 to 6"):
        NGramModel.estimate([[0, 1, 2]], FOUR, order)


def test_bad_ids_and_too_little_text() -> None:
    with pytest.raises(InputError, match="out of range"):
        NGramModel.estimate([[0, 4]], FOUR, 2)
    model = NGramModel.estimate([[0, 1]], FOUR, 2)
    with pytest.raises(InputError, match="out of range"):
        model.log_prob([0, 4])
    with pytest.raises(InputError, match="out of range"):
        model.conditional([-1])
    for documents in ([], [[]], [[0, 1], [2]]):
        with pytest.raises(InputError, match="more text or a lower order"):
            NGramModel.estimate(documents, FOUR, 3)


def test_a_table_too_large_to_lay_out_is_refused(monkeypatch) -> None:
    forget_dense(monkeypatch)
    with pytest.raises(InputError, match="use a lower order"):
        _ = NGramModel.estimate([[0, 1, 2]], FOUR, 2).table


# --- tables in files ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(markov_texts) -> NGramModel:
    about = {"corpus": "markov", "corpus_hash": "abc"}
    return NGramModel.estimate(
        markov_texts(6, [300, 1, 0, 200], 7), Alphabet("abcdef", "six"), 3, about
    )


@pytest.fixture(scope="module")
def stored(model, tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("table") / "six.npz"
    model.save(path)
    return path.read_bytes()


def test_round_trip_is_bit_identical(model, stored, tmp_path) -> None:
    for name in ("a.npz", "b.npz"):
        model.save(tmp_path / name)
        assert (tmp_path / name).read_bytes() == stored
    with zipfile.ZipFile(io.BytesIO(stored)) as file:
        assert {member.date_time for member in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    again = load_ngram(tmp_path / "a.npz")
    assert again.hash == model.hash
    assert again.alphabet == model.alphabet
    assert again.alphabet.name == "six"
    assert again.provenance == model.provenance
    np.testing.assert_array_equal(again.table, model.table)
    again.save(tmp_path / "c.npz")
    assert (tmp_path / "c.npz").read_bytes() == stored


def test_provenance(model) -> None:
    about = dict(model.provenance)
    assert about.pop("discounts") == [round(d, 6) for d in discounts(model.counts.counts)]
    assert about == {
        "corpus": "markov",
        "corpus_hash": "abc",
        "documents": 4,
        "symbols": 501,
        "smoothing": "interpolated modified Kneser-Ney",
    }


def test_hash_tells_models_apart(model, markov_texts) -> None:
    documents = markov_texts(6, [300, 1, 0, 200], 7)
    same = NGramModel.estimate(documents, Alphabet("abcdef"), 3)
    assert same.hash == model.hash  # neither names nor provenance count
    others = [
        NGramModel.estimate(documents, Alphabet("abcdef"), 2),
        NGramModel.estimate(documents, Alphabet("abcdeg"), 3),
        NGramModel.estimate([*documents, [0, 1, 2]], Alphabet("abcdef"), 3),
    ]
    assert len({m.hash for m in (model, *others)}) == 4


def check_damaged(data: bytes, model: NGramModel, path) -> bool:
    """A damaged file is refused, unless the damage is where no reader looks."""
    path.write_bytes(data)
    try:
        loaded = NGramModel.load(path)
    except InputError:
        return True
    assert loaded.hash == model.hash
    return False


def test_flipped_bits(model, stored, tmp_path) -> None:
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        data = bytearray(stored)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        refused += check_damaged(bytes(data), model, tmp_path / "t.npz")
    assert refused > 200


def test_damaged_directory(model, stored, tmp_path) -> None:
    """Flags and compression methods that send the reader of zip files down its rarer ways."""
    entry = stored.index(b"PK\x01\x02")
    for flag in range(16):
        data = bytearray(stored)
        data[entry + 8 + flag // 8] ^= 1 << flag % 8
        check_damaged(bytes(data), model, tmp_path / "t.npz")
    for method in (0, 9, 12, 14, 99):
        data = bytearray(stored)
        data[entry + 10] = method
        assert check_damaged(bytes(data), model, tmp_path / "t.npz")


def test_truncated_files(model, stored, tmp_path) -> None:
    for length in range(0, len(stored), len(stored) // 60):
        assert check_damaged(stored[:length], model, tmp_path / "t.npz")


@pytest.mark.parametrize(
    "content",
    [b"", b"text", b"\x80\x04.", b"\\data\\\n", np.random.default_rng(0).bytes(3000)],
    ids=["empty", "text", "pickle", "arpa", "noise"],
)
def test_other_kinds_of_file(content, tmp_path) -> None:
    (tmp_path / "t.npz").write_bytes(content)
    with pytest.raises(InputError, match="damaged or no n-gram table"):
        load_ngram(tmp_path / "t.npz")


def rewritten(stored: bytes, path, meta=None, without=None, **changes) -> None:
    """Write a well-formed file with other content."""
    with np.load(io.BytesIO(stored)) as file:
        content = dict(file)
    about = {**json.loads(content["meta"].tobytes()), **(meta or {})}
    content["meta"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    content = {k: changes.get(k, v) for k, v in content.items() if k != without}
    np.savez_compressed(path, **content)


@pytest.mark.parametrize(
    ("meta", "says"),
    [
        ({"version": 2}, "version 2"),
        ({"version": "1"}, "version 1"),
        ({"format": "weights"}, "not an n-gram table"),
        ({"order": 0}, "1 to 6"),
        ({"order": 99}, "1 to 6"),
        ({"order": 2}, "damaged"),
        ({"order": None}, "damaged"),
        ({"symbols": "abcde"}, "damaged"),
        ({"symbols": "aabcde"}, "repeats"),
        ({"provenance": 3}, "damaged"),
    ],
)
def test_well_formed_files_with_other_facts(meta, says, stored, tmp_path) -> None:
    rewritten(stored, tmp_path / "same.npz")
    load_ngram(tmp_path / "same.npz")
    rewritten(stored, tmp_path / "t.npz", meta)
    with pytest.raises(InputError, match=says):
        load_ngram(tmp_path / "t.npz")


@pytest.mark.parametrize(
    "changes",
    [
        {"without": "counts"},
        {"without": "meta"},
        {"counts": np.zeros((1, 0), np.uint8)},
        {"gaps": np.zeros((1, 0), np.uint8), "counts": np.zeros((1, 0), np.uint8)},
        {"gaps": np.full((1, 9), 255, np.uint8), "counts": np.ones((1, 9), np.uint8)},
        {"gaps": np.zeros((1, 9), np.uint8), "counts": np.ones((1, 9), np.uint8)},
        {"gaps": np.ones((1, 9), np.uint8), "counts": np.zeros((1, 9), np.uint8)},
        {"heads": np.full(9, 77, np.uint8)},
        {"head_lengths": np.array([100])},
    ],
)
def test_well_formed_files_with_impossible_counts(changes, stored, tmp_path) -> None:
    rewritten(stored, tmp_path / "t.npz", **changes)
    with pytest.raises(InputError, match="damaged"):
        load_ngram(tmp_path / "t.npz")


def test_other_archives(tmp_path) -> None:
    np.savez(tmp_path / "t.npz", table=np.zeros(3))
    with pytest.raises(InputError, match="damaged or no n-gram table"):
        load_ngram(tmp_path / "t.npz")
    np.save(tmp_path / "t.npy", np.zeros(3))
    with pytest.raises(InputError):
        load_ngram(tmp_path / "t.npy")


def test_missing_tables_and_unwritable_paths(model, tmp_path) -> None:
    with pytest.raises(InputError, match=r"letters, letters-space"):
        load_ngram(tmp_path / "none.npz")
    with pytest.raises(InputError):
        load_ngram(tmp_path)
    (tmp_path / "file").write_text("")
    for write in (model.save, model.to_arpa):
        with pytest.raises(InputError, match="cannot write"):
            write(tmp_path / "file" / "t.npz")


def test_a_table_over_another_alphabet(stored, tmp_path) -> None:
    (tmp_path / "t.npz").write_bytes(stored)
    with pytest.raises(InputError, match="over the alphabet six, not letters"):
        load_ngram(tmp_path / "t.npz", LETTERS)
    with pytest.raises(InputError, match="letters-space"):
        load_ngram("letters", LETTERS_SPACE)


# --- ARPA ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "alphabet"),
    [
        *product((1, 2, 3, 4), (Alphabet("abcdefg"), LETTERS_SPACE)),
        *product((1, 2, 3), (ASCII,)),
    ],
)
def test_arpa_round_trip(order, alphabet, passage, markov_texts, tmp_path) -> None:
    if alphabet.size == 7:
        documents = markov_texts(6, [300, 100], seed=order)
    else:
        documents = [alphabet.encode(passage)]
    model = NGramModel.estimate(documents, alphabet, order)
    path = tmp_path / "t.arpa"
    model.to_arpa(path)
    again = load_ngram(path, alphabet)
    assert again.order == order
    text = np.random.default_rng(1).integers(0, alphabet.size, 200)
    for ids in (text, documents[0][:200]):
        ours, theirs = model.log_prob(ids), again.log_prob(ids)
        np.testing.assert_allclose(theirs[order - 1 :], ours[order - 1 :], atol=1e-5)
        np.testing.assert_array_less(theirs, 0)
    # At the start of a text the lower Kneser-Ney orders stand in for those of true counts.
    for k in range(order - 1):
        assert again.starts[k] is again.levels[k]
        assert abs(again.conditional(documents[0][:k]).sum() - 1) < 1e-4


def independent_arpa(text):
    """A reader of ARPA as the format is described, with words in tuples and base-10 logarithms."""
    tables, k = {}, 0
    for line in text.splitlines():
        if line.startswith("\\") and line.endswith("-grams:"):
            k = int(line[1:-7])
        elif k and line and not line.startswith("\\"):
            p, words, *backoff = line.split("\t")
            tables[tuple(words.split(" "))] = (float(p), float(backoff[0]) if backoff else 0.0)
    return tables


def back_off(tables, gram):
    if gram in tables:
        return tables[gram][0]
    return tables.get(gram[:-1], (0, 0.0))[1] + back_off(tables, gram[1:])


def test_arpa_says_what_the_model_says_to_any_reader(passage, tmp_path) -> None:
    ids = LETTERS_SPACE.encode(passage)
    model = NGramModel.estimate([ids], LETTERS_SPACE, 3)
    model.to_arpa(tmp_path / "t.arpa")
    text = (tmp_path / "t.arpa").read_text()
    tables = independent_arpa(text)
    assert text.startswith("\\data\\\nngram 1=28\n")
    assert text.endswith("\\end\\\n")
    for k in (1, 2, 3):
        assert f"ngram {k}={sum(len(gram) == k for gram in tables)}\n" in text
    assert ("t", "<space>", "t") in tables or ("d", "<space>", "t") in tables
    words = ["<space>" if s == " " else s for s in LETTERS_SPACE.decode(ids) + "qqz jx"]
    scores = model.log_prob(LETTERS_SPACE.encode(LETTERS_SPACE.decode(ids) + "qqz jx"))
    for i in range(2, len(words)):
        expected = back_off(tables, tuple(words[i - 2 : i + 1])) * np.log(10)
        assert scores[i] == pytest.approx(expected, abs=1e-5)


GOOD_ARPA = """\
\\data\\
ngram 1=4
ngram 2=2

\\1-grams:
-99\t<s>\t-0.2
-0.3\ta\t-0.1
-0.5\tb
-0.9\tc

\\2-grams:
-0.2\t<s> a
-0.4\ta b

\\end\\
"""
ABC = Alphabet("abc")


def test_arpa_by_hand(tmp_path) -> None:
    path = tmp_path / "t.arpa"
    for text in (GOOD_ARPA, GOOD_ARPA.replace("\n", "\r\n")):
        path.write_text(text, newline="")
        model = NGramModel.from_arpa(path, ABC)
        scores = model.log_prob([0, 1, 2, 0, 0]) / np.log(10)
        np.testing.assert_allclose(scores, [-0.3, -0.4, -0.9, -0.3, -0.1 - 0.3], atol=1e-6)
    with pytest.raises(InputError, match="to_arpa"):
        model.save(tmp_path / "t.npz")
    with pytest.raises(InputError, match="over which alphabet"):
        load_ngram(path)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("\\end\\", "", "no complete ARPA"),
        ("\\data\\", "", "no complete ARPA"),
        (GOOD_ARPA, "", "no complete ARPA"),
        (GOOD_ARPA, "\\data\\\n\\end\\\n", "no complete ARPA"),
        ("-0.5\tb", "-0.5 b", "line 8 is not ARPA"),
        ("-0.5\tb", "x\tb", "line 8 is not ARPA"),
        ("-0.3\ta\t-0.1", "-0.3\ta\tx", "line 7 is not ARPA"),
        ("-0.5\tb\n", "", "lacks some symbols"),
        ("-0.5\tb", "-0.5\tz", "no symbol of the alphabet"),
        ("-0.5\tb", "-0.5\tb a", "no 1-gram"),
        ("-0.4\ta b", "-0.4\ta", "no 2-gram"),
        ("\\2-grams:", "\\3-grams:", "not ARPA"),
        ("-0.5\tb", "nan\tb", "no probability"),
        ("-0.5\tb", "-inf\tb", "no probability"),
        ("-0.5\tb", "0.5\tb", "no probability"),
        ("-0.5\tb", "-0.5\tb\tinf", "no probability"),
        ("-0.5\tb", "-0.5\tb\0", "binary"),
    ],
)
def test_malformed_arpa(old, new, says, tmp_path) -> None:
    path = tmp_path / "t.arpa"
    assert old in GOOD_ARPA
    path.write_text(GOOD_ARPA.replace(old, new))
    with pytest.raises(InputError, match=says):
        NGramModel.from_arpa(path, ABC)


def test_arpa_of_too_high_an_order(tmp_path) -> None:
    sections = "".join(
        f"\\{k}-grams:\n" + "".join(f"-1\t{' '.join(gram)}\n" for gram in product("ab", repeat=k))
        for k in range(1, 8)
    )
    (tmp_path / "t.arpa").write_text(f"\\data\\\n{sections}\\end\\\n")
    with pytest.raises(InputError, match="1 to 6"):
        NGramModel.from_arpa(tmp_path / "t.arpa", Alphabet("ab"))


@given(st.binary(max_size=300), st.integers(0, len(GOOD_ARPA)), st.integers(0, 40))
def test_noise_in_arpa(tmp_path_factory, noise, place, dropped) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.arpa"
    good = GOOD_ARPA.encode()
    path.write_bytes(good[:place] + noise + good[place + dropped :])
    try:
        model = NGramModel.from_arpa(path, ABC)
    except InputError:
        return
    assert np.isfinite(model.log_prob([0, 1, 2])).all()


def test_typical_scores_are_those_of_the_training_text() -> None:
    """Mean and variance over the n-grams that were counted, each weighed by its count."""
    ids = LETTERS.encode("the quick brown fox jumps over the lazy dog and the other dog " * 3)
    model = NGramModel.estimate([ids], LETTERS, 3)
    scores = model.log_prob(ids)[2:]
    assert model.typical == pytest.approx((scores.mean(), scores.var()), abs=1e-5)
