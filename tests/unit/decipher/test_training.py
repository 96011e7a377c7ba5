"""Training: what is drawn, what is learned, and that nothing is lost when it is interrupted."""

from __future__ import annotations

import errno
import math
import multiprocessing
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import asdict, replace
from pathlib import Path
from string import ascii_lowercase
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ciphers import LETTERS, LETTERS_SPACE, Alphabet, InputError
from ciphers.corpora import Corpus, Document
from decipher.lexinvariant import load, speed, train
from decipher.lexinvariant.checkpoint import load_tensors, save, save_tensors
from decipher.lexinvariant.journal import Journal, Meter
from decipher.lexinvariant.model import PRESETS, TABLES, Config, Transformer, preset
from decipher.lexinvariant.recipe import COLD, RECIPES, Curriculum, Recipe
from decipher.lexinvariant.speed import flops_per_symbol, peak_flops
from decipher.lexinvariant.text import Text
from decipher.lexinvariant.train import CHECKPOINT, MODEL, Habits, Loss, Rank, Trainer, processes

CPU = torch.device("cpu")
SMALL = Config(layers=1, passes=2, heads=4, width=16, hidden=32, context=32, vector_width=8,
               shifted_keys=1, shifted_values=1, matching=1, pointer=4)  # fmt: skip
#: 12 steps, and some symbols that fill none.
QUICK = Recipe(symbols=12 * 128 + 50, batch=128, lengths=((0.0, 16), (0.5, 32)), warmup=3,
               precision="float32", compile=False, seed=3)  # fmt: skip
STEPS = 12
#: Nothing in step with anything else.
OFTEN = Habits(log=4, validate=6, checkpoint=5, progress=False)
RARELY = Habits(log=1000, validate=1000, checkpoint=1000, progress=False)
EMBEDDINGS = ["learned", "lexinvariant", "mixed", "hinted"]
OPTIMISERS = ["muon", "adamw"]
#: Of each statistical test, over the choice of its seed.
FALSE_ALARM = 1e-4


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small are faster so, and sums come in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def known_peak(monkeypatch) -> None:
    """Measuring the CPU would take longer than most runs here."""
    monkeypatch.setattr(train, "peak_flops", lambda device, dtype: 1e12)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def corpus_of(texts: list[str], name: str = "texts") -> Corpus:
    return Corpus(name, tuple(Document(str(i), text) for i, text in enumerate(texts)))


def words(documents: int = 40, seed: int = 0) -> Corpus:
    """Documents of random words from a vocabulary of a dozen."""
    rng = np.random.default_rng(seed)
    vocabulary = ["".join(rng.choice(list("abcdefgh"), rng.integers(2, 6))) for _ in range(12)]
    return corpus_of([" ".join(rng.choice(vocabulary, 30)) for _ in range(documents)], "words")


def cycles() -> Corpus:
    """The alphabet again and again, from every letter: each symbol settles the next."""
    turns = [ascii_lowercase[i:] + ascii_lowercase * 2 + ascii_lowercase[:i] for i in range(26)]
    return corpus_of([turn[: 60 + k] for turn in turns for k in range(2)], "cycles")


def copies() -> Corpus:
    """A random word of four letters in each document, repeated: to be copied from context."""
    rng = np.random.default_rng(0)
    letters = [rng.choice(list(ascii_lowercase), 4, replace=False) for _ in range(100)]
    return corpus_of(["".join(word) * 20 for word in letters], "copies")


def trainer_of(
    folder: Path,
    embedding="lexinvariant",
    recipe: Recipe = QUICK,
    habits: Habits = OFTEN,
    config: Config = SMALL,
    corpus: Corpus | None = None,
    **options: Any,
) -> Trainer:
    corpus, config = corpus or words(), replace(config, embedding=embedding)
    alphabet = options.pop("alphabet", LETTERS_SPACE)
    return Trainer(config, alphabet, corpus, recipe, folder, habits=habits, **options)


def same_weights(one: Transformer, other: Transformer) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def refusal(function: Callable[[], object]) -> str:
    """The one line of the InputError that `function` raises."""
    with pytest.raises(InputError) as refused:
        function()
    message = str(refused.value)
    assert "\n" not in message
    return message


# --- text ---------------------------------------------------------------------------------------

#: Every letter once, so that a window tells where it is from; one document has no letters.
PIECES = ["abcde", "fg", "123", "hijklmnop", "qrs", "tuvwxyz"]


def test_every_place_of_a_window_is_equally_likely() -> None:
    text = Text(corpus_of(PIECES), LETTERS, CPU)
    windows = text.windows(3, 16_000, seeded(0))
    assert windows.shape == (16_000, 3)
    assert windows.dtype == torch.uint8
    drawn = pd.Series([LETTERS.decode(window) for window in windows.numpy()]).value_counts()
    places = {piece[i : i + 3] for piece in PIECES for i in range(len(piece) - 2)} - {"123"}
    assert len(places) == 3 + 7 + 1 + 5
    assert set(drawn.index) == places
    assert stats.chisquare(drawn.to_numpy()).pvalue > FALSE_ALARM


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 9), st.integers(0, 99))
@settings(max_examples=60)
def test_windows_stay_within_documents_that_are_long_enough(lengths, length, seed) -> None:
    symbols = Alphabet("".join(map(chr, range(0x100, 0x100 + 8))), "one-a-document")
    texts = [symbols.symbols[i] * n for i, n in enumerate(lengths)]
    text = Text(corpus_of(texts), symbols, CPU)
    fit = {i for i, n in enumerate(lengths) if n >= length}
    if fit:
        windows = text.windows(length, 50, seeded(seed))
        assert (windows == windows[:, :1]).all()
        assert set(windows[:, 0].tolist()) <= fit
    else:
        message = refusal(lambda: text.windows(length, 50, seeded(seed)))
        assert f"no document of texts has the {length} symbols" in message


def test_windows_are_settled_by_the_generator() -> None:
    text = Text(words(), LETTERS_SPACE, CPU)
    generator = seeded(1)
    first, second = text.windows(20, 9, generator), text.windows(20, 9, generator)
    assert torch.equal(first, text.windows(20, 9, seeded(1)))
    assert not torch.equal(first, second)


