from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import joblib
import numpy as np
import pandas as pd
import pytest
from joblib.parallel import ThreadingBackend

from analysis import accuracy_curve, measure, summarise
from analysis.curves import SUMMARY_COLUMNS
from analysis.intervals import wilson_interval
from ciphers import ASCII, LETTERS, LETTERS_SPACE, Corpus, InputError, Key, load_corpus
from decipher.methods import make_decipherer
from decipher.ngram import NGramModel, load_ngram
from decipher.posterior import KeyPosterior

RATES = ["token_accuracy", "key_accuracy", "exact_rate", "search_failure_rate"]
SIZE = LETTERS.size


def posterior_of(key: Key, ciphertext, map_log_prob: float | None) -> KeyPosterior:
    """One that knows no doubt."""
    marginals = np.zeros((SIZE, SIZE))
    marginals[key.mapping, np.arange(SIZE)] = 1.0
    return KeyPosterior(
        key.alphabet, marginals, key, np.unique(ciphertext), map_log_prob=map_log_prob
    )


@dataclass
class Identity:
    """Takes every ciphertext for plaintext."""

    map_log_prob: float | None = None

    def posteriors(self, ciphertext, lengths: Sequence[int]) -> list[KeyPosterior]:
        key = Key.identity(LETTERS)
        return [posterior_of(key, ciphertext[:n], self.map_log_prob) for n in lengths]


@dataclass
class Crib:
    """Knows the text that ciphertexts are cut from: it finds the place with the same repeats."""

    text: np.ndarray
    spoil: int = 0  # how many of the symbols that occur to get wrong; not 1

    def posteriors(self, ciphertext, lengths: Sequence[int]) -> list[KeyPosterior]:
        return [self._posterior(np.asarray(ciphertext[:n])) for n in lengths]

    def _posterior(self, ciphertext) -> KeyPosterior:
        n = len(ciphertext)
        windows = np.lib.stride_tricks.sliding_window_view(self.text, n)
        plain = next(w for w in windows if repeats(w) == repeats(ciphertext))
        mapping = np.full(SIZE, 255)
        mapping[plain] = ciphertext
        unused = np.setdiff1d(np.arange(SIZE), mapping)
        mapping[mapping == 255] = unused
        wrong = np.unique(plain)[: self.spoil]
        mapping[wrong] = np.roll(mapping[wrong], 1)
        return posterior_of(Key(LETTERS, mapping.astype(np.uint8)), ciphertext, 0.0)


def repeats(ids) -> bytes:
    """The same for two texts if and only if a key turns one into the other."""
    return np.unique(ids, return_index=True)[1][np.unique(ids, return_inverse=True)[1]].tobytes()


@pytest.fixture(scope="module")
def test_corpus() -> Corpus:
    return load_corpus("built-in").test


@pytest.fixture(scope="module")
def model() -> NGramModel:
    return load_ngram("letters")


@pytest.fixture(scope="module")
def text(test_corpus):
    return test_corpus.encode_joined(LETTERS)[0][:1500]


def without_seconds(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns="seconds")


# --- what is measured -----------------------------------------------------------------------------


def test_one_row_a_ciphertext(test_corpus) -> None:
    frame = measure(["frequency"], test_corpus, LETTERS, [30, 8], 3)
    assert list(frame.columns) == [
        "decipherer",
        "length",
        "cipher",
        "token_accuracy",
        "expected_accuracy",
        "key_accuracy",
        "exact",
        "search_failure",
        "regret",
        "log_evidence_error",
        "seconds",
    ]
    assert frame["length"].tolist() == [30] * 3 + [8] * 3
    assert frame["cipher"].tolist() == [0, 1, 2] * 2
    assert (frame["seconds"] > 0).all()


