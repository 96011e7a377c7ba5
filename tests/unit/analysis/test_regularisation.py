from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

import analysis.regularisation as regularisation
from analysis.figures import plot_regularisation
from analysis.perplexity import mean_interval
from analysis.reasoning import make_tasks
from analysis.regularisation import (
    ALL,
    CIPHER,
    EARLY,
    ENGLISH,
    LATE,
    MISSPELT,
    Outcome,
    as_read,
    changed_texts,
    derangements,
    main,
    measure,
    misspell,
    misspell_word,
    outcome_frame,
    partial_keys,
    readings,
    summary_frame,
)
from ciphers import LETTERS, LETTERS_SPACE, Alphabet, InputError, cryptograms, load_corpus
from decipher.lexinvariant.checkpoint import save
from decipher.lexinvariant.model import Config, Transformer

V, MARK = LETTERS_SPACE.size, 26
FIVE = Alphabet("abcd ", "first-5")
SIZES = {"layers": 1, "heads": 1, "width": 8, "hidden": 8, "context": 128, "vector_width": 8}
#: False alarms of each statistical test, if its seed were not fixed.
ALPHA = 1e-6


def transformer(p=0.5, embedding="mixed", alphabet=LETTERS_SPACE, **sizes) -> Transformer:
    model = Transformer(Config(embedding, **SIZES | sizes, random_share=p), alphabet)
    model.initialise(torch.Generator().manual_seed(0))
    return model.eval()


class Unigram(Transformer):
    """Knows symbols by one entry of their vectors; in the table that is how frequent they are."""

    def __init__(self, texts) -> None:
        super().__init__(Config("mixed", **SIZES), LETTERS_SPACE)
        counts = np.bincount(texts.ravel(), minlength=V) + 1
        with torch.no_grad():
            self.table[:, 0] = torch.tensor(np.log(counts / counts.sum()))

    def log_conditionals(self, tokens, generator=None, vectors=None):
        vectors = self.draw_vectors(len(tokens), generator)
        p = vectors[:, None, :, 0].log_softmax(dim=-1)
        return p.expand(-1, tokens.shape[1] + 1, -1).detach()


class Counting(Transformer):
    """Its loss is the position, in bits."""

    def __init__(self) -> None:
        super().__init__(Config("mixed", **SIZES), LETTERS_SPACE)

    def loss_by_position(self, tokens, generator=None, vectors=None):
        return math.log(2) * torch.arange(tokens.shape[1]).expand(tokens.shape)


@pytest.fixture(autouse=True)
def few_tasks(monkeypatch) -> None:
    monkeypatch.setattr(regularisation, "TASKS", make_tasks([2, 5], [2], [1]))


@pytest.fixture(scope="module")
def english():
    rng = np.random.default_rng(0)
    return cryptograms(load_corpus("built-in").test, LETTERS_SPACE, 100, 60, rng).plaintext


# --- partial ciphers ------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [0, 2, 3, 16, 27])
def test_exactly_k_symbols_change(k) -> None:
    keys = partial_keys(V, 200, k, np.random.default_rng(0))
    assert keys.dtype == np.uint8
    assert (np.sort(keys, axis=1) == np.arange(V)).all()
    assert ((keys != np.arange(V)).sum(axis=1) == k).all()


def test_what_is_swapped_at_one_k_is_swapped_at_larger_ones() -> None:
    few, many = (partial_keys(V, 100, k, np.random.default_rng(1)) != np.arange(V) for k in (4, 9))
    assert (many | ~few).all()


@pytest.mark.parametrize(("size", "k", "keys"), [(5, 3, 20), (4, 4, 9), (6, 2, 15)])
def test_keys_are_uniform(size, k, keys) -> None:
    drawn = partial_keys(size, 400 * keys, k, np.random.default_rng(2))
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(counts) == keys
    assert stats.chisquare(counts).pvalue > ALPHA


def test_derangements_are_uniform() -> None:
    drawn = derangements(5, 20_000, np.random.default_rng(3))
    assert (drawn != np.arange(5)).all()
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(counts) == 44
    assert stats.chisquare(counts).pvalue > ALPHA