# --- recipes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("progress", "bounds"),
    [
        (0.0, (0, 0)),
        (0.2, (0, 0)),
        (0.35, (0, 0.5)),
        (0.5, (0, 1)),
        (0.65, (0.5, 1)),
        (0.8, (1, 1)),
        (1.0, (1, 1)),
    ],
)
def test_the_bounds_of_a_curriculum_at_its_corners(progress, bounds) -> None:
    assert Curriculum(0.2, 0.5, 0.8).bounds(progress) == pytest.approx(bounds)


def test_curricula_without_a_part() -> None:
    assert COLD.bounds(0.0) == (1, 1)
    assert Curriculum(0.0, 0.0, 0.5).bounds(0.0) == (0, 1)
    assert Curriculum(0.0, 0.0, 0.5).bounds(0.25) == (0.5, 1)
    assert Curriculum(1.0, 1.0, 1.0).bounds(0.999) == (0, 0)
    assert Curriculum(0.3, 0.3, 0.3).bounds(0.299) == (0, 0)
    assert Curriculum(0.3, 0.3, 0.3).bounds(0.3) == (1, 1)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.lists(st.floats(0, 1), min_size=2))
def test_the_bounds_of_a_curriculum_only_grow(shares, moments) -> None:
    curriculum = Curriculum(*sorted(shares))
    bounds = np.array([curriculum.bounds(moment) for moment in sorted(moments)])
    assert (bounds >= 0).all()
    assert (bounds <= 1).all()
    assert (bounds[:, 0] <= bounds[:, 1]).all()
    assert (np.diff(bounds, axis=0) >= 0).all()


@pytest.mark.parametrize("shares", [(0.5, 0.2, 0.8), (-0.1, 0.5, 0.8), (0.1, 0.5, 1.1),
                                    (0.1, 0.9, 0.8), (float("nan"), 0.5, 0.8)])  # fmt: skip
def test_a_curriculum_out_of_order_is_refused(shares) -> None:
    assert "three shares" in refusal(lambda: Curriculum(*shares))


def test_a_curriculum_that_tells_symbols_otherwise_is_refused() -> None:
    message = refusal(lambda: Curriculum(known="names"))
    assert message == "symbols cannot be known by 'names': choose hints, vectors"


@pytest.mark.parametrize("passes", [1, 2, 3])
def test_passes_of_a_recipe(passes) -> None:
    recipe = Recipe(symbols=4000, batch=400, lengths=((0.0, 32),), one_pass=0.3)
    assert [recipe.passes(step, passes) for step in range(10)] == [1] * 3 + [passes] * 7
    assert replace(recipe, one_pass=0.0).passes(0, passes) == passes
    assert replace(recipe, one_pass=1.0).passes(9, passes) == 1


@pytest.mark.parametrize("one_pass", [-0.1, 1.1, math.nan])
def test_shares_of_one_pass_that_are_none(one_pass) -> None:
    with pytest.raises(InputError, match="one_pass is a share of the training"):
        Recipe(one_pass=one_pass)


@pytest.mark.parametrize("one_pass", [0.0, 0.5, 1.0])
def test_passes_are_made_when_the_recipe_says(tmp_path, one_pass) -> None:
    """And the map between them learns from then on; the model that is left makes them all."""
    trainer = trainer_of(tmp_path / "run", recipe=replace(QUICK, one_pass=one_pass))
    learned, made = [], []
    advance = trainer.advance

    def counted(loss_function):
        result = advance(loss_function)
        made.append(trainer.model.passes)
        learned.append(bool(trainer.model.again.weight.any()))
        return result

    trainer.advance = counted
    model = trainer.run()
    early = round(one_pass * STEPS)
    assert made == [1] * early + [2] * (STEPS - early)
    assert learned == [passes == 2 for passes in made]
    assert model.passes == model.config.passes == 2
    assert load(tmp_path / "run" / MODEL).passes == 2


def test_steps_and_lengths_of_a_recipe() -> None:
    assert QUICK.steps == STEPS
    assert [QUICK.length(step) for step in range(STEPS)] == [16] * 6 + [32] * 6
    thirds = replace(QUICK, symbols=1280, lengths=((0.0, 8), (0.25, 16), (0.9, 32)))
    assert [thirds.length(step) for step in range(10)] == [8] * 3 + [16] * 6 + [32]
    assert replace(QUICK, lengths=((0.0, 8), (0.0, 16))).length(0) == 16


def test_rates_rise_stay_and_fall() -> None:
    recipe = replace(QUICK, symbols=20 * 128, warmup=4, cooldown=0.5)
    rates = [recipe.rate(step) for step in range(recipe.steps)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, *[1] * 8, *np.arange(9, 0, -1) / 10])
    level = replace(recipe, warmup=0, cooldown=0.0)
    assert [level.rate(step) for step in range(20)] == [1] * 20
    falling = replace(recipe, warmup=0, cooldown=1.0)
    assert [falling.rate(step) for step in range(20)] == pytest.approx(np.arange(20, 0, -1) / 20)
    both = replace(recipe, warmup=30)  # it ends before the height is reached
    assert all(0 < both.rate(step) < 1 for step in range(20))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"lengths": ()}, "ascend from 0"),
        ({"lengths": ((0.1, 16),)}, "ascend from 0"),
        ({"lengths": ((0.0, 16), (0.6, 32), (0.5, 32))}, "ascend from 0"),
        ({"lengths": ((0.0, 16), (1.1, 32))}, "ascend from 0"),
        ({"lengths": ((0.0, 16), (float("nan"), 32))}, "ascend from 0"),
        ({"lengths": ((0.0, 0),)}, "at least 1 symbol"),
        ({"batch": 31}, "less than one window of 32"),
        ({"symbols": 127}, "less than one step of 128"),
        ({"optimiser": "sgd"}, "no optimiser 'sgd': choose muon, adamw"),
        ({"precision": "int8"}, "no precision 'int8': choose float32, bfloat16"),
        ({"learning_rate": 0.0}, "learning rate"),
        ({"adamw_rate": -1.0}, "learning rate"),
        ({"learning_rate": float("nan")}, "learning rate"),
        ({"adamw_rate": float("inf")}, "learning rate"),
        ({"cooldown": 1.5}, "cooldown is a share"),
        ({"cooldown": -0.5}, "cooldown is a share"),
        ({"warmup": -1}, "0 or more"),
        ({"weight_decay": -0.1}, "0 or more"),
        ({"weight_decay": float("nan")}, "0 or more"),
        ({"clip": -1.0}, "0 or more"),
        ({"clip": float("nan")}, "0 or more"),
    ],
)
def test_recipes_that_cannot_be_are_refused(changes, says) -> None:
    assert says in refusal(lambda: replace(QUICK, **changes))