def test_one_row_a_decipherer_and_length(test_corpus) -> None:
    frame = accuracy_curve(["frequency", "ngram"], test_corpus, LETTERS, [256, 64], 4)
    assert list(frame.columns) == list(SUMMARY_COLUMNS)
    assert frame["decipherer"].tolist() == ["frequency"] * 2 + ["ngram"] * 2
    assert frame["length"].tolist() == [256, 64] * 2
    assert frame["ciphers"].tolist() == [4] * 4
    for rate in RATES:
        assert (frame[f"{rate}_low"] <= frame[rate] + 1e-12).all()
        assert (frame[rate] <= frame[f"{rate}_high"] + 1e-12).all()
        assert frame[f"{rate}_low"].min() >= -1e-12
        assert frame[f"{rate}_high"].max() <= 1 + 1e-12


def test_the_truth_is_all_right(text, model) -> None:
    frame = accuracy_curve({"crib": Crib(text)}, [text], LETTERS, [50, 80], 12, model=model)
    assert (frame[["token_accuracy", "key_accuracy", "exact_rate"]] == 1.0).all(axis=None)
    assert (frame["search_failure_rate"] == 0.0).all()


def test_a_wrong_symbol_counts_once_in_the_key_and_as_often_as_it_occurs_in_the_text(
    text, model
) -> None:
    trials = measure({"crib": Crib(text, spoil=3)}, [text], LETTERS, [60], 12, model=model)
    truth = measure({"crib": Crib(text)}, [text], LETTERS, [60], 12, model=model)
    assert (truth["exact"] == 1.0).all()
    assert (trials["exact"] == 0.0).all()
    symbols = 3 / (1 - trials["key_accuracy"])  # distinct symbols of each text
    np.testing.assert_allclose(symbols, symbols.round())
    assert symbols.between(12, 24).all()
    wrong = (1 - trials["token_accuracy"]) * 60
    np.testing.assert_allclose(wrong, wrong.round(), atol=1e-9)
    assert (wrong >= 3).all()
    assert wrong.max() > 3


def test_a_guess_is_right_as_often_as_chance(test_corpus) -> None:
    frame = accuracy_curve({"identity": Identity()}, test_corpus, LETTERS, [64], 1000)
    row = frame.iloc[0]
    assert row["token_accuracy"] == pytest.approx(1 / SIZE, abs=0.006)
    assert row["key_accuracy"] == pytest.approx(1 / SIZE, abs=0.006)
    assert row["token_accuracy_low"] < 1 / SIZE < row["token_accuracy_high"]
    assert row["exact_rate"] == 0.0


def test_search_failures(test_corpus, model) -> None:
    """A bad key is one; but nobody knows without a model, or without a search for it."""
    bad, silent = Identity(map_log_prob=-1.0), Identity()
    rates = accuracy_curve(
        {"bad": bad, "silent": silent}, test_corpus, LETTERS, [64], 8, model=model
    )["search_failure_rate"]
    assert rates[0] == 1.0
    assert np.isnan(rates[1])
    without = accuracy_curve({"bad": bad}, test_corpus, LETTERS, [64], 8)
    assert without.filter(like="search_failure").isna().all(axis=None)


def test_a_better_key_than_the_true_one_is_no_search_failure(text, model) -> None:
    """In a short text there nearly always is one: wrong, but the search did its work."""

    class Improved(Crib):
        def _posterior(self, ciphertext):
            truth = super()._posterior(ciphertext).map_key
            best, best_score = truth, model.log_prob(truth.decrypt(ciphertext)).sum()
            for a, b in combinations(range(SIZE), 2):
                mapping = truth.mapping.copy()
                mapping[[a, b]] = mapping[[b, a]]
                key = Key(LETTERS, mapping)
                score = model.log_prob(key.decrypt(ciphertext)).sum()
                if score > best_score:
                    best, best_score = key, score
            return posterior_of(best, ciphertext, float(best_score))

    frame = measure({"improved": Improved(text)}, [text], LETTERS, [16], 8, model=model)
    assert (frame["exact"] == 0.0).any()
    assert (frame["search_failure"] == 0.0).all()


