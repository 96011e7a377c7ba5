from __future__ import annotations

import json
import math
from itertools import permutations as all_orders
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

import analysis.reasoning as reasoning
from analysis.figures import plot_reasoning
from analysis.intervals import wilson_interval
from analysis.reasoning import (
    AVERAGE,
    COPYING,
    LookUp,
    Permutation,
    Scores,
    accuracy_frame,
    copying_answers,
    copying_conditionals,
    draw_prompts,
    main,
    make_tasks,
    measure,
    reasoning_accuracy,
    split_alphabet,
    summary_frame,
    transformer_answers,
)
from ciphers import LETTERS, LETTERS_SPACE, Alphabet, InputError
from decipher.lexinvariant.checkpoint import save
from decipher.lexinvariant.model import Config, Transformer

V, MARK = LETTERS_SPACE.size, 26
FIVE = Alphabet("abcd ", "first-5")
SIZES = {"layers": 1, "heads": 1, "width": 8, "hidden": 8, "context": 60, "vector_width": 8}
#: False alarms of each statistical test, if its seed were not fixed.
ALPHA = 1e-6


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def transformer(embedding="learned", alphabet=LETTERS_SPACE, seed=0) -> Transformer:
    model = Transformer(Config(embedding, **SIZES), alphabet)
    model.initialise(generator(seed))
    return model.eval()


class HandMade(Transformer):
    """Answers by a rule in place of weights."""

    def __init__(self, rule) -> None:
        super().__init__(Config("learned", **SIZES | {"context": 512}), LETTERS_SPACE)
        self.rule = rule

    def log_conditionals(self, tokens, generator=None, vectors=None):
        B, n = tokens.shape
        p = torch.full((B, n + 1, V), 1 / V)
        for row, text in zip(p, tokens.tolist(), strict=True):
            self.rule(row, text)
        return p.log()


def look_up(p, text) -> None:
    """What followed the last symbol where it stood first in a pair."""
    table = {text[i]: text[i + 1] for i in range(1, len(text) - 1, 3)}
    p[-1, table[text[-1]]] = 1.0


def nothing(p, text) -> None:
    pass


# --- prompts --------------------------------------------------------------------------------------


def test_lookup_prompts_list_pairs_and_ask_for_one() -> None:
    texts = draw_prompts(LookUp(5), LETTERS_SPACE, 300, 0)
    assert texts.shape == (300, LookUp(5).symbols) == (300, 18)
    assert texts.dtype == np.uint8
    words = texts.reshape(300, 6, 3)
    assert (words[:, :, 0] == MARK).all()
    assert (words[:, :, 1:] != MARK).all()
    for pairs, (_, key, value) in zip(words[:, :-1], words[:, -1], strict=True):
        table = {k: v for _, k, v in pairs.tolist()}
        assert len(table) == 5  # each key once, so that the answer is settled
        assert table[key] == value


@pytest.mark.parametrize(("length", "examples"), [(2, 1), (3, 2), (4, 3)])
def test_permutation_prompts_keep_to_one_permutation(length, examples) -> None:
    task = Permutation(length, examples)
    texts = draw_prompts(task, LETTERS_SPACE, 300, 0)
    assert texts.shape == (300, task.symbols)
    words = texts.reshape(300, examples + 1, 2, length + 1)
    assert (words[..., 0] == MARK).all()
    assert (words[..., 1:] != MARK).all()
    used = set()
    for strings in words[..., 1:].tolist():
        fits = {
            order
            for order in all_orders(range(length))
            if all([plain[i] for i in order] == permuted for plain, permuted in strings)
        }
        # One example alone must settle it.
        first = [[strings[0][0][i] for i in o] for o in all_orders(range(length))]
        assert first.count(strings[0][1]) == 1
        assert len(fits) == 1
        used |= fits
    assert used == {*all_orders(range(length))} - {tuple(range(length))}