def test_every_preset_has_a_recipe_that_fits() -> None:
    assert RECIPES.keys() == PRESETS.keys()
    for name, recipe in RECIPES.items():
        assert max(length for _, length in recipe.lengths) == PRESETS[name].context
        assert recipe.steps > 2 * recipe.warmup


# --- what is learned ----------------------------------------------------------------------------

LEARN = Recipe(symbols=40 * 512, batch=512, lengths=((0.0, 32),), warmup=5, learning_rate=0.05,
               adamw_rate=0.05, precision="float32", compile=False)  # fmt: skip


def learned_bits(model: Transformer, share: float) -> float:
    """Bits a symbol on held-out text, over the last positions."""
    rows = [row for row in model.provenance["validation"] if row["share"] == share]
    return rows[-1]["bits"]


def test_a_learned_model_learns_a_cycle_by_heart(tmp_path) -> None:
    trainer = trainer_of(tmp_path, "learned", LEARN, RARELY, corpus=cycles(), alphabet=LETTERS)
    untrained = trainer.validate()[-1]["bits"]
    assert untrained > 4  # of log2(26) = 4.7
    assert learned_bits(trainer.run(), 0) < 0.5  # 0.00 and 0.04 were seen


@pytest.mark.parametrize(
    "curriculum",
    [Curriculum(), Curriculum(known="vectors"), COLD],
    ids=["hints", "vectors", "cold"],
)
def test_a_lexinvariant_model_learns_to_copy(curriculum, tmp_path) -> None:
    recipe = replace(LEARN, curriculum=curriculum)
    trainer = trainer_of(
        tmp_path, "lexinvariant", recipe, RARELY, corpus=copies(), alphabet=LETTERS
    )
    assert trainer.validate()[-1]["bits"] > 3.5
    assert learned_bits(trainer.run(), 1) < 2.7  # 1.45 and 1.60 were seen


def test_the_first_measurement_is_of_chance_for_every_embedding(tmp_path) -> None:
    for embedding in EMBEDDINGS:
        rows = trainer_of(tmp_path, embedding).validate()
        assert [(row["first"], row["last"]) for row in rows[-2:]] == [(1, 16), (17, 32)]
        shares = {"learned": [0], "lexinvariant": [0, 0.5, 1]}.get(embedding, [0.5])
        assert sorted({row["share"] for row in rows}) == shares


def test_bands_cover_every_position_once() -> None:
    assert train.bands(5) == [(0, 5)]
    assert train.bands(16) == [(0, 16)]
    assert train.bands(17) == [(0, 16), (16, 17)]
    assert train.bands(512) == [(0, 16), (16, 32), (32, 64), (64, 128), (128, 256), (256, 512)]


# --- what a run gives ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Callable[..., tuple[Transformer, Path]]:
    """(embedding, optimiser) -> the model of an undisturbed run, and its folder."""
    runs: dict[tuple[str, str], tuple[Transformer, Path]] = {}

    def run(embedding="lexinvariant", optimiser="muon") -> tuple[Transformer, Path]:
        if (embedding, optimiser) not in runs:
            folder = tmp_path_factory.mktemp("run") / "new" / "folder"
            recipe = replace(QUICK, optimiser=optimiser)
            runs[embedding, optimiser] = trainer_of(folder, embedding, recipe).run(), folder
        return runs[embedding, optimiser]

    return run


@pytest.mark.parametrize("embedding", EMBEDDINGS)
def test_a_seed_settles_every_bit_and_habits_none(embedding, uninterrupted, tmp_path) -> None:
    model, _ = uninterrupted(embedding)
    assert same_weights(trainer_of(tmp_path / "again", embedding, habits=RARELY).run(), model)
    other = trainer_of(tmp_path / "other", embedding, replace(QUICK, seed=4)).run()
    assert not same_weights(other, model)


def test_no_global_random_state_is_touched_or_used(uninterrupted, tmp_path) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    trainer = trainer_of(tmp_path)
    torch.manual_seed(2)
    assert same_weights(trainer.run(), uninterrupted()[0])
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("embedding", EMBEDDINGS)
def test_what_is_in_the_folder(embedding, uninterrupted) -> None:
    model, folder = uninterrupted(embedding)
    assert not model.training
    assert {path.name for path in folder.iterdir()} == {
        CHECKPOINT, MODEL, "log.csv", "validation.csv", "tensorboard"
    }  # fmt: skip
    loaded = load(folder / MODEL, alphabet=LETTERS_SPACE)
    assert loaded.config == model.config == replace(SMALL, embedding=embedding)
    assert loaded.provenance == model.provenance
    tokens = torch.randint(27, (3, 20), generator=seeded(0))
    predictions = [m.log_conditionals(tokens, seeded(1)) for m in (model, loaded)]
    assert torch.equal(*predictions)


def test_provenance_tells_where_the_weights_come_from(uninterrupted, tmp_path) -> None:
    about = uninterrupted("mixed")[0].provenance
    corpus = words()
    assert (about["corpus"], about["corpus_hash"]) == (corpus.name, corpus.hash)
    assert about["recipe"]["seed"] == 3
    assert about["recipe"]["curriculum"] == asdict(QUICK.curriculum)
    assert about["config"]["embedding"] == "mixed"
    assert about["alphabet"] == LETTERS_SPACE.symbols
    assert about["symbols"] == STEPS * 128
    assert about["seconds"] >= 0
    assert about["processes"] == 1
    assert about["device"].startswith("cpu")
    assert about["versions"]["torch"] == torch.__version__.partition("+")[0] or (
        about["versions"]["torch"] == torch.__version__
    )
    assert {row["step"] for row in about["validation"]} == {STEPS}
    named = trainer_of(tmp_path, provenance={"preset": "none"}).run()
    assert named.provenance["preset"] == "none"