@pytest.mark.parametrize("k", [1, 28, -1])
def test_numbers_that_no_key_swaps(k) -> None:
    with pytest.raises(InputError, match=f"no key swaps {k} of 27 symbols"):
        partial_keys(V, 3, k, np.random.default_rng())


# --- typos ----------------------------------------------------------------------------------------


def kind(word, typed) -> str:
    """Which of the four edits makes one of the other; fails where none does."""
    n = len(word)
    if len(typed) == n:
        differ = [i for i in range(n) if word[i] != typed[i]]
        if len(differ) == 1:
            return "substitution"
        i, j = differ
        assert j == i + 1
        assert (typed[i], typed[j]) == (word[j], word[i])
        return "transposition"
    shorter, longer = sorted((word, typed), key=len)
    assert len(longer) == len(shorter) + 1
    assert shorter in [longer[:i] + longer[i + 1 :] for i in range(len(longer))]
    return "deletion" if len(typed) < n else "insertion"


def test_every_typo_is_one_edit_and_each_is_as_likely() -> None:
    rng, word = np.random.default_rng(4), [0, 1, 2, 3, 4]
    typos = [misspell_word(word, list(range(26)), rng) for _ in range(8000)]
    kinds = [kind(word, typo) for typo in typos]
    assert {*kinds} == {*regularisation.EDITS}
    assert stats.chisquare(np.unique(kinds, return_counts=True)[1]).pvalue > ALPHA
    assert word == [0, 1, 2, 3, 4]
    for edit, of_edit in (("substitution", 5 * 25), ("deletion", 5), ("transposition", 4)):
        drawn = [tuple(t) for t, k in zip(typos, kinds, strict=True) if k == edit]
        _, counts = np.unique(drawn, axis=0, return_counts=True)
        assert len(counts) == of_edit  # every place, the first letter's too
        assert stats.chisquare(counts).pvalue > ALPHA
    inserted = [t for t, k in zip(typos, kinds, strict=True) if k == "insertion"]
    new = [next(iter(set(t) - set(word))) for t in inserted if len({*t}) == 6]
    assert stats.chisquare(np.bincount(new)[5:]).pvalue > ALPHA
    places = [t.index(s) for t, s in zip([t for t in inserted if len({*t}) == 6], new, strict=True)]
    assert stats.chisquare(np.bincount(places, minlength=6)).pvalue > ALPHA


def test_every_typo_changes_a_word_of_one_letter_throughout() -> None:
    rng = np.random.default_rng(5)
    kinds = {kind([7, 7, 7], misspell_word([7, 7, 7], [6, 7, 8], rng)) for _ in range(200)}
    assert kinds == {"substitution", "deletion", "insertion"}


def words(ids) -> list[str]:
    return LETTERS_SPACE.decode(ids).split(" ")


@pytest.mark.parametrize("rate", [0.0, 0.2, 1.0])
def test_words_that_were_left_alone_are_where_the_places_say(english, rate) -> None:
    """Each word of the clean text against that of the misspelt one: one edit, or in its place."""
    typed, places = misspell(english, LETTERS_SPACE, rate, np.random.default_rng(6))
    assert typed.shape == places.shape == english.shape
    assert typed.dtype == np.uint8
    misspelt = long = 0
    for before, after, where in zip(english, typed, places, strict=True):
        kept = where >= 0
        np.testing.assert_array_equal(after[where[kept]], before[kept])
        assert (np.diff(where[kept]) > 0).all()
        at, written = 0, 0
        for one, other in zip(words(before), words(after), strict=False):
            of_word = where[at : at + len(one) + 1]  # with the space behind it
            if one == other and written + len(one) < len(after):
                inside = of_word[of_word >= 0]
                np.testing.assert_array_equal(inside, written + np.arange(len(inside)))
                assert len(inside) == len(of_word) or written + len(one) + 1 > len(after)
            elif written + len(one) + 1 < len(after):  # not cut
                assert (of_word == -1).all()
                assert len(one) >= 3
                kind(one, other)
                misspelt += 1
            long += len(one) >= 3 and written + len(one) + 1 < len(after)
            at, written = at + len(one) + 1, written + len(other) + 1
    assert stats.binomtest(misspelt, long, rate).pvalue > ALPHA
    assert long > 500