def test_symbols_are_uniform() -> None:
    lookup = draw_prompts(LookUp(6), LETTERS_SPACE, 4000, 1).reshape(4000, 7, 3)
    permutation = draw_prompts(Permutation(3, 2), LETTERS_SPACE, 4000, 1).reshape(4000, 3, 2, 4)
    for drawn in (
        lookup[:, 0, 1],
        lookup[:, 3, 2],
        lookup[:, -1, 1],
        lookup[:, -1, 2],
        permutation[:, 0, 0, 1],
        permutation[:, -1, 1, 2],
    ):
        assert stats.chisquare(np.bincount(drawn, minlength=26)).pvalue > ALPHA
    asked = (lookup[:, :-1, 1] == lookup[:, -1:, 1]).argmax(axis=1)
    assert stats.chisquare(np.bincount(asked, minlength=6)).pvalue > ALPHA
    orders = (permutation[:, 0, 0, None, 1:] == permutation[:, 0, 1, 1:, None]).argmax(axis=2)
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 5
    assert stats.chisquare(counts).pvalue > ALPHA


def test_the_seed_settles_the_prompts_of_a_task() -> None:
    for task in (LookUp(3), Permutation(3, 2)):
        one, same, other = (draw_prompts(task, LETTERS_SPACE, 20, seed) for seed in (5, 5, 6))
        np.testing.assert_array_equal(one, same)
        assert (one != other).any()


def test_the_separator_is_the_space_or_the_last_symbol() -> None:
    assert split_alphabet(Alphabet("a bc"))[0] == 1
    assert split_alphabet(Alphabet("a bc"))[1].tolist() == [0, 2, 3]
    assert split_alphabet(LETTERS)[0] == 25


# --- controls -------------------------------------------------------------------------------------


@pytest.mark.parametrize("pairs", [1, 2, 9, 26])
def test_a_guess_among_the_listed_values(pairs) -> None:
    values = draw_prompts(LookUp(pairs), LETTERS_SPACE, 5000, 2).reshape(5000, -1, 3)[:, :, 2]
    guesses = np.random.default_rng(0).permuted(values[:, :-1], axis=1)[:, 0]
    hits = int((guesses == values[:, -1]).sum())
    assert stats.binomtest(hits, 5000, LookUp(pairs).guess(V).exact).pvalue > ALPHA


@pytest.mark.parametrize("length", [2, 3, 4])
def test_a_guess_of_the_order(length) -> None:
    texts = draw_prompts(Permutation(length, 1), LETTERS_SPACE, 5000, 2)
    string = texts[:, -2 * length - 1 : -length - 1]
    right = np.random.default_rng(0).permuted(string, axis=1) == texts[:, -length:]
    guess = Permutation(length, 1).guess(V)
    assert stats.binomtest(int(right.all(axis=1).sum()), 5000, guess.exact).pvalue > ALPHA
    assert stats.binomtest(int(right[:, 0].sum()), 5000, guess.token).pvalue > ALPHA


def test_chance() -> None:
    assert LookUp(7).chance(V) == (1 / 26, 1 / 26)
    assert Permutation(3, 2).chance(V) == pytest.approx((26**-3, 1 / 26))


def test_copying_conditionals_by_hand() -> None:
    """abab|a: b followed a twice, b followed ba once; V = 3."""
    (p,) = copying_conditionals(np.array([[0, 1, 0, 1, 0]], np.uint8), 3, order=2)
    p0 = (np.array([3, 2, 0]) + 2 / 3) / (5 + 2)
    p1 = (np.array([0, 2, 0]) + 1 * p0) / (2 + 1)
    p2 = (np.array([0, 1, 0]) + 1 * p1) / (1 + 1)
    np.testing.assert_allclose(p, p2)
    assert p.sum() == pytest.approx(1)
    (none,) = copying_conditionals(np.empty((1, 0), np.uint8), 3)
    np.testing.assert_allclose(none, 1 / 3)


def test_copying_backs_off_text_by_text() -> None:
    texts = np.array([[0, 1, 2, 0], [0, 1, 2, 3]], np.uint8)
    p = copying_conditionals(texts, 4)
    for text, row in zip(texts, p, strict=True):
        np.testing.assert_allclose(copying_conditionals(text[None], 4)[0], row)
    assert p[0].argmax() == 1
    np.testing.assert_allclose(p[1], 0.25)  # 3 was followed by nothing, and all occurred once


@pytest.mark.parametrize("pairs", [1, 2, 8, 26])
def test_copying_solves_lookup(pairs) -> None:
    texts = draw_prompts(LookUp(pairs), LETTERS_SPACE, 200, 3)
    np.testing.assert_array_equal(copying_answers(texts, 1, V), texts[:, -1:])