def test_the_rule_reads_the_posterior(test_corpus) -> None:
    by_map, by_marginal, identity = (
        measure({"split": one}, test_corpus, LETTERS, [64], 30, rule=rule)["token_accuracy"]
        for one, rule in [(Split(), "map"), (Split(), "marginal"), (Identity(), "map")]
    )
    pd.testing.assert_series_equal(by_map, identity)
    assert not by_map.equals(by_marginal)


class Split:
    """Its MAP key is the identity; its marginals say a shift by one, with some doubt."""

    def __init__(self, log_evidence: float | None = None) -> None:
        self.log_evidence = log_evidence

    def posteriors(self, ciphertext, lengths):
        shift = posterior_of(Key.caesar(LETTERS, 1), ciphertext, None)
        return [
            KeyPosterior(
                LETTERS,
                0.75 * shift.marginals + 0.25 / SIZE,
                Key.identity(LETTERS),
                shift.seen,
                log_evidence=self.log_evidence,
                info={} if self.log_evidence is None else {"log_evidence_error": 0.5},
            )
            for _ in lengths
        ]


def test_one_posterior_is_read_by_several_rules(test_corpus) -> None:
    calls = []

    class Counted(Split):
        def posteriors(self, ciphertext, lengths):
            calls.append(len(ciphertext))
            return super().posteriors(ciphertext, lengths)

    arguments = ({"split": Counted()}, test_corpus, LETTERS, [64, 32], 5)
    both = measure(*arguments, rule=["map", "marginal"])
    assert len([n for n in calls if n > 1]) == 10
    assert both["decipherer"].tolist() == ["split (map)"] * 10 + ["split (marginal)"] * 10
    for rule in ("map", "marginal"):
        alone = measure(*arguments, rule=rule)
        assert (alone["decipherer"] == "split").all()
        of_rule = both[both["decipherer"] == f"split ({rule})"].reset_index(drop=True)
        pd.testing.assert_frame_equal(
            without_seconds(of_rule).drop(columns="decipherer"),
            without_seconds(alone).drop(columns="decipherer"),
        )


def test_what_the_posterior_expects(test_corpus) -> None:
    arguments = ({"split": Split()}, test_corpus, LETTERS, [64], 3)
    by_map, by_marginal = (
        measure(*arguments, rule=rule)["expected_accuracy"] for rule in ("map", "marginal")
    )
    np.testing.assert_allclose(by_map, 0.25 / SIZE)
    np.testing.assert_allclose(by_marginal, 0.75 + 0.25 / SIZE)


def test_regret_is_the_evidence_lost_to_the_unknown_key_in_bits(text, model) -> None:
    frame = measure({"split": Split(-100.0)}, [text[:40]], LETTERS, [40], 2, model=model)
    expected = (model.log_prob(text[:40]).sum() + 100.0) / np.log(2)
    np.testing.assert_allclose(frame["regret"], expected)
    assert frame["log_evidence_error"].tolist() == [0.5, 0.5]
    for change in ({"split": Split()}, model), ({"split": Split(-100.0)}, None):
        decipherers, judge = change
        unknown = measure(decipherers, [text], LETTERS, [40], 2, model=judge)
        assert unknown["regret"].isna().all()


def test_fixed_symbols_are_known_to_named_decipherers(test_corpus) -> None:
    """The space, a fifth of the text, is then right always."""
    corpus = [test_corpus.encode_joined(LETTERS_SPACE)[0]]
    spaces = (corpus[0] == LETTERS_SPACE.index(" ")).mean()
    free, fixed = (
        accuracy_curve(["frequency"], corpus, LETTERS_SPACE, [24], 60, fixed=symbols)
        for symbols in ("", " ")
    )
    assert fixed["token_accuracy"][0] > spaces
    assert fixed["key_accuracy"][0] > free["key_accuracy"][0]


# --- what may not matter --------------------------------------------------------------------------