@pytest.mark.parametrize(
    ("embedding", "curriculum", "learns_as", "learns_with", "ends_with"),
    [
        ("learned", Curriculum(), "learned", {"table"}, {"table"}),
        ("learned", COLD, "learned", {"table"}, {"table"}),
        ("lexinvariant", Curriculum(), "hinted", {"hints"}, set()),
        ("lexinvariant", Curriculum(known="vectors"), "mixed", {"table"}, set()),
        ("lexinvariant", COLD, "lexinvariant", set(), set()),
        ("mixed", Curriculum(), "mixed", {"table"}, {"table"}),
        ("mixed", COLD, "mixed", {"table"}, {"table"}),
        ("hinted", Curriculum(known="vectors"), "hinted", {"hints"}, {"hints"}),
    ],
)
def test_which_models_know_symbols_and_how(
    embedding, curriculum, learns_as, learns_with, ends_with, tmp_path
) -> None:
    trainer = trainer_of(tmp_path, embedding, replace(QUICK, curriculum=curriculum), RARELY)
    assert trainer.model.config.embedding == learns_as
    assert TABLES & trainer.model.state_dict().keys() == learns_with
    model = trainer.run()
    assert TABLES & model.state_dict().keys() == ends_with
    assert model.config == trainer.config
    assert model.config.embedding == embedding
    stored, _ = load_tensors(tmp_path / MODEL)
    assert TABLES & stored.keys() == ends_with
    assert same_weights(load(tmp_path / MODEL), model)


@pytest.mark.parametrize("known", ["hints", "vectors"])
def test_which_symbols_are_known_follows_the_curriculum(known, tmp_path) -> None:
    """At every step the share of unknown symbols is the sequence's own, within the bounds."""
    curriculum = Curriculum(0.25, 0.5, 0.75, known)
    recipe = replace(QUICK, curriculum=curriculum, symbols=40 * 4096, batch=4096)
    trainer = trainer_of(tmp_path, recipe=recipe)
    unknown = []

    def watch(tokens, vectors):
        # Of the 27 symbols of each sequence. A learned vector is the table's, to the bit.
        is_unknown = (
            vectors[..., -1] == 0
            if known == "hints"
            else (vectors != trainer.model.table).any(dim=-1)
        )
        unknown.append(is_unknown.float().mean(dim=1))
        return trainer.model.training_loss(tokens, vectors).mean()

    while trainer.step < recipe.steps:
        trainer.advance(watch)
    means = [float(share.mean()) for share in unknown]
    assert means[:11] == [0] * 11
    assert means[30:] == [1] * 10
    # Uniform on [0, 1], 128 sequences: 4 standard errors of its mean are 0.11.
    assert means[20] == pytest.approx(0.5, abs=0.11)
    assert unknown[20].std() > 0.2  # each sequence has its own share
    assert np.diff(means[10:31:5]).min() > 0


def initial_of(embedding: str) -> Transformer:
    """Weights that no training begins with by itself."""
    model = Transformer(replace(SMALL, embedding=embedding), LETTERS_SPACE)
    model.initialise(seeded(77))
    return model


@pytest.mark.parametrize("known", ["hints", "vectors"])
@pytest.mark.parametrize("before", EMBEDDINGS)
def test_training_begins_with_given_weights(before, known, tmp_path) -> None:
    """With all of them that the model has itself; what it knows of symbols may be new."""
    initial = initial_of(before)
    given = initial.state_dict()
    recipe = replace(QUICK, curriculum=Curriculum(known=known))
    for embedding in EMBEDDINGS:
        model = trainer_of(tmp_path, embedding, recipe, initial=initial).model
        own = trainer_of(tmp_path, embedding, recipe).model.state_dict()
        assert own.keys() - TABLES == given.keys() - TABLES
        for name, weight in model.state_dict().items():
            assert torch.equal(weight, given[name] if name in given else own[name]), name


@pytest.mark.parametrize("before", ["mixed", "hinted", "lexinvariant"])
def test_given_weights_are_trained_and_stay_as_they_were(before, tmp_path) -> None:
    initial, untouched = initial_of(before), initial_of(before)
    model = trainer_of(tmp_path, initial=initial).run()
    assert same_weights(initial, untouched)
    assert not TABLES & model.state_dict().keys()
    weights = initial.state_dict()
    changed = {
        name for name, weight in model.state_dict().items() if weight.ne(weights[name]).any()
    }
    assert changed == model.state_dict().keys()


@pytest.mark.parametrize(
    ("config", "alphabet"),
    [(replace(SMALL, width=24), LETTERS_SPACE), (replace(SMALL, layers=2), LETTERS_SPACE),
     (SMALL, LETTERS)],
)  # fmt: skip
def test_weights_of_another_model_are_refused(config, alphabet, tmp_path) -> None:
    initial = Transformer(replace(config, embedding="learned"), alphabet)
    message = refusal(lambda: trainer_of(tmp_path, "learned", initial=initial))
    assert "other sizes or another alphabet" in message


def test_windows_beyond_the_context_are_refused(tmp_path) -> None:
    recipe = replace(QUICK, lengths=((0.0, 33),))
    message = refusal(lambda: trainer_of(tmp_path, recipe=recipe))
    assert "33 symbols are longer than the model's context of 32" in message


def test_a_corpus_of_short_texts_is_refused(tmp_path) -> None:
    rng = np.random.default_rng(0)
    short = corpus_of(["".join(rng.choice(list("abc"), 20)) for _ in range(50)])
    message = refusal(lambda: trainer_of(tmp_path, corpus=short))
    assert "no document of texts/train has the 32 symbols" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("clip", [0.0, 0.01])