def test_texts_that_grow_are_cut_and_texts_that_shrink_are_filled() -> None:
    text = np.tile(LETTERS_SPACE.encode("i see abc it"), (300, 1)).astype(np.uint8)
    typed, places = misspell(text, LETTERS_SPACE, 1.0, np.random.default_rng(7))
    lengths = set()
    for row, where in zip(typed, places, strict=True):
        one, two, three, *rest = words(row)
        lengths.add(len(two) + len(three) - 6)
        whole = f"i {two} {three} it"[:12].ljust(12)
        assert LETTERS_SPACE.decode(row) == whole
        assert one == "i"
        assert where[:2].tolist() == [0, 1]
        assert (where[2:10] == -1).all()
        last = np.arange(10, 12) + len(two) + len(three) - 6
        np.testing.assert_array_equal(where[10:], np.where(last < 12, last, -1))
        assert len(rest) >= 1 or len(two) + len(three) == 8
    assert lengths == {-2, -1, 0, 1, 2}


def test_a_higher_rate_keeps_the_typos_of_a_lower_one(english) -> None:
    low, high, all_of_them = (
        misspell(english, LETTERS_SPACE, rate, np.random.default_rng(8))[1]
        for rate in (0.1, 0.3, 1)
    )
    last = -20  # what is cut off at the end depends on the lengths
    assert ((low < 0) <= (high < 0))[:, :last].all()
    assert ((high < 0) <= (all_of_them < 0))[:, :last].all()


def test_texts_without_words() -> None:
    with pytest.raises(InputError, match="no words to misspell"):
        misspell(np.zeros((1, 5), dtype=np.uint8), LETTERS, 0.1, np.random.default_rng())
    with pytest.raises(InputError, match="from 0 to 1"):
        misspell(np.zeros((1, 5), dtype=np.uint8), FIVE, 1.5, np.random.default_rng())
    text = LETTERS_SPACE.encode("no word without typos")[None]
    with pytest.raises(InputError, match="leave a text none to measure on"):
        changed_texts(text, LETTERS_SPACE, (), (1.0,), 0)


# --- readings -------------------------------------------------------------------------------------


def test_readings_of_one_model(english) -> None:
    tokens, model = torch.tensor(english[:4]), transformer(0.3)
    same = torch.Generator().manual_seed(1)
    learned = as_read(model, "learned").loss_by_position(tokens)
    by_table = model.loss_by_position(tokens, vectors=model.table.expand(4, V, -1))
    assert torch.equal(learned, by_table)
    fresh = as_read(model, "fresh").loss_by_position(tokens, same)
    alone = model.lexinvariant().loss_by_position(tokens, same.manual_seed(1))
    assert torch.equal(fresh, alone)
    assert model.config.random_share == 0.3
    assert readings(model) == readings(transformer(0)) == ("learned", "fresh")
    assert readings(transformer(1)) == readings(transformer(0, "lexinvariant")) == ("fresh",)
    standard = transformer(0.5, "learned")
    assert torch.equal(as_read(standard, "learned").loss_by_position(tokens), by_table)
    assert torch.equal(
        as_read(standard, "fresh").loss_by_position(tokens, same.manual_seed(1)), alone
    )


def values(outcomes, reading, measure, setting=0.0, band=ALL):
    (found,) = [
        each.values
        for each in outcomes
        if (each.reading, each.measure, each.setting, each.band)
        == (reading, measure, setting, band)
    ]
    return found


def test_fresh_vectors_make_no_difference_between_keys(english) -> None:
    """Over many draws, a text and its encryption cost the same: were that not so for learned
    vectors, the test could see nothing. And `measure` says so for every k."""
    texts = np.tile(english, (20, 1))
    model = Unigram(english)
    for k in (4, 16, 27):
        ((_, _, encrypted, _),) = changed_texts(texts, LETTERS_SPACE, (k,), (), 0)
        for reading in ("fresh", "learned"):
            read = as_read(model, reading)
            plain, cipher = (
                read.loss_by_position(torch.tensor(of), torch.Generator().manual_seed(seed)).mean(1)
                for of, seed in ((texts, 1), (encrypted, 2))
            )
            same = stats.ttest_ind(plain.numpy(), cipher.numpy()).pvalue > ALPHA
            assert same == (reading == "fresh")
    found = measure({"m": model}, english, (0, 4, 27), (), 0, progress=False)
    clean = values(found, "fresh", ENGLISH)
    for k in (0, 4, 27):
        np.testing.assert_array_equal(values(found, "fresh", CIPHER, k), clean)
        assert (values(found, "fresh", f"{CIPHER}, cost", k) == 0).all()