def test_copying_does_not_solve_permutation() -> None:
    texts = draw_prompts(Permutation(3, 8), LETTERS_SPACE, 200, 3)
    right = copying_answers(texts, 3, V) == texts[:, -3:]
    assert right.mean() < Permutation(3, 8).guess(V).token


# --- answers --------------------------------------------------------------------------------------


def test_a_model_that_looks_up_is_always_right() -> None:
    frame = reasoning_accuracy(HandMade(look_up), make_tasks([1, 4, 26], []), prompts=60)
    assert frame["exact"].tolist() == frame["token"].tolist() == [1, 1, 1]
    assert frame["exact_low"].tolist() == [wilson_interval(60, 60)[0]] * 3


def test_a_model_that_knows_nothing_is_right_by_chance() -> None:
    tasks = [LookUp(8), Permutation(2, 3)]
    scores = measure({"u": HandMade(nothing)}, tasks, 3000, copying=False, progress=False)
    for each in scores:
        for place in each.right.T:
            hits = int(place.sum())
            assert stats.binomtest(hits, 3000, each.task.chance(V).token).pvalue > ALPHA


def test_answers_are_what_the_model_would_write() -> None:
    """The whole answer is right by the true symbols before if and only if it is written so."""
    model = transformer("lexinvariant", FIVE)
    texts = np.random.default_rng(0).integers(5, size=(400, 8), dtype=np.uint8)
    answers = transformer_answers(model, texts, 2, generator(4))
    vectors = model.draw_vectors(400, generator(4))  # one batch
    read = torch.tensor(texts[:, :-2])
    for _ in range(2):
        new = model.log_conditionals(read, vectors=vectors)[:, -1:].argmax(dim=-1)
        read = torch.cat([read, new.to(read.dtype)], dim=1)
    written = read[:, -2:].numpy()
    right = (answers == texts[:, -2:]).all(axis=1)
    np.testing.assert_array_equal(right, (written == texts[:, -2:]).all(axis=1))
    assert 0 < right.sum() < 400
    assert (answers != written).any()
    np.testing.assert_array_equal(answers[:, 0], written[:, 0])


def test_prompts_are_read_in_batches(monkeypatch) -> None:
    model, texts = transformer(), draw_prompts(LookUp(4), LETTERS_SPACE, 30, 0)
    whole = transformer_answers(model, texts, 1, generator())
    monkeypatch.setattr(reasoning, "BATCH", 7 * texts.shape[1])
    np.testing.assert_array_equal(transformer_answers(model, texts, 1, generator()), whole)


def test_draws_average_probabilities() -> None:
    model, texts = transformer("lexinvariant", FIVE), draw_prompts(Permutation(2, 2), FIVE, 60, 0)
    same, tokens = generator(9), torch.tensor(texts[:, :-1])
    p = [model.log_conditionals(tokens, same)[:, -2:].exp() for _ in range(3)]
    assert len({tuple(each.argmax(-1).flatten().tolist()) for each in p}) == 3
    answers = transformer_answers(model, texts, 2, generator(9), draws=3)
    np.testing.assert_array_equal(answers, sum(p).argmax(-1).numpy())


def test_the_share_of_random_vectors_of_a_mixed_model() -> None:
    model, texts = transformer("mixed"), draw_prompts(LookUp(4), LETTERS_SPACE, 40, 0)
    by_table = model.log_conditionals(torch.tensor(texts[:, :-1]), vectors=model.table.expand(
        40, V, -1))[:, -1].argmax(-1).numpy()  # fmt: skip
    learned = transformer_answers(model, texts, 1, generator(), draws=5, share=0.0)
    np.testing.assert_array_equal(learned[:, 0], by_table)
    mixed = transformer_answers(model, texts, 1, generator())
    assert (mixed != learned).any()
    with pytest.raises(InputError, match="no learned vectors"):
        transformer_answers(transformer("lexinvariant"), texts, 1, generator(), share=0.5)