def test_gradients_are_clipped_where_asked(clip, tmp_path) -> None:
    recipe = replace(QUICK, clip=clip, one_pass=0.0)  # in one pass, one weight has no gradient
    trainer = trainer_of(tmp_path, recipe=recipe, habits=RARELY)
    norms = []
    for optimiser, _ in trainer.optimisers:
        optimiser.register_step_pre_hook(
            lambda o, *_: norms.extend(
                p.grad.norm() for group in o.param_groups for p in group["params"]
            )
        )
    trainer.advance(Loss(trainer.model))
    assert len(norms) == len(list(trainer.model.parameters()))
    norm = float(torch.stack(norms).norm())
    assert norm == pytest.approx(0.01, rel=1e-3) if clip else norm > 0.05


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_optimisers_take_every_weight_once_at_the_rate_of_the_step(optimiser, tmp_path) -> None:
    recipe = replace(QUICK, optimiser=optimiser, weight_decay=0.1)
    trainer = trainer_of(tmp_path, recipe=recipe)
    trainer.step = 10
    trainer.advance(Loss(trainer.model))
    names = {id(weight): name for name, weight in trainer.model.named_parameters()}
    seen = []
    for kind, rate in trainer.optimisers:
        for group in kind.param_groups:
            group_names = [names[id(weight)] for weight in group["params"]]
            assert group["lr"] == rate * recipe.rate(10)
            is_blocks = [
                "blocks" in name and not name.endswith(("log_sharpness", "bonus"))
                for name in group_names
            ]
            assert all(is_blocks) or not any(is_blocks)
            assert group["weight_decay"] == (0.1 if all(is_blocks) else 0.0)
            if isinstance(kind, torch.optim.Muon):
                assert all(is_blocks)
            seen += group_names
    assert sorted(seen) == sorted(names.values())


def test_bfloat16_is_of_the_products_alone(uninterrupted, tmp_path) -> None:
    recipe = replace(QUICK, precision="bfloat16")
    model = trainer_of(tmp_path, recipe=recipe, habits=RARELY).run()
    exact, _ = uninterrupted()
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert not same_weights(model, exact)
    one, other = (m.provenance["validation"][-1]["bits"] for m in (model, exact))
    assert one == pytest.approx(other, abs=0.1)


def test_a_compiled_loss_trains_the_same_model(uninterrupted, monkeypatch, tmp_path) -> None:
    """Traced but not compiled, for the compiler would take a minute."""
    compiled = []

    def traced(module, dynamic):
        compiled.append(module)
        return torch._dynamo.optimize("eager", nopython=True, dynamic=dynamic)(module)

    monkeypatch.setattr(torch, "compile", traced)
    model = trainer_of(tmp_path, recipe=replace(QUICK, compile=True), habits=RARELY).run()
    assert len(compiled) == 1
    exact = uninterrupted()[0].state_dict()
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, exact[name], rtol=1e-3, atol=1e-4)


# --- interrupted and resumed --------------------------------------------------------------------


class InterruptionError(Exception):
    """What stops a run in the middle."""


def interrupt(trainer: Trainer, step: int) -> None:
    """Run `trainer` until so many steps are done."""
    advance = trainer.advance

    def stop(loss_function):
        if trainer.step == step:
            raise InterruptionError
        return advance(loss_function)

    with mock.patch.object(trainer, "advance", stop), pytest.raises(InterruptionError):
        trainer.run()


def settled(folder: Path, name: str) -> pd.DataFrame:
    """The columns of a table that do not depend on the clock or on where a run was cut."""
    return pd.read_csv(folder / name).drop(
        columns=["bits", "symbols_a_second", "mfu", "seconds"] if name == "log.csv" else []
    )


# A lexinvariant model learns as a hinted one.
@pytest.mark.parametrize("embedding", ["learned", "lexinvariant", "mixed"])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_an_interrupted_run_ends_as_if_nothing_had_been(
    embedding, optimiser, uninterrupted, tmp_path
) -> None:
    recipe = replace(QUICK, optimiser=optimiser)
    model, folder = uninterrupted(embedding, optimiser)
    # Before any checkpoint, at one, beyond one, and right before the end.
    for stops in ([2], [5], [8], [11], [2, 6, 7, 9, 10, 11]):
        where = tmp_path / str(len(stops)) / str(stops[0])
        for stop in stops:
            interrupt(trainer_of(where, embedding, recipe), stop)
        resumed = trainer_of(where, embedding, recipe).run()
        assert same_weights(resumed, model)
        assert resumed.provenance["validation"] == model.provenance["validation"]
        for name in ("log.csv", "validation.csv"):
            pd.testing.assert_frame_equal(settled(where, name), settled(folder, name))


def test_a_run_goes_on_from_its_checkpoint_and_not_from_the_start(tmp_path) -> None:
    interrupt(trainer_of(tmp_path), 8)
    trainer = trainer_of(tmp_path)
    trainer.resume()
    assert trainer.step == 5
    assert trainer.seconds > 0
    assert [row["step"] for row in trainer.journal.log] == [4]
    first = []
    advance = trainer.advance

    def watch(loss_function):
        first.append(trainer.step)
        return advance(loss_function)

    with mock.patch.object(trainer, "advance", watch):
        trainer.run()
    assert first == list(range(5, STEPS))