def test_losses_of_changed_texts(english) -> None:
    model = Unigram(english)
    found = measure({"m": model}, english, (0, 8), (0.0,), 0, seed=3, progress=False)
    learned = as_read(model, "learned")
    (_, eight, _) = changed_texts(english, LETTERS_SPACE, (0, 8), (0.0,), 3)
    bits, of_eight = (
        learned.loss_by_position(torch.tensor(texts)).numpy() / math.log(2)
        for texts in (english, eight.texts)
    )
    for band, within in ((ALL, slice(100)), (EARLY, slice(25)), (LATE, slice(50, 100))):
        expected = bits[:, within].mean(axis=1)
        cost = of_eight[:, within].mean(axis=1) - expected
        for name, k, of in (
            (ENGLISH, 0, expected),
            (CIPHER, 0, expected),
            (CIPHER, 8, expected + cost),
            (f"{CIPHER}, cost", 8, cost),
            (MISSPELT, 0, expected),
            (f"{MISSPELT}, cost", 0, 0 * cost),
        ):
            np.testing.assert_allclose(values(found, "learned", name, k, band), of, atol=1e-6)


def test_costs_of_typos_are_of_words_without_one(english) -> None:
    found = measure({"m": Counting()}, english, (), (0.4,), 0, seed=2, progress=False)
    (misspelt,) = changed_texts(english, LETTERS_SPACE, (), (0.4,), 2)
    places = misspelt.places
    assert 0.3 < (places >= 0).mean() < 0.9
    for i, where in enumerate(places):
        kept = np.flatnonzero(where >= 0)
        assert values(found, "learned", MISSPELT, 0.4)[i] == pytest.approx(where[kept].mean())
        moved = (where[kept] - kept).mean()  # by letters that others got or lost
        cost = values(found, "learned", f"{MISSPELT}, cost", 0.4)[i]
        assert cost == pytest.approx(moved, abs=1e-5)
    assert (values(found, "learned", f"{MISSPELT}, cost", 0.4) != 0).mean() > 0.5


def test_answers_are_means_over_settings(english) -> None:
    model = transformer(0.3)
    found = measure({"m": model}, english[:2], (), (), 12, seed=5, progress=False)
    for reading in ("learned", "fresh"):
        scores = regularisation.reasoning.measure(
            {"m": as_read(model, reading)},
            regularisation.TASKS,
            12,
            seed=5,
            copying=False,
            progress=False,
        )
        for name, settings in (("LookUp", 2), ("Permutation", 1)):
            right = [each.right.all(axis=1) for each in scores if each.task.name == name]
            assert len(right) == settings
            np.testing.assert_allclose(values(found, reading, name), np.mean(right, axis=0))
    guess = next(each.guess for each in found if each.measure == "Permutation")
    assert guess == 0.5


def test_results_depend_on_the_seed_and_on_nothing_beside(english) -> None:
    one, texts = transformer(0.3), english[:3]
    alone = measure({"m": one}, texts, (8,), (0.3,), 2, progress=False)
    models = {"x": transformer(0), "m": one, "y": transformer(1)}
    beside = measure(models, texts, (2, 8), (0.1, 0.3), 2, progress=False)
    assert [each.model for each in beside if each.model != "m"]
    for each in alone:
        (same,) = [
            other
            for other in beside
            if other.model == "m"
            and (other.reading, other.measure, other.setting, other.band)
            == (each.reading, each.measure, each.setting, each.band)
        ]
        np.testing.assert_array_equal(same.values, each.values)
    other = measure({"m": one}, texts, (8,), (0.3,), 2, seed=1, progress=False)
    for what in (("fresh", ENGLISH), ("learned", CIPHER, 8), ("learned", MISSPELT, 0.3)):
        assert (values(other, *what) != values(alone, *what)).any()
    assert {each.reading for each in beside if each.model == "y"} == {"fresh"}