def test_results_depend_on_the_seed_and_on_nothing_beside(monkeypatch) -> None:
    one, tasks = transformer("lexinvariant", FIVE), [LookUp(3), Permutation(2, 2)]
    alone = measure({"l": one}, tasks[1:], 50, copying=False)
    models = {"x": transformer("mixed", FIVE), "l": one}
    beside = measure(models, tasks, 50, progress=False)
    assert [(each.model, each.task) for each in beside] == [
        (label, task) for label in ("x", "l", COPYING) for task in tasks
    ]
    np.testing.assert_array_equal(alone[0].right, beside[3].right)
    other = measure({"l": one}, tasks[1:], 50, seed=1, copying=False)
    assert (alone[0].right != other[0].right).any()
    prompts = draw_prompts(tasks[1], FIVE, 50, 0)
    monkeypatch.setattr(reasoning, "draw_prompts", lambda *of: prompts)
    by_vectors = measure({"l": one}, tasks[1:], 50, seed=1, copying=False)
    assert (alone[0].right != by_vectors[0].right).any()


def test_what_cannot_be_measured() -> None:
    model = transformer()
    for changed, says in [
        ({"models": {}}, "no model"),
        ({"tasks": []}, "no task"),
        ({"tasks": [LookUp(2), LookUp(2)]}, r"LookUp \(pairs 2\) is asked 2 times"),
        ({"prompts": 0}, "0 prompts"),
        ({"draws": 0}, "0 draws"),
        ({"models": {COPYING: model}}, "is a control"),
        ({"models": {"a": model, "b": transformer(alphabet=FIVE)}}, "one alphabet"),
        ({"tasks": [LookUp(27)]}, "27 symbols beside the separator"),
        ({"tasks": [Permutation(4, 6)]}, "takes 69 symbols, and a reads at most 60"),
    ]:
        with pytest.raises(InputError, match=says):
            measure(**({"models": {"a": model}, "tasks": [LookUp(2)]} | changed))
    for make, says in [
        (lambda: LookUp(0), "LookUp of 0 pairs"),
        (lambda: Permutation(1, 1), "at least 2 symbols"),
        (lambda: Permutation(2, 0), "at least 1 example"),
        (lambda: LookUp(5).draw(FIVE, 1, np.random.default_rng()), "take fewer"),
    ]:
        with pytest.raises(InputError, match=says):
            make()


# --- summing up -----------------------------------------------------------------------------------


def scores(model: str, lookup, permutation) -> list[Scores]:
    return [
        *(Scores(model, LookUp(n), V, np.array(right)[:, None]) for n, right in lookup.items()),
        Scores(model, Permutation(2, 4), V, np.array(permutation, dtype=bool)),
    ]


T, F = True, False
STANDARD = scores("s", {2: [T, F, F, F], 4: [F, F, F, F]}, [[T, F], [F, F], [F, F], [T, T]])
LEARNER = scores("l", {2: [T, T, T, F], 4: [T, F, F, F]}, [[T, T], [F, T], [T, T], [T, T]])


def test_accuracy_of_each_setting() -> None:
    frame = accuracy_frame([*STANDARD, *LEARNER])
    assert frame["model"].tolist() == ["s"] * 3 + ["l"] * 3
    assert frame["task"].tolist() == ["LookUp", "LookUp", "Permutation"] * 2
    assert frame["pairs"].fillna(0).tolist() == [2, 4, 0] * 2
    assert frame["length"].fillna(0).tolist() == [0, 0, 2] * 2
    assert frame["examples"].fillna(0).tolist() == [0, 0, 4] * 2
    assert frame["exact"].tolist() == [0.25, 0, 0.25, 0.75, 0.25, 0.75]
    assert frame["token"].tolist() == [0.25, 0, 3 / 8, 0.75, 0.25, 7 / 8]
    whole = frame.loc[5, ["exact_low", "exact_high"]]
    np.testing.assert_allclose(whole.astype(float), wilson_interval(3, 4))
    assert frame.loc[5, "token_low"] == 0.625  # a bootstrap of 1, 1/2, 1, 1
    assert frame["guess_exact"].tolist()[:3] == [LookUp(n).guess(V).exact for n in (2, 4)] + [0.5]
    assert frame["chance_exact"].tolist()[1:3] == pytest.approx([1 / 26, 26**-2])