def test_the_ciphertexts_of_a_length_depend_on_nothing_else(test_corpus, model) -> None:
    search = partial(make_decipherer, "ngram", model)
    both = {"search": search, "frequency": "frequency"}
    many = measure(both, test_corpus, LETTERS, [96, 160], 12, seed=5, model=model)
    alone = measure({"search": search}, test_corpus, LETTERS, [160], 4, seed=5, model=model)
    same = many.query("decipherer == 'search' and length == 160 and cipher < 4")
    pd.testing.assert_frame_equal(
        without_seconds(alone), without_seconds(same.reset_index(drop=True)), check_exact=True
    )
    other = measure({"search": search}, test_corpus, LETTERS, [160], 4, seed=6, model=model)
    assert not alone["token_accuracy"].equals(other["token_accuracy"])


def test_all_decipherers_read_the_same_ciphertexts(test_corpus) -> None:
    read: dict[str, list[bytes]] = {"a": [], "b": []}

    class Recorder(Identity):
        def __init__(self, label: str) -> None:
            self.label = label

        def posteriors(self, ciphertext, lengths):
            read[self.label].append(ciphertext.tobytes())
            return [posterior_of(Key.identity(LETTERS), ciphertext, None) for _ in lengths]

    frame = measure({x: Recorder(x) for x in "ab"}, test_corpus, LETTERS, [32], 15)
    assert read["a"] == read["b"]
    assert len({text for text in read["a"] if len(text) == 32}) == 15
    assert frame["decipherer"].tolist() == ["a"] * 15 + ["b"] * 15


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_jobs_change_nothing(test_corpus, model, backend) -> None:
    decipherers = {
        "search": partial(make_decipherer, "ngram", model),
        "frequency": "frequency",
    }
    arguments = (decipherers, test_corpus, LETTERS, [96, 160], 12)
    one = measure(*arguments, model=model, jobs=1)
    with joblib.parallel_config(backend=backend, n_jobs=2):
        two = measure(*arguments, model=model)
    pd.testing.assert_frame_equal(without_seconds(one), without_seconds(two), check_exact=True)


def test_a_backend_that_gives_its_results_at_the_end(test_corpus) -> None:
    """As Ray's does."""

    class AtTheEnd(ThreadingBackend):
        supports_return_generator = False

    joblib.register_parallel_backend("at-the-end", AtTheEnd)
    arguments = (["frequency"], test_corpus, LETTERS, [24], 25)
    with joblib.parallel_config(backend="at-the-end", n_jobs=2):
        frame = measure(*arguments)
    pd.testing.assert_frame_equal(without_seconds(frame), without_seconds(measure(*arguments)))


def test_threads_unless_another_backend_is_chosen(test_corpus) -> None:
    """What runs in another process leaves no trace in this one."""
    calls = []

    class Recorder(Identity):
        def posteriors(self, ciphertext, lengths):
            calls.append(1)
            return super().posteriors(ciphertext, lengths)

    measure({"recorder": Recorder()}, test_corpus, LETTERS, [8], 25, jobs=2)
    in_threads = len(calls)
    calls.clear()
    with joblib.parallel_config(backend="loky", n_jobs=2):
        measure({"recorder": Recorder()}, test_corpus, LETTERS, [8], 25)
    assert in_threads >= 25
    assert len(calls) == 1  # the warm-up


# --- how decipherers are given --------------------------------------------------------------------


def test_a_factory_gets_another_generator_for_each_ciphertext(test_corpus) -> None:
    class Guess(Identity):
        def __init__(self, rng: np.random.Generator) -> None:
            self.key = Key.random(LETTERS, rng)

        def posteriors(self, ciphertext, lengths):
            return [posterior_of(self.key, ciphertext, None) for _ in lengths]

    keys = []

    def guess(*, rng: np.random.Generator) -> Guess:
        one = Guess(rng)
        keys.append(one.key)
        return one

    by_factory = measure({"guess": guess}, test_corpus, LETTERS, [32, 48], 6)
    by_class = measure({"guess": Guess}, test_corpus, LETTERS, [32, 48], 6)
    assert len(set(keys)) == 12
    pd.testing.assert_frame_equal(without_seconds(by_factory), without_seconds(by_class))