def test_what_cannot_be_measured(english) -> None:
    model = transformer()
    for changed, says in [
        ({"models": {}}, "no model"),
        ({"texts": english[:0]}, "no text"),
        ({"models": {"a": model, "b": transformer(0.2, alphabet=FIVE)}}, "one alphabet"),
        ({"models": {"a": model, "b": transformer()}}, "a and b both have p = 0.5"),
        ({"models": {"a": transformer(0.2, "hinted")}}, "reads by hints"),
        (
            {"texts": np.tile(english, 2)},
            "reads at most 128 symbols, and texts or prompts have 200",
        ),
        (
            {"models": {"a": transformer(context=16)}, "texts": english[:, :16], "prompts": 2},
            "have 17",
        ),
        ({"models": {"a": transformer(alphabet=FIVE)}, "prompts": 1}, "take fewer"),
        ({"swapped": (1,)}, "no key swaps 1 of 27"),
        ({"swapped": (2, 2)}, "2 swapped symbols are asked for 2 times"),
        ({"typos": (0.1, 0.1)}, "0.1 typos are asked for 2 times"),
        ({"prompts": -1}, "-1 prompts"),
    ]:
        given = {"models": {"a": model}, "texts": english, "swapped": (), "typos": (), "prompts": 0}
        with pytest.raises(InputError, match=says):
            measure(**given | changed)


# --- summing up -----------------------------------------------------------------------------------


def outcomes(model, p, reading, *rows) -> list[Outcome]:
    return [
        Outcome(model, p, reading, name, setting, band, np.array(bits, dtype=float))
        for name, setting, band, bits in rows
    ]


STANDARD = outcomes(
    "s", 0.0, "learned",
    (ENGLISH, 0, ALL, [1, 3]), (ENGLISH, 0, LATE, [1, 2]),
    (CIPHER, 0, ALL, [1, 3]), (CIPHER, 2, ALL, [2, 5]), (CIPHER, 8, ALL, [4, 7]),
)  # fmt: skip
MIXED = outcomes(
    "m", 0.5, "learned",
    (ENGLISH, 0, ALL, [2, 4]), (ENGLISH, 0, LATE, [1, 4]),
    (CIPHER, 0, ALL, [2, 4]), (CIPHER, 2, ALL, [2, 4]), (CIPHER, 8, ALL, [3, 6]),
)  # fmt: skip
GUESS = Outcome("m", 0.5, "fresh", "LookUp", 0, ALL, np.array([0.0, 1.0, 1.0]), 0.2)
FRESH = outcomes("m", 0.5, "fresh", (ENGLISH, 0, ALL, [5, 5]), (ENGLISH, 0, LATE, [5, 5]))


def test_means_and_changes() -> None:
    frame = outcome_frame([*STANDARD, *MIXED, GUESS])
    assert frame["value"].tolist()[:3] == [2, 1.5, 2]
    assert (frame["change"][:5] == 0).all()
    of_mixed = frame[frame["model"] == "m"].reset_index()
    assert of_mixed["change"].tolist()[:5] == [1, 1, 1, -0.5, -1]
    # Paired: every text is dearer by as much, and the interval has no width.
    assert of_mixed.loc[0, ["change_low", "change_high"]].tolist() == [1, 1]
    assert of_mixed.loc[1, ["low", "high"]].tolist() == pytest.approx(
        mean_interval(np.array([1.0, 4.0]))[1:]
    )
    assert of_mixed["guess"].tolist()[5] == 0.2
    assert of_mixed["change"].isna().tolist() == [False] * 5 + [True]
    assert of_mixed["texts"].tolist() == [2] * 5 + [3]