def test_a_finished_run_gives_its_model_at_once(uninterrupted, tmp_path) -> None:
    model, folder = uninterrupted()
    shutil.copytree(folder, tmp_path / "run")
    trainer = trainer_of(tmp_path / "run")
    with mock.patch.object(trainer, "advance", side_effect=AssertionError):
        again = trainer.run()
    assert same_weights(again, model)
    assert again.provenance == model.provenance
    for name in ("log.csv", "validation.csv"):
        assert (folder / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


def test_lost_tables_change_no_weight(uninterrupted, tmp_path) -> None:
    interrupt(trainer_of(tmp_path), 11)
    (tmp_path / "log.csv").unlink()
    (tmp_path / "validation.csv").write_text("no,table\nat all,1\n")
    assert same_weights(trainer_of(tmp_path).run(), uninterrupted()[0])
    assert list(pd.read_csv(tmp_path / "log.csv")["step"]) == [12]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("seed", {"recipe": replace(QUICK, seed=9)}),
        ("learning_rate", {"recipe": replace(QUICK, learning_rate=0.1)}),
        ("hold", {"recipe": replace(QUICK, curriculum=replace(QUICK.curriculum, hold=0.05))}),
        ("known", {"recipe": replace(QUICK, curriculum=Curriculum(known="vectors"))}),
        ("lengths", {"recipe": replace(QUICK, lengths=((0.0, 16),))}),
        ("hidden", {"config": replace(SMALL, hidden=33)}),
        ("embedding", {"embedding": "mixed"}),
        ("corpus_hash", {"corpus": words(seed=1)}),
        ("alphabet", {"alphabet": LETTERS}),
        ("preset", {"provenance": {"preset": "tiny"}}),
    ],
)
def test_a_run_of_another_plan_is_refused(name, changes, uninterrupted) -> None:
    _, folder = uninterrupted()
    before = (folder / CHECKPOINT).read_bytes()
    message = refusal(trainer_of(folder, **changes).run)
    assert f"another {name}:" in message
    assert str(folder) in message
    assert (folder / CHECKPOINT).read_bytes() == before