def test_averages_and_ratios() -> None:
    frame = summary_frame([*STANDARD, *LEARNER], "s").set_index(["model", "task"])
    assert frame.index.tolist() == [
        (model, task) for model in ("s", "l") for task in ("LookUp", "Permutation", AVERAGE)
    ]
    assert frame.loc["l", "exact"].tolist() == [0.5, 0.75, 0.625]
    assert frame.loc["l", "token"].tolist() == [0.5, 0.875, 0.6875]
    assert frame.loc["l", "exact_ratio"].tolist() == pytest.approx([4, 3, 0.625 / 0.1875])
    assert frame.loc["l", "token_ratio"].tolist() == pytest.approx([4, 7 / 3, 0.6875 / 0.25])
    assert frame.loc["s", [f"exact_ratio{e}" for e in ("", "_low", "_high")]].to_numpy()[2] == (
        pytest.approx([1, 1, 1])
    )
    assert frame.loc[("l", "LookUp"), "guess_exact"] == pytest.approx(
        (LookUp(2).guess(V).exact + LookUp(4).guess(V).exact) / 2
    )
    assert (frame["exact_low"] <= frame["exact"]).all()
    assert (frame["exact"] <= frame["exact_high"]).all()
    assert frame.loc[("l", "LookUp"), "exact_ratio_high"] == math.inf  # the standard may have none


def test_intervals_of_ratios_hold_their_truth(monkeypatch) -> None:
    """40 pairs of models that are right with probability 0.2 and 0.6: were the intervals what they
    say, more than 10 would miss the ratio of 3 once in a million times."""
    monkeypatch.setattr(reasoning, "RESAMPLES", 299)
    rng, missed = np.random.default_rng(0), 0
    for _ in range(40):
        low, high = (rng.random((150, 1)) < p for p in (0.2, 0.6))
        pair = [Scores("s", LookUp(2), V, low), Scores("l", LookUp(2), V, high)]
        row = summary_frame(pair, "s").iloc[1]
        missed += not row["token_ratio_low"] <= 3 <= row["token_ratio_high"]
    assert stats.binomtest(missed, 40, 0.05, alternative="greater").pvalue > ALPHA


def test_ratios_are_paired() -> None:
    half = np.array([[T], [F]] * 10)
    pair = [Scores(label, LookUp(2), V, half) for label in "sl"]
    row = summary_frame(pair, "s").iloc[1]
    assert row["exact_ratio_low"] == row["exact_ratio_high"] == 1


def test_ratios_without_a_base() -> None:
    frame = summary_frame(LEARNER)
    assert frame[["exact_ratio", "exact_ratio_low", "token_ratio_high"]].isna().all(axis=None)
    never = [Scores("s", LookUp(2), V, np.zeros((4, 1), dtype=bool))]
    always = [Scores("l", LookUp(2), V, np.ones((4, 1), dtype=bool))]
    frame = summary_frame([*never, *always], "s")
    seldom = [Scores("s", LookUp(2), V, np.array([[T], [F], [F], [F]]))]
    assert summary_frame(seldom, "s").loc[0, "exact_ratio_high"] == 1  # 0 over 0 is left out
    assert frame["task"].tolist() == ["LookUp"] * 2  # of one task there is no average
    assert math.isnan(frame.loc[0, "exact_ratio"])
    assert frame.loc[1, "exact_ratio"] == frame.loc[1, "exact_ratio_low"] == math.inf


# --- figure ---------------------------------------------------------------------------------------


def test_figure() -> None:
    frame = accuracy_frame([*STANDARD, *LEARNER])
    figure = plot_reasoning(frame)
    lookup, exact, token = figure.axes
    lines = {line.get_label(): line for line in lookup.get_lines()}
    assert lines["l"].get_xdata().tolist() == [2, 4]
    assert lines["l"].get_ydata().tolist() == [0.75, 0.25]
    assert lines["chance"].get_ydata().tolist() == [1 / 26] * 2
    assert exact.get_lines()[1].get_ydata().tolist() == [0.75]
    assert token.get_lines()[1].get_ydata().tolist() == [7 / 8]
    assert exact.get_xlabel() == token.get_xlabel() == "examples"
    (legend,) = figure.legends
    said = [text.get_text() for text in legend.get_texts()]
    assert said[:2] == ["s", "l"]
    assert len(said) == 4