def test_summary() -> None:
    frame = summary_frame([*STANDARD, *MIXED, *FRESH, GUESS]).set_index(["p", "reading"])
    assert frame.index.tolist() == [(0, "learned"), (0.5, "learned"), (0.5, "fresh")]
    assert frame["perplexity"].tolist() == [4, 8, 32]
    assert frame["late_perplexity"].tolist()[:1] == [2**1.5]
    assert frame["cipher_bits"].tolist()[:2] == [4.5, 3.75]  # without the clean text
    assert frame["cipher_bits_change"].tolist()[:2] == [0, -0.75]
    assert frame["bits_change"].tolist() == [0, 1, 3]  # the base is p = 0 with learned vectors
    low, high = mean_interval(np.array([-0.5, -1.0]))[1:]
    ends = frame.loc[(0.5, "learned"), ["cipher_bits_change_low", "cipher_bits_change_high"]]
    assert ends.tolist() == pytest.approx([low, high])
    assert frame["lookup"].isna().tolist() == [True, True, False]
    assert frame["lookup_guess"].tolist()[2] == 0.2
    assert frame["lookup_change"].isna().all()
    assert "typo_cost" not in frame
    alone = summary_frame(MIXED)
    assert alone["bits_change"].isna().all()


# --- figure ---------------------------------------------------------------------------------------


def test_figure(english) -> None:
    models = {f"{p}": transformer(p) for p in (0.0, 0.5, 1.0)}
    frame = outcome_frame(measure(models, english[:3], (0, 4, 27), (0, 0.2), 2, progress=False))
    figure = plot_regularisation(frame, corpus="prose")
    english_ax, tasks, cipher, typos = figure.axes
    lines = {line.get_label().split(" (")[0]: line for line in english_ax.get_lines()}
    assert lines["learned vectors"].get_xdata().tolist() == [0, 0.5]
    assert lines["fresh vectors"].get_xdata().tolist() == [0, 0.5, 1]
    first = frame[(frame["measure"] == ENGLISH) & (frame["band"] == ALL)].iloc[0]
    assert lines["learned vectors"].get_ydata()[0] == pytest.approx(2 ** first["value"])
    labels = [line.get_label() for line in tasks.get_lines()]
    assert labels == [
        f"{task}, {what}"
        for task in ("LookUp", "Permutation")
        for what in ("learned", "fresh", "guess")
    ]
    assert [line.get_label() for line in cipher.get_lines()] == [
        "p = 0", "p = 0.5", "p = 1, fresh vectors",
    ]  # fmt: skip
    assert cipher.get_lines()[0].get_xdata().tolist() == [0, 4, 27]
    np.testing.assert_allclose(typos.get_lines()[0].get_xdata(), [0, 20])
    assert len({line.get_color() if isinstance(line.get_color(), str)
                else tuple(line.get_color()) for line in cipher.get_lines()}) == 3  # fmt: skip


def test_figure_of_english_alone(english) -> None:
    frame = outcome_frame(measure({"m": transformer()}, english[:2], (), (), 0, progress=False))
    assert len(plot_regularisation(frame).axes) == 1


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for p in (0.0, 0.5, 1.0):
        model = transformer(p)
        save(model, folder / f"mixed-{round(100 * p)}.safetensors", {"symbols": 7})
    save(transformer(1, "lexinvariant"), folder / "lexinvariant.safetensors", {"symbols": 8})
    save(transformer(0.5, "hinted"), folder / "hinted.safetensors")
    save(transformer(alphabet=FIVE), folder / "five.safetensors")
    save(transformer(alphabet=LETTERS), folder / "letters.safetensors")
    return folder