def test_what_one_decipherer_draws_does_not_reach_the_next(test_corpus) -> None:
    """Not even through the seeds that it spawns."""
    drawn: list[float] = []

    class Spawner(Identity):
        def __init__(self, rng: np.random.Generator) -> None:
            super().__init__()
            drawn.append(rng.spawn(1)[0].random())

    measure({"one": Spawner, "two": Spawner}, test_corpus, LETTERS, [16], 12)
    assert len(set(drawn)) == 12


def test_a_name_is_its_factory(test_corpus, model) -> None:
    named = measure(["ngram"], test_corpus, LETTERS, [128], 3)
    made = measure(
        {"ngram": partial(make_decipherer, "ngram", model)},
        test_corpus,
        LETTERS,
        [128],
        3,
        model=model,
    )
    pd.testing.assert_frame_equal(without_seconds(named), without_seconds(made))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decipherers": ["tea-leaves"]}, "tea-leaves"),
        ({"decipherers": []}, "no decipherer"),
        ({"decipherers": "ngram"}, r"write \['ngram'\]"),
        ({"lengths": []}, "length"),
        ({"lengths": [16, 0]}, "0 symbols"),
        ({"lengths": [16, 10**6]}, "1000000 symbols"),
        ({"ciphers": 0}, "0 ciphertexts"),
        ({"seed": -1}, "seed"),
        ({"jobs": 0}, "jobs"),
        ({"rule": "guess"}, "guess"),
        ({"rule": ["map", "guess"]}, "guess"),
        ({"rule": []}, "no decoding rule"),
        ({"fixed": " "}, "' '"),
        ({"alphabet": ASCII}, "ascii"),
        ({"alphabet": LETTERS_SPACE, "model": True}, "letters-space"),
    ],
)
def test_bad_input_is_one_clear_line(test_corpus, model, change, message) -> None:
    arguments = {
        "decipherers": ["frequency"],
        "corpus": test_corpus,
        "alphabet": LETTERS,
        "lengths": [16],
        "ciphers": 2,
    } | change
    if arguments.get("model"):
        arguments["model"] = model
    with pytest.raises(InputError, match=message) as raised:
        measure(**arguments)
    assert "\n" not in str(raised.value)


def test_progress_is_one_bar_over_everything(test_corpus, capsys) -> None:
    measure(["frequency"], test_corpus, LETTERS, [8, 16], 11)
    assert capsys.readouterr().err == ""
    frame = measure(["frequency"], test_corpus, LETTERS, [8, 16], 11, progress=True)
    err = capsys.readouterr().err
    assert "22/22" in err
    assert err.count("100%") == 1
    assert len(frame) == 22


def test_summary_leaves_out_what_is_not_known() -> None:
    trials = pd.DataFrame(
        {
            "decipherer": ["d"] * 4,
            "length": [8] * 4,
            "token_accuracy": [0.0, 0.5, 0.5, 1.0],
            "key_accuracy": [0.0, 0.25, 0.5, 1.0],
            "exact": [0.0, 0.0, 0.0, 1.0],
            "search_failure": [np.nan, 1.0, 0.0, 0.0],
            "seconds": [1.0, 2.0, 3.0, 4.0],
        }
    )
    (row,) = summarise(trials).to_dict("records")
    assert row["ciphers"] == 4
    assert row["token_accuracy"] == 0.5
    assert row["key_accuracy"] == 0.4375
    assert row["exact_rate"] == 0.25
    assert row["search_failure_rate"] == pytest.approx(1 / 3)
    assert row["search_failure_rate_low"] == wilson_interval(1, 3)[0]
    assert row["exact_rate_high"] == wilson_interval(1, 4)[1]
    assert row["seconds"] == 2.5