@pytest.mark.parametrize("task", ["LookUp", "Permutation"])
def test_figure_of_one_task(task) -> None:
    frame = accuracy_frame(STANDARD)
    figure = plot_reasoning(frame[frame["task"] == task])
    assert len(figure.axes) == {"LookUp": 1, "Permutation": 2}[task]


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for embedding in ("learned", "lexinvariant", "mixed"):
        model = transformer(embedding)
        save(model, folder / f"letters-space-{embedding}.safetensors", {"seed": 0})
    save(transformer(alphabet=FIVE), folder / "five.safetensors")
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


WEIGHTS = [f"letters-space-{name}.safetensors" for name in ("learned", "lexinvariant", "mixed")]
SMALL = ["--pairs", "2", "4", "--lengths", "2", "--examples", "1", "3", "--prompts", "8"]


def test_tables_records_and_figure(here, capsys) -> None:
    assert status("--model", *WEIGHTS, *SMALL, "--seed", "3") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert COPYING in out
    folder = Path("results/reasoning")
    assert {path.name for path in folder.iterdir()} == {
        "accuracy.csv", "accuracy.json", "accuracy.png", "summary.csv", "summary.json",
    }  # fmt: skip
    assert (folder / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    accuracy = pd.read_csv(folder / "accuracy.csv")
    models = ["learned", "lexinvariant", "mixed", COPYING]
    assert accuracy["model"].unique().tolist() == models
    assert len(accuracy) == 4 * 4
    assert accuracy["prompts"].unique().tolist() == [8]
    summary = pd.read_csv(folder / "summary.csv").set_index(["model", "task"])
    assert summary.loc[(COPYING, "LookUp"), "exact"] == 1
    assert len(summary) == 4 * 3
    record = json.loads((folder / "summary.json").read_text())
    assert record["seed"] == 3
    assert record["arguments"]["pairs"] == [2, 4]
    assert record["arguments"]["models"]["mixed"] == WEIGHTS[2]
    assert record["models"]["mixed"]["config"]["embedding"] == "lexinvariant"
    assert record["models"]["learned"]["provenance"] == {"seed": 0}
    assert len(record["corpus"]["hash"]) == 64
    assert record["versions"]["numpy"] == np.__version__


def test_one_task_without_a_standard_model(here) -> None:
    argv = ["--model", WEIGHTS[1], "--pairs", "--lengths", "2", "--examples", "1"]
    assert status(*argv, "--prompts", "4", "--draws", "2", "--out", "out") == 0
    summary = pd.read_csv("out/summary.csv")
    assert summary["task"].tolist() == ["Permutation"] * 2
    assert summary["exact_ratio"].isna().all()


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--model", "missing.safetensors"], "missing.safetensors"),
        (["--model", WEIGHTS[0], WEIGHTS[0]], "named 2 times"),
        (["--model", WEIGHTS[0], "five.safetensors"], "one alphabet"),
        (["--model", "five.safetensors", "--pairs", "5"], "first-5 has 4"),
        (["--pairs", "0"], "--pairs"),
        (["--pairs", "2", "2"], "2 times"),
        (["--pairs", "--lengths"], "no task"),
        (["--pairs", "20"], "takes 62 symbols"),
        (["--lengths", "1"], "--lengths"),
        (["--examples", "0"], "--examples"),
        (["--prompts", "0"], "--prompts"),
        (["--draws", "0"], "--draws"),
        (["--seed", "-1"], "--seed"),
        (["--device", "abacus"], "abacus"),
        (["--out", "five.safetensors"], "five.safetensors"),
        (["--bogus"], "--bogus"),
    ],
)
def test_bad_input_is_one_line_before_the_work(here, argv, says, capsys, monkeypatch) -> None:
    monkeypatch.setattr(reasoning, "measure", None)  # the work would fail
    given = [] if "--model" in argv else ["--model", *WEIGHTS[:2]]
    for option, number in (("--pairs", "2"), ("--lengths", "2"), ("--examples", "1")):
        given += [] if option in argv else [option, number]
    assert status(*given, *argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(("python -m analysis.reasoning: error: ", "python: error: "))
    assert err.count("\n") == 1
    assert says in err