@pytest.fixture
def here(files, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for path in files.iterdir():
        Path(path.name).symlink_to(path)
    return tmp_path


def status(*argv: str) -> int:
    """The exit code of the command."""
    try:
        return main(argv)
    except SystemExit as stop:
        return int(stop.code or 0)


WEIGHTS = [f"mixed-{percent}.safetensors" for percent in (50, 0, 100)]
SMALL = ["--texts", "4", "--length", "100", "--prompts", "3"]


def test_tables_records_and_figure(here, capsys) -> None:
    assert (
        status("--model", *WEIGHTS, *SMALL, "--swapped", "0", "5", "--typos", "0.1", "--seed", "3")
        == 0
    )
    out, err = capsys.readouterr()
    assert err == ""
    assert "equally many" not in out
    folder = Path("results/regularisation")
    assert {path.name for path in folder.iterdir()} == {
        "regularisation.csv", "regularisation.json", "regularisation.png",
        "summary.csv", "summary.json",
    }  # fmt: skip
    assert (folder / "regularisation.png").read_bytes().startswith(b"\x89PNG")
    table = pd.read_csv(folder / "regularisation.csv")
    assert table.columns.tolist() == [
        "model", "p", "reading", "measure", "setting", "band", "value", "low", "high",
        "change", "change_low", "change_high", "guess", "texts",
    ]  # fmt: skip
    # English, two measures of each of three changes: three bands; and two tasks.
    assert len(table) == 5 * (3 * (1 + 2 * 3) + 2)
    assert table["p"].unique().tolist() == [0, 0.5, 1]
    summary = pd.read_csv(folder / "summary.csv")
    assert summary[["p", "reading"]].to_numpy().tolist() == [
        [0, "learned"], [0, "fresh"], [0.5, "learned"], [0.5, "fresh"], [1, "fresh"],
    ]  # fmt: skip
    assert summary["typo_cost_change"].notna().all()
    record = json.loads((folder / "summary.json").read_text())
    assert record["seed"] == 3
    assert record["arguments"]["swapped"] == [0, 5]
    assert record["models"][WEIGHTS[0]]["config"]["random_share"] == 0.5
    assert record["models"][WEIGHTS[0]]["provenance"] == {"symbols": 7}
    assert len(record["corpus"]["hash"]) == 64


def test_parts_can_be_left_out_and_unequal_budgets_are_named(here, capsys) -> None:
    argv = ["--model", "mixed-0.safetensors", "lexinvariant.safetensors", "--swapped", "--typos"]
    assert status(*argv, "--texts", "2", "--length", "50", "--prompts", "0", "--out", "out") == 0
    assert "not trained on equally many symbols" in capsys.readouterr().out
    assert pd.read_csv("out/regularisation.csv")["measure"].unique().tolist() == [ENGLISH]


def test_an_alphabet_without_words(here) -> None:
    argv = ["--model", "letters.safetensors", *SMALL, "--swapped", "26", "--typos", "--out", "out"]
    assert status(*argv) == 0
    assert pd.read_csv("out/summary.csv")["cipher_cost"].notna().all()


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--model", "missing.safetensors"], "missing.safetensors"),
        (["--model", WEIGHTS[0], WEIGHTS[0]], "named 2 times"),
        (["--model", WEIGHTS[0], "five.safetensors"], "one alphabet"),
        (["--model", WEIGHTS[2], "lexinvariant.safetensors"], "both have p = 1"),
        (["--model", "hinted.safetensors"], "reads by hints"),
        (["--model", "letters.safetensors", "--swapped", "2"], "no words to misspell"),
        (["--length", "500"], "reads at most 128"),
        (["--corpus", "nowhere.txt"], "nowhere.txt"),
        (["--texts", "0"], "--texts"),
        (["--swapped", "1"], "no key swaps 1"),
        (["--swapped", "28"], "no key swaps 28"),
        (["--swapped", "2", "2"], "2 times"),
        (["--typos", "0.1", "0.1"], "2 times"),
        (["--typos", "1.1"], "--typos"),
        (["--typos", "some"], "--typos"),
        (["--typos", "1", "--length", "8"], "take fewer typos"),
        (["--prompts", "-1"], "--prompts"),
        (["--seed", "-1"], "--seed"),
        (["--device", "abacus"], "abacus"),
        (["--out", "five.safetensors"], "five.safetensors"),
        (["--bogus"], "--bogus"),
    ],
)
def test_bad_input_is_one_line_before_the_work(here, argv, says, capsys, monkeypatch) -> None:
    monkeypatch.setattr(regularisation, "measure", None)  # the work would fail
    given = [] if "--model" in argv else ["--model", *WEIGHTS[:2]]
    given += [] if "--length" in argv else ["--length", "100"]
    assert status(*given, *argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(("python -m analysis.regularisation: error: ", "python: error: "))
    assert err.count("\n") == 1
    assert says in err