def test_a_damaged_checkpoint_is_refused(uninterrupted, tmp_path) -> None:
    data = (uninterrupted()[1] / CHECKPOINT).read_bytes()
    for damaged in (b"", data[: len(data) // 2], data[:-1], data[:-9] + b"\xff" * 9):
        (tmp_path / CHECKPOINT).write_bytes(damaged)
        assert "is damaged" in refusal(trainer_of(tmp_path).run)
        assert (tmp_path / CHECKPOINT).read_bytes() == damaged


def test_weights_that_are_no_checkpoint_are_refused(uninterrupted, tmp_path) -> None:
    shutil.copy(uninterrupted()[1] / MODEL, tmp_path / CHECKPOINT)
    assert str(tmp_path) in refusal(trainer_of(tmp_path).run)


def test_a_checkpoint_that_lacks_something_is_refused(uninterrupted, tmp_path) -> None:
    tensors, info = load_tensors(uninterrupted()[1] / CHECKPOINT)
    for name in ("generator", "model.start"):
        rest = {key: value for key, value in tensors.items() if key != name}
        save_tensors(tmp_path / CHECKPOINT, rest, info)
        assert str(tmp_path) in refusal(trainer_of(tmp_path).run)


# --- what goes wrong on the way -----------------------------------------------------------------


def test_a_full_disk_leaves_the_checkpoint_before(uninterrupted, monkeypatch, tmp_path) -> None:
    write, calls = Path.write_bytes, []

    def fill(path, data):
        calls.append(path)
        if len(calls) == 2:
            write(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fill)
        message = refusal(trainer_of(tmp_path).run)
    assert "No space left on device" in message
    assert CHECKPOINT in message
    assert len(calls) == 2
    assert load_tensors(tmp_path / CHECKPOINT)[1]["step"] == 5
    assert list(tmp_path.glob(".*")) == []
    assert same_weights(trainer_of(tmp_path).run(), uninterrupted()[0])


def test_a_file_where_the_folder_should_be(tmp_path) -> None:
    file = tmp_path / "run"
    file.write_text("mine")
    assert str(file) in refusal(trainer_of(file).run)
    assert file.read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to(tmp_path) -> None:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o500)
    assert str(folder) in refusal(trainer_of(folder).run)


@pytest.mark.parametrize("habits", [Habits(1, 100, 5, False), Habits(4, 100, 5, False)])
def test_a_loss_that_is_no_number_ends_the_run(
    habits, uninterrupted, monkeypatch, tmp_path
) -> None:
    forward, calls = Loss.forward, []

    def burst(self, tokens, vectors):
        calls.append(1)
        loss = forward(self, tokens, vectors)
        return loss * float("nan") if len(calls) >= 9 else loss

    with monkeypatch.context() as patch:
        patch.setattr(Loss, "forward", burst)
        message = refusal(trainer_of(tmp_path, habits=habits).run)
    assert "the loss is nan at step" in message
    assert str(tmp_path) in message
    tensors, info = load_tensors(tmp_path / CHECKPOINT)
    assert info["step"] == 5
    assert all(bool(weight.isfinite().all()) for weight in tensors.values())
    assert not (tmp_path / MODEL).exists()
    assert same_weights(trainer_of(tmp_path, habits=habits).run(), uninterrupted()[0])


# --- killed -------------------------------------------------------------------------------------

KILLS = 20
LONG = replace(QUICK, symbols=100 * 128)
STEADY = Habits(log=3, validate=40, checkpoint=2, progress=False)


@pytest.fixture(scope="module")
def server() -> Any:
    """Starts processes that need not import all of torch anew."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["pytest", "torch._dynamo", "hypothesis", "scipy.stats", "torch.utils.flop_counter",
         "torch.utils.tensorboard.writer", "decipher.lexinvariant.train"]
    )  # fmt: skip
    return context


def train_and_tell(folder: Path, events: Any) -> None:
    """Train; tell through `events` of each step, and of each file that is half written."""
    torch.set_num_threads(1)
    train.peak_flops = lambda device, dtype: 1e12
    advance = Trainer.advance

    def half_by_half(path: Path, data: bytes) -> None:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
            file.flush()
            events.send_bytes(b"half")
            time.sleep(0.004)  # so that a kill has a chance to fall between the halves
            file.write(data[len(data) // 2 :])

    def tell(trainer: Trainer, loss_function: Any) -> Any:
        result = advance(trainer, loss_function)
        events.send_bytes(b"step")
        return result

    events.send_bytes(b"begin")
    with (
        mock.patch.object(Path, "write_bytes", half_by_half),
        mock.patch.object(Trainer, "advance", tell),
    ):
        trainer_of(folder, recipe=LONG, habits=STEADY).run()


def start(server: Any, folder: Path) -> Any:
    """A process that trains, and the end of a pipe where it tells of its events."""
    events, ours = server.Pipe(duplex=False)
    process = server.Process(target=train_and_tell, args=(folder, ours))
    process.start()
    ours.close()
    return process, events


def train_in_child(server: Any, folder: Path) -> Transformer:
    process, events = start(server, folder)
    with suppress(EOFError):
        while True:
            events.recv_bytes()
    process.join()
    assert process.exitcode == 0
    return load(folder / MODEL)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a signal that none can catch")
def test_a_run_that_is_killed_again_and_again_ends_as_if_nothing_had_been(server, tmp_path) -> None:
    rng = np.random.default_rng(0)
    folder, reached, left = tmp_path / "killed", 0, []
    for _ in range(KILLS):
        process, events = start(server, folder)
        before = now = time.perf_counter()
        for _ in range(rng.integers(1, 9)):
            assert events.recv_bytes()
            before, now = now, time.perf_counter()
        # Anywhere until the next event, however fast the machine is.
        time.sleep(rng.random() * min(now - before, 0.1))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        events.close()
        if reached or (folder / CHECKPOINT).exists():
            _, info = load_tensors(folder / CHECKPOINT)
            assert info["step"] >= reached
            reached = info["step"]
        left.append(len(list(folder.glob(".*"))))
    assert 0 < reached < LONG.steps
    assert max(left) <= 1  # what one kill can leave, and no resumed run keeps
    killed = train_in_child(server, folder)
    whole = train_in_child(server, tmp_path / "whole")
    assert same_weights(killed, whole)
    assert list(folder.glob(".*")) == []
    for name in ("log.csv", "validation.csv"):
        pd.testing.assert_frame_equal(settled(folder, name), settled(tmp_path / "whole", name))


# --- several processes --------------------------------------------------------------------------


def free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def train_as_rank(port: int, rank: int, folder: Path, weights: Path, recipe: Recipe) -> None:
    """One of two processes that train together; writes its own weights to `weights`."""
    torch.set_num_threads(1)
    train.peak_flops = lambda device, dtype: 1e12
    os.environ.update(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE="2"
    )
    with processes(CPU) as (place, device):
        assert place == Rank(rank, 2)
        trainer = trainer_of(folder, recipe=recipe, device=device, rank=place)
        save(trainer.run(), weights)


def train_together(
    server: Any, folders: list[Path], weights: Path, recipe: Recipe = QUICK
) -> list[Transformer]:
    """The models that two processes hold when they have trained together."""
    port, paths = free_port(), [weights / f"{rank}.safetensors" for rank in (0, 1)]
    children = [
        server.Process(target=train_as_rank, args=(port, rank, folder, path, recipe))
        for rank, (folder, path) in enumerate(zip(folders, paths, strict=True))
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(300)
        assert child.exitcode == 0
    return [load(path) for path in paths]


def assert_close(one: Transformer, other: Transformer, tolerance: float) -> None:
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")


# Muon's Newton-Schulz steps are in bfloat16: a rounding of a sum can move a weight by 2^-8 of
# what a step moves it, here 0.005. Seen: 1e-7 and 7e-4 in the weights, 3e-7 and 4e-5 in the log.
@pytest.mark.parametrize(("optimiser", "tolerance"), [("adamw", 1e-5), ("muon", 5e-3)])
def test_two_processes_train_the_model_of_one(
    optimiser, tolerance, server, uninterrupted, tmp_path
) -> None:
    recipe = replace(QUICK, optimiser=optimiser)
    alone, folder = uninterrupted("lexinvariant", optimiser)
    folders = [tmp_path / "0", tmp_path / "1"]
    one, other = train_together(server, folders, tmp_path / "weights", recipe)
    assert same_weights(one, other)
    assert_close(one, alone, tolerance)
    assert one.provenance["processes"] == 2
    assert same_weights(load(folders[0] / MODEL), one)
    assert not folders[1].exists()  # it is the first that writes
    log, expected = (pd.read_csv(where / "log.csv") for where in (folders[0], folder))
    assert list(log["step"]) == list(expected["step"])
    np.testing.assert_allclose(log["bits"], expected["bits"], rtol=0, atol=tolerance)


def test_two_processes_go_on_with_the_run_of_one(server, uninterrupted, tmp_path) -> None:
    recipe = replace(QUICK, optimiser="adamw")
    folder = tmp_path / "run"
    interrupt(trainer_of(folder, recipe=recipe), 8)
    one, other = train_together(server, [folder, folder], tmp_path / "weights", recipe)
    assert same_weights(one, other)
    assert_close(one, uninterrupted("lexinvariant", "adamw")[0], 1e-5)


def test_rows_are_shared_out_evenly_and_whole() -> None:
    rows = [list(range(12))[Rank(rank, 4).rows(12)] for rank in range(4)]
    assert rows == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    assert [Rank(rank, 4).writes for rank in range(4)] == [True, False, False, False]


def test_a_batch_that_cannot_be_shared_evenly_is_refused(tmp_path) -> None:
    message = refusal(lambda: trainer_of(tmp_path, rank=Rank(0, 3)))
    assert "8 windows of 16 symbols cannot be shared evenly by 3 processes" in message
    trainer_of(tmp_path, rank=Rank(0, 4))


def test_one_process_needs_no_others(monkeypatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with processes(CPU) as (rank, device):
        assert rank == Rank(0, 1)
        assert device == CPU


# --- the journal --------------------------------------------------------------------------------


def test_the_log_tells_what_was_done(tmp_path) -> None:
    recipe = replace(QUICK, symbols=13 * 128, curriculum=Curriculum(0.2, 0.5, 0.8))
    for every in (1, 4):
        habits = Habits(log=every, validate=6, checkpoint=5, progress=False)
        trainer_of(tmp_path / str(every), recipe=recipe, habits=habits).run()
    fine, log = (pd.read_csv(tmp_path / name / "log.csv") for name in "14")
    assert list(log["step"]) == [4, 8, 12, 13]
    assert list(log["symbols"]) == [128 * step for step in log["step"]]
    bits = fine["bits"].to_numpy()
    means = [bits[:4].mean(), bits[4:8].mean(), bits[8:12].mean(), bits[12]]
    np.testing.assert_allclose(log["bits"], means, rtol=1e-6)
    bounds = [recipe.curriculum.bounds((step - 1) / 13) for step in log["step"]]
    np.testing.assert_allclose(log[["share_low", "share_high"]], bounds)
    np.testing.assert_allclose(log["rate"], [recipe.rate(step - 1) for step in log["step"]])
    assert (log["symbols_a_second"] > 0).all()
    assert (log["mfu"] > 0).all()
    assert (log["seconds"].diff()[1:] > 0).all()
    validation = pd.read_csv(tmp_path / "4" / "validation.csv")
    assert sorted(set(validation["step"])) == [6, 12, 13]
    assert list(validation.columns) == ["step", "symbols", "share", "first", "last", "bits"]


def test_tensorboard_has_the_rows_of_the_tables(tmp_path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    # The checkpoint at step 10 has a measurement of its own step, and no row of the log.
    habits = replace(OFTEN, validate=5)
    interrupt(trainer_of(tmp_path, habits=habits), 11)
    trainer_of(tmp_path, habits=habits).run()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    log = pd.read_csv(tmp_path / "log.csv")
    shown = {event.step: event.value for event in events.Scalars("train/bits")}
    assert shown == pytest.approx(dict(zip(log["step"], log["bits"], strict=True)), rel=1e-6)
    validation = pd.read_csv(tmp_path / "validation.csv").query("share == 1 and first == 17")
    scalars = events.Scalars("validation/p=1/17-32")
    # What was measured right at the checkpoint is kept, and what came after it is there once.
    assert [event.step for event in scalars] == list(validation["step"])
    assert [event.value for event in scalars] == pytest.approx(list(validation["bits"]), rel=1e-6)


def test_a_journal_comes_back_up_to_a_step(tmp_path) -> None:
    journal = Journal(tmp_path / "new")
    journal.add({"step": 2, "bits": 4.25})
    journal.add({"step": 4, "bits": 1 / 3})
    journal.save()
    again = Journal(tmp_path / "new")
    again.load(4)
    assert again.log == journal.log
    assert again.validation == []  # an empty table is none
    again.load(3)
    assert again.log == [{"step": 2, "bits": 4.25}]
    again.load(1)
    assert again.log == []


@pytest.mark.parametrize(
    "text", ["", "\n", "no,table\n1,2\n", "step\nno number\n", "a\n1,2\n1,2,3\n", "\udcff\udcfe"]
)
def test_a_table_that_cannot_be_read_is_left_out(text, tmp_path) -> None:
    (tmp_path / "log.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    journal = Journal(tmp_path)
    journal.load(5)
    assert journal.log == []


def test_a_journal_of_another_process_writes_nothing(tmp_path) -> None:
    journal = Journal(tmp_path / "none", writes=False)
    with journal.open(100, 0, progress=True):
        journal.add({"step": 1, "bits": 1.0})
        journal.add_validation([{"step": 1, "share": 1, "first": 1, "last": 16, "bits": 1.0}])
    assert not (tmp_path / "none").exists()


def test_a_meter_leaves_out_pauses(monkeypatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    meter = Meter(7.0)
    now += 2
    meter.add(30)
    assert meter.seconds == pytest.approx(9)
    with meter.paused():
        now += 50
    now += 1
    meter.add(30)
    assert meter.seconds == pytest.approx(10)
    assert meter.rate() == pytest.approx(20)
    now += 4
    meter.add(20)
    assert meter.rate() == pytest.approx(5)


# --- speed --------------------------------------------------------------------------------------


def counted_flops(model: Transformer, length: int) -> float:
    """Operations a symbol, forward and backward, by torch's own count."""
    tokens = torch.randint(model.alphabet.size, (4, length), generator=seeded(0))
    vectors = model.draw_vectors(4)
    # Of fused attention torch counts nothing on a CPU.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.training_loss(tokens, vectors).mean().backward()
    return counter.get_total_flops() / tokens.numel()


@pytest.mark.parametrize("embedding", ["learned", "lexinvariant", "hinted"])
@pytest.mark.parametrize("vector_width", [32, 128])
@pytest.mark.parametrize(("matching", "pointer"), [(0, 0), (2, 64)])
def test_the_arithmetic_of_a_step_is_what_torch_counts(
    embedding, vector_width, matching, pointer
) -> None:
    """In windows so short that attention, which torch counts with what is masked, is little.

    What is left between the two: the vectors of a lexinvariant model need no gradient, and the
    start vector is one position more.
    """
    config = Config(embedding, 2, 4, 128, 512, 16, vector_width, matching=matching, pointer=pointer)
    model = Transformer(config, LETTERS_SPACE)
    assert flops_per_symbol(model, 16) == pytest.approx(counted_flops(model, 16), rel=0.1)


@pytest.mark.parametrize("pointer", [0, 8])
@pytest.mark.parametrize("matching", [0, 1])
def test_attention_costs_half_of_what_is_not_masked(matching, pointer) -> None:
    model = Transformer(replace(preset("tiny"), matching=matching, pointer=pointer), LETTERS)
    grown = flops_per_symbol(model, 64) - flops_per_symbol(model, 32)
    # Forward and backward, 3 times 2; for each of the 16 more positions that a symbol looks at on
    # average: keys with the marks of 26 symbols in 4 heads and values, in 2 layers, and a pointer.
    keys = 32 + (4 * 26 if matching else 0)
    assert grown == 3 * 2 * (2 * (keys + 32) + pointer) * 16
    # Torch counts all that is masked; the start vector, which is not read, is less of the whole.
    counted = counted_flops(model, 64) - counted_flops(model, 32)
    assert counted == pytest.approx(2 * grown, rel=1e-3)


def test_peaks_are_known_or_measured(monkeypatch) -> None:
    assert speed.peak_flops(CPU, torch.float32) > 1e6
    gpu = torch.device("cuda")
    for name, peak in (("NVIDIA H100 80GB HBM3", 989e12), ("NVIDIA A100-SXM4-80GB", 312e12)):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device, name=name: name)
        assert peak_flops(gpu, torch.bfloat16) == peak
