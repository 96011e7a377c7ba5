"""The transformer: causal, cached, and blind to what its symbols are called."""

from __future__ import annotations

import math
from dataclasses import replace
from string import ascii_lowercase, digits
from unittest import mock

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 (the name everybody knows it by)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ciphers import LETTERS, Alphabet, InputError
from decipher.lexinvariant.model import (
    BONUS,
    PRESETS,
    Attention,
    Config,
    Rotary,
    Transformer,
    last_places,
    mark_symbols,
    preset,
)

EMBEDDINGS = ["learned", "lexinvariant", "mixed", "hinted"]
embeddings = pytest.mark.parametrize("embedding", EMBEDDINGS)
#: Of each statistical test, over the choice of its seed.
FALSE_ALARM = 1e-4


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_alphabet(size: int) -> Alphabet:
    return Alphabet((ascii_lowercase + digits)[:size], f"first-{size}")


def perturbed(config: Config, size: int, seed: int = 0) -> Transformer:
    """A model no weight of which is at its initial zero, so that every part has a say."""
    model = Transformer(config, small_alphabet(size))
    generator = seeded(seed)
    model.initialise(generator)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
    return model


def tiny(embedding="lexinvariant", size=7, seed=0, **options) -> Transformer:
    return perturbed(replace(preset("tiny", embedding), **options), size, seed)


def random_tokens(batch: int, n: int, size: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(size, (batch, n), generator=seeded(seed))


def relabelled(tokens, vectors, seed=0):
    """Tokens and vectors under a permutation of the symbols for each row; the permutations."""
    B, V, _ = vectors.shape
    generator = seeded(seed)
    new_ids = torch.stack([torch.randperm(V, generator=generator) for _ in range(B)])
    moved = torch.empty_like(vectors)
    for row, ids in enumerate(new_ids):
        moved[row, ids] = vectors[row]
    return new_ids.gather(1, tokens), moved, new_ids


# --- shapes and causality -----------------------------------------------------------------------


@embeddings
@pytest.mark.parametrize("n", [0, 1, 9])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_shapes_and_types(embedding, n, dtype) -> None:
    model = tiny(embedding)
    tokens = random_tokens(3, n, 7).to(dtype)
    vectors = model.draw_vectors(3, seeded(1))
    assert vectors.shape == (3, 7, 9 if embedding == "hinted" else 8)
    results = {
        (3, n + 1, 7): [model(tokens, vectors), model.log_conditionals(tokens, vectors=vectors)],
        (3, n): [model.loss_by_position(tokens, vectors=vectors)],
        (3, 3, n + 1, 32): [model.hidden_states(tokens, vectors)],
    }
    for shape, arrays in results.items():
        for array in arrays:
            assert array.shape == shape
            assert array.dtype == torch.float32
            assert array.isfinite().all()
    assert model.sample(tokens, 4, seeded(2)).dtype == dtype


@embeddings
@pytest.mark.parametrize("n", [1, 2, 10])
def test_a_prediction_depends_on_all_that_came_before_and_on_nothing_else(embedding, n) -> None:
    model = tiny(embedding)
    tokens, vectors = random_tokens(4, n, 7), model.draw_vectors(4, seeded(1))
    logits, states = model(tokens, vectors), model.hidden_states(tokens, vectors)
    for i in range(n):
        changed = tokens.clone()
        changed[:, i] = (changed[:, i] + 1) % 7
        new_logits, new_states = model(changed, vectors), model.hidden_states(changed, vectors)
        # Position i predicts tokens[:, i], and position i + 1 is the first that has read it.
        assert torch.equal(new_logits[:, : i + 1], logits[:, : i + 1])
        assert torch.equal(new_states[:, :, : i + 1], states[:, :, : i + 1])
        assert (new_logits != logits)[:, i + 1 :].any(dim=-1).all()
        assert (new_states != states)[:, :, i + 1].any(dim=-1).all()


@embeddings
def test_a_longer_text_leaves_earlier_predictions_as_they_were(embedding) -> None:
    model = tiny(embedding)
    tokens, vectors = random_tokens(4, 12, 7), model.draw_vectors(4, seeded(1))
    logits = model(tokens, vectors)
    for n in range(12):
        torch.testing.assert_close(model(tokens[:, :n], vectors), logits[:, : n + 1])


@embeddings
def test_sequences_of_a_batch_do_not_meet(embedding) -> None:
    model = tiny(embedding)
    tokens, vectors = random_tokens(4, 9, 7), model.draw_vectors(4, seeded(1))
    logits = model(tokens, vectors)
    for b in range(4):
        alone = model(tokens[b : b + 1], vectors[b : b + 1])
        torch.testing.assert_close(alone, logits[b : b + 1])


@embeddings
@pytest.mark.parametrize("vector_width", [16, 32])
def test_hidden_states_lead_from_the_vectors_to_the_logits(embedding, vector_width) -> None:
    """The same vectors at both ends, hints at the first alone; where they are as wide as the
    stream, as they are. Beside them a query is held against the key of each symbol's newest place.
    """
    model = tiny(embedding, layers=3, vector_width=vector_width)
    tokens, vectors = random_tokens(4, 9, 7), model.draw_vectors(4, seeded(1))
    states = model.hidden_states(tokens, vectors)
    read = torch.stack([vectors[b, tokens[b]] for b in range(4)])
    told = read[..., vector_width:]
    read, vectors_alone = read[..., :vector_width], vectors[..., :vector_width]
    if vector_width < 32:
        read = read @ model.read.weight.T
    if embedding == "hinted":
        assert 0 < told.mean() < 1
        read = F.rms_norm(read, (32,)) + told * model.hints[tokens]
    read = torch.cat([model.start.expand(4, 1, -1), read], dim=1)
    torch.testing.assert_close(states[0], F.rms_norm(read, (32,)))
    marks = mark_symbols(tokens, 7)
    for i, block in enumerate(model.blocks):
        assert torch.equal(block(states[i], marks, model.rotary)[0], states[i + 1])
    x = F.rms_norm(states[3], (32,))
    y = x @ model.write.weight.T if vector_width < 32 else x
    logits = y @ vectors_alone.mT * model.log_scale.exp() / math.sqrt(vector_width)
    queries, keys = x @ model.pointer_query.weight.T, x @ model.pointer_key.weight.T
    scale = model.log_pointer_scale.exp() / math.sqrt(8)
    for b, text in enumerate(tokens.tolist()):
        for i in range(10):
            for v in range(7):
                place = max((j + 1 for j in range(i) if text[j] == v), default=0)
                logits[b, i, v] += queries[b, i] @ keys[b, place] * scale
    torch.testing.assert_close(model(tokens, vectors), logits)


@embeddings
@pytest.mark.parametrize("ask", ["forward", "hidden_states", "log_conditionals", "loss"])
def test_a_text_beyond_the_context_is_refused(embedding, ask) -> None:
    model = tiny(embedding, context=8)
    vectors = model.draw_vectors(1)
    call = {
        "forward": lambda tokens: model(tokens, vectors),
        "hidden_states": lambda tokens: model.hidden_states(tokens, vectors),
        "log_conditionals": model.log_conditionals,
        "loss": model.loss_by_position,
    }[ask]
    assert call(random_tokens(1, 8, 7)).isfinite().all()
    with pytest.raises(InputError, match=r"^9 symbols are more than the context of 8: cut them$"):
        call(random_tokens(1, 9, 7))


# --- invariance ---------------------------------------------------------------------------------


def known_by_vectors_alone(model: Transformer, batch: int, seed: int) -> torch.Tensor:
    """Vectors of the model's own, but without hints, which go by names."""
    share = 1.0 if model.config.embedding == "hinted" else None
    return model.draw_vectors(batch, seeded(seed), share)


#: Neither matching heads nor a pointer, each alone, and both; and both in two passes.
comparisons = pytest.mark.parametrize(
    "options",
    [
        {"matching": 0, "pointer": 0},
        {"matching": 2, "pointer": 0},
        {"matching": 0, "pointer": 5},
        {"matching": 1, "pointer": 8},
        {"matching": 1, "pointer": 8, "passes": 2},
    ],
    ids=["neither", "matching", "pointer", "both", "passes"],
)


@pytest.mark.parametrize("embedding", ["lexinvariant", "mixed", "hinted"])
@pytest.mark.parametrize("size", [2, 5, 26, 27, 33])
@pytest.mark.parametrize("n", [1, 20])
def test_relabelling_with_the_vectors_changes_no_bit(embedding, size, n) -> None:
    assert_no_bit_changes(tiny(embedding, size), n)


@comparisons
@pytest.mark.parametrize("shifted", [(0, 0), (1, 1), (2, 0), (0, 2)])
def test_symbols_are_compared_and_not_named(options, shifted) -> None:
    keys, values = shifted
    model = tiny(size=27, shifted_keys=keys, shifted_values=values, **options)
    with torch.no_grad():
        for block in model.blocks:
            if options["matching"]:
                block.attention.bonus.copy_(torch.tensor([3.0, -2, 0.3, 7])[:, None, None])
        if options["pointer"]:
            model.log_pointer_scale += 1
    assert_no_bit_changes(model, 30)


def assert_no_bit_changes(model: Transformer, n: int) -> None:
    """...of the loss and the predictions, when symbols and vectors are renamed together."""
    size = model.alphabet.size
    tokens, vectors = random_tokens(4, n, size), known_by_vectors_alone(model, 4, 1)
    new_tokens, new_vectors, new_ids = relabelled(tokens, vectors)
    assert not torch.equal(new_tokens, tokens)
    loss = model.loss_by_position(tokens, vectors=vectors)
    assert torch.equal(model.loss_by_position(new_tokens, vectors=new_vectors), loss)
    log_p = model.log_conditionals(tokens, vectors=vectors)
    new_log_p = model.log_conditionals(new_tokens, vectors=new_vectors)
    assert torch.equal(new_log_p.gather(2, new_ids[:, None].expand_as(log_p)), log_p)
    # The tokens alone are another text to the model.
    differs = model.loss_by_position(new_tokens, vectors=vectors) != loss
    assert torch.equal(differs.any(dim=1), (new_tokens != tokens).any(dim=1))


def names_matter(model: Transformer, draws: int = 400) -> bool:
    """Whether a text's loss, over independent vectors, is distributed otherwise than a relabelled
    text's.

    The two-sample Kolmogorov-Smirnov test at `FALSE_ALARM`. It is exact where the losses are
    continuous, and conservative where they are not: a learned model's do not vary at all.
    """
    V = model.alphabet.size
    text = torch.cat([torch.arange(V), torch.zeros(V), random_tokens(1, V, V)[0]]).long()
    losses = [
        model.loss_by_position(tokens.expand(draws, -1), seeded(seed)).mean(dim=1).numpy()
        for seed, tokens in enumerate((text, (text + 1) % V))
    ]
    return bool(stats.ks_2samp(*losses).pvalue < FALSE_ALARM)


@pytest.mark.parametrize("seed", range(4))
def test_names_matter_to_models_with_a_table_only(seed) -> None:
    assert not names_matter(tiny("lexinvariant", seed=seed))
    mixed = tiny("mixed", seed=seed, random_share=0.1)
    assert not names_matter(mixed.lexinvariant())
    assert names_matter(mixed)
    assert names_matter(tiny("learned", seed=seed))


@pytest.mark.parametrize("seed", range(3))
def test_names_matter_of_symbols_that_are_told_only(seed) -> None:
    """Vectors and hints go with the symbols, so that nothing changes but what they are called."""
    model = tiny("hinted", seed=seed)
    tokens = torch.cat([torch.arange(7).expand(4, -1), random_tokens(4, 13, 7, seed)], dim=1)
    fresh = model.draw_vectors(4, seeded(seed), share=1.0)

    def change(told: list[int], swapped: list[int]) -> torch.Tensor:
        """By how much the losses change, [B], where two symbols swap names and some are told."""
        vectors = fresh.clone()
        vectors[:, told, -1] = 1
        new_ids = torch.arange(7)
        new_ids[swapped] = new_ids[swapped[::-1]]
        losses = (
            model.loss_by_position(new_tokens, vectors=new_vectors)
            for new_tokens, new_vectors in (
                (tokens, vectors), (new_ids[tokens], vectors[:, new_ids])
            )
        )  # fmt: skip
        one, other = losses
        return (one - other).abs().amax(dim=1)

    assert (change([], [0, 1]) == 0).all()
    assert (change([2, 3], [0, 1]) == 0).all()
    assert (change([0, 1, 2], [0, 1]) > 1e-3).all()
    assert (change([1], [0, 1]) > 1e-3).all()
    assert (change(list(range(7)), [5, 6]) > 1e-3).all()


def test_before_anything_is_read_all_symbols_are_alike() -> None:
    """Over the vectors the first symbol's distribution is uniform, and by Jensen's inequality its
    loss is above log V.

    Hotelling's T-squared of 20,000 draws, on all symbols but one, is chi-square with V - 1 degrees.
    """
    V, draws = 6, 20_000
    log_p = tiny(size=V).log_conditionals(torch.zeros(draws, 0, dtype=torch.long), seeded(0))[:, 0]
    p = log_p.double().exp()
    assert p.std(dim=0).min() > 0.03  # each model by itself has its favourites
    bias, covariance = p[:, 1:].mean(dim=0) - 1 / V, p[:, 1:].T.cov()
    t_squared = draws * bias @ torch.linalg.solve(covariance, bias)
    assert stats.chi2.sf(float(t_squared), V - 1) > FALSE_ALARM
    assert (-log_p.mean(dim=0) > math.log(V)).all()


# --- vectors ------------------------------------------------------------------------------------


def test_fresh_vectors_are_standard_normal() -> None:
    """Kolmogorov-Smirnov tests of all entries, and of each symbol's by itself.

    The entries are independent, so inner products of different vectors have mean 0 and variance E.
    """
    size, batch = 5, 400
    vectors = tiny(size=size).draw_vectors(batch, seeded(0))
    assert stats.kstest(vectors.flatten().numpy(), "norm").pvalue > FALSE_ALARM
    for v in range(size):
        assert stats.kstest(vectors[:, v].flatten().numpy(), "norm").pvalue > FALSE_ALARM
    within = (vectors[:, 0] * vectors[:, 1]).sum(dim=-1)
    across = (vectors[:-1, 0] * vectors[1:, 0]).sum(dim=-1)
    for products in (within, across):
        z = float(products.sum()) / math.sqrt(vectors.shape[-1] * len(products))
        assert 2 * stats.norm.sf(abs(z)) > FALSE_ALARM


@pytest.mark.parametrize("embedding", ["lexinvariant", "mixed", "hinted"])
def test_vectors_are_fresh_for_each_sequence_and_call(embedding) -> None:
    model, generator = tiny(embedding, random_share=1.0), seeded(0)
    drawn = torch.cat([model.draw_vectors(5, generator) for _ in range(3)])
    assert len(drawn.flatten(0, 1).unique(dim=0)) == 15 * 7
    assert torch.equal(model.draw_vectors(5, seeded(0)), drawn[:5])


@embeddings
def test_what_is_given_no_vectors_draws_its_own(embedding) -> None:
    model, tokens = tiny(embedding), random_tokens(5, 6, 7)
    vectors = model.draw_vectors(5, seeded(3))
    expected = model.log_conditionals(tokens, vectors=vectors)
    assert torch.equal(model.log_conditionals(tokens, seeded(3)), expected)
    differs = not torch.equal(model.log_conditionals(tokens, seeded(4)), expected)
    assert differs == (embedding != "learned")


@embeddings
def test_only_the_generator_given_is_drawn_from(embedding) -> None:
    model, tokens = tiny(embedding), random_tokens(2, 6, 7)
    state = torch.get_rng_state()
    model.initialise(seeded(0))
    model.draw_vectors(2, seeded(0), share=None if embedding == "lexinvariant" else 0.5)
    model.loss_by_position(tokens, seeded(0))
    model.sample(tokens, 3, seeded(0))
    assert torch.equal(torch.get_rng_state(), state)


@embeddings
@pytest.mark.parametrize("pointer", [0, 8])
def test_a_symbol_that_is_not_in_the_text_has_its_own_logit_only(embedding, pointer) -> None:
    """Its vector is what the output is held against, so that twice the vector is twice what it has
    beyond the pointer; a symbol of the text is read by the same vector."""
    model = tiny(embedding, pointer=pointer)
    tokens = random_tokens(3, 9, 6)  # symbol 6 is not in it, and 5 is once
    tokens[tokens == 5] = 0
    tokens[:, 4] = 5
    vectors = model.draw_vectors(3, seeded(1)).clone()
    logits = model(tokens, vectors)
    others = torch.arange(7) != 6
    fresh = vectors[:, 6, :8].clone()
    vectors[:, 6, :8] = 0
    pointed = model(tokens, vectors)[..., 6]
    assert (pointed != 0).all() if pointer else (pointed == 0).all()
    vectors[:, 6, :8] = 2 * fresh
    absent = model(tokens, vectors)
    assert torch.equal(absent[..., others], logits[..., others])
    torch.testing.assert_close(absent[..., 6] - pointed, 2 * (logits[..., 6] - pointed))
    if not pointer:
        assert torch.equal(absent[..., 6], 2 * logits[..., 6])

    vectors[:, 5, :8] = torch.randn(vectors[:, 5, :8].shape, generator=seeded(2))
    others = torch.arange(7) < 5
    present = model(tokens, vectors)
    assert torch.equal(present[:, :5, others], logits[:, :5, others])
    assert (present[:, 5:, others] != logits[:, 5:, others]).any(dim=-1).all()


@embeddings
def test_all_symbols_that_were_not_read_yet_are_pointed_at_alike(embedding) -> None:
    model = tiny(embedding)
    tokens, vectors = torch.tensor([[3, 3, 1, 3, 5, 1, 0]]), model.draw_vectors(1, seeded(1))
    alone, _ = model._outputs(tokens, vectors)
    pointed = model(tokens, vectors) - model._logits(alone, vectors, None)
    for i in range(8):
        unread = [v for v in range(7) if v not in tokens[0, :i]]
        read = [v for v in range(7) if v in tokens[0, :i]]
        start = pointed[0, i, unread]
        torch.testing.assert_close(start, start[:1].expand(len(unread)), atol=1e-5, rtol=0)
        # All others have keys of their own.
        for v in read:
            rest = pointed[0, i, [w for w in range(7) if w != v]]
            assert (rest - pointed[0, i, v]).abs().min() > 1e-4


def test_learned_vectors_are_the_table() -> None:
    model = tiny("learned")
    assert torch.equal(model.draw_vectors(3), model.table.expand(3, -1, -1))


@pytest.mark.parametrize("embedding", ["learned", "mixed"])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_shares_of_none_and_all(embedding, as_tensor) -> None:
    model = tiny(embedding)
    none, everything = (torch.full((4,), p) if as_tensor else p for p in (0.0, 1.0))
    assert torch.equal(model.draw_vectors(4, share=none), model.table.expand(4, -1, -1))
    fresh = model.draw_vectors(1000, seeded(0), torch.ones(1000) if as_tensor else everything)
    assert (fresh != model.table).any(dim=-1).all()
    assert stats.kstest(fresh.detach().flatten().numpy(), "norm").pvalue > FALSE_ALARM


@pytest.mark.parametrize("as_tensor", [False, True])
def test_hints_of_none_and_all(as_tensor) -> None:
    """The vectors are fresh whether the symbol is told or not."""
    model = tiny("hinted")
    for p, told in ((0.0, 1), (1.0, 0)):
        vectors = model.draw_vectors(1000, seeded(0), torch.full((1000,), p) if as_tensor else p)
        assert vectors.shape == (1000, 7, 9)
        assert vectors.dtype == torch.float32
        assert (vectors[..., 8] == told).all()
        assert stats.kstest(vectors[..., :8].flatten().numpy(), "norm").pvalue > FALSE_ALARM


def fresh_rows(model: Transformer, vectors: torch.Tensor) -> torch.Tensor:
    """Which symbols [B, V] are not known; a vector is learned or not as a whole."""
    if model.config.embedding == "hinted":
        told = vectors[..., -1]
        assert ((told == 0) | (told == 1)).all()
        return told == 0
    differs = vectors != model.table
    assert torch.equal(differs.any(dim=-1), differs.all(dim=-1))
    return differs.any(dim=-1)


@pytest.mark.parametrize("embedding", ["mixed", "hinted"])
def test_the_share_of_symbols_that_are_not_known_is_p(embedding) -> None:
    """Exact binomial tests: of a number, of p as the configuration has it, of p for each sequence,
    and of each symbol."""
    model = tiny(embedding, size=10, random_share=0.3)
    for share, p in ((0.85, 0.85), (None, 0.3)):
        fresh = fresh_rows(model, model.draw_vectors(1000, seeded(0), share))
        for v in range(10):
            assert stats.binomtest(int(fresh[:, v].sum()), 1000, p).pvalue > FALSE_ALARM
        # Symbols of a sequence are decided one by one.
        counts = torch.bincount(fresh.sum(dim=1), minlength=11).numpy()
        expected = 1000 * stats.binom.pmf(range(11), 10, p)
        likely = expected > 5
        cells = [[*x[likely], 1000 - x[likely].sum()] for x in (counts, expected)]
        assert stats.chisquare(*cells).pvalue > FALSE_ALARM

    shares = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0])
    generator = seeded(1)
    fresh = sum(
        fresh_rows(model, model.draw_vectors(5, generator, shares)).sum(dim=1) for _ in range(200)
    )
    for count, p in zip(fresh.tolist(), shares.double().tolist(), strict=True):
        assert stats.binomtest(count, 2000, p).pvalue > FALSE_ALARM


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_lexinvariant_model_has_nothing_but_fresh_vectors(share) -> None:
    model = tiny("lexinvariant")
    with pytest.raises(InputError, match=r"no learned vectors: its share is 1$"):
        model.draw_vectors(2, share=share)
    with pytest.raises(InputError, match=r"no learned vectors: its share is 1$"):
        model.draw_vectors(2, share=torch.full((2,), share))
    assert torch.equal(model.draw_vectors(2, seeded(0), share=1), model.draw_vectors(2, seeded(0)))
    assert not hasattr(model, "table")
    assert not hasattr(model, "hints")


def test_hints_learn_where_they_were_read_only() -> None:
    """Symbols that are told and in the text; others get nothing, to the bit."""
    model = tiny("hinted", size=10)
    tokens = random_tokens(3, 6, 10)
    vectors = model.draw_vectors(3, seeded(0))
    model.training_loss(tokens, vectors).mean().backward()
    read = {
        v
        for b, text in enumerate(tokens.tolist())
        for v in text[:-1]  # the last symbol is predicted only
        if vectors[b, v, -1]
    }
    assert 0 < len(read) < 10
    learns = model.hints.grad.abs().amax(dim=1) > 0
    assert learns.tolist() == [v in read for v in range(10)]


def test_the_table_learns_where_it_was_used_only() -> None:
    model = tiny("mixed", size=10)
    vectors = model.draw_vectors(6, seeded(0))
    weights = torch.randn(vectors.shape, generator=seeded(1))
    (vectors * weights).sum().backward()
    used = ~fresh_rows(model, vectors.detach())
    assert used.any()
    assert not used.all()
    torch.testing.assert_close(model.table.grad, (weights * used[..., None]).sum(dim=0))


@pytest.mark.parametrize(("embedding", "table"), [("mixed", "table"), ("hinted", "hints")])
def test_a_model_can_leave_what_it_knows_of_symbols(embedding, table) -> None:
    before = tiny(embedding, shifted_keys=2)
    model = before.lexinvariant()
    tokens, vectors = random_tokens(3, 9, 7), before.draw_vectors(3, seeded(0), share=1.0)
    fresh = vectors[..., :8].contiguous()
    assert torch.equal(model(tokens, fresh), before(tokens, vectors))
    assert torch.equal(model.hidden_states(tokens, fresh), before.hidden_states(tokens, vectors))
    loss = before.loss_by_position(tokens, vectors=vectors)
    assert torch.equal(model.loss_by_position(tokens, vectors=fresh), loss)
    # Known symbols are something else.
    known = before.draw_vectors(3, seeded(0), share=0.0)
    assert (before.loss_by_position(tokens, vectors=known)[:, 1:] != loss[:, 1:]).all()
    assert model.config == replace(before.config, embedding="lexinvariant")
    assert set(before.state_dict()) - set(model.state_dict()) == {table}
    assert not hasattr(model, table)
    assert model.alphabet == before.alphabet
    # What is done to one is not done to the other.
    with torch.no_grad():
        model.start += 1
    assert not torch.equal(model(tokens, fresh), before(tokens, vectors))
    assert before.config.embedding == embedding


# --- where symbols are --------------------------------------------------------------------------

texts = st.integers(1, 9).flatmap(
    lambda size: st.tuples(
        st.just(size),
        st.integers(0, 12).flatmap(
            lambda n: st.lists(
                st.lists(st.integers(0, size - 1), min_size=n, max_size=n), min_size=1, max_size=3
            )
        ),
    )
)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
@settings(max_examples=60)
@given(texts)
def test_where_symbols_are(dtype, size_and_texts) -> None:
    size, rows = size_and_texts
    tokens = torch.tensor(rows, dtype=dtype).reshape(len(rows), -1)
    marks, newest = mark_symbols(tokens, size), last_places(tokens, size)
    shape = (len(rows), tokens.shape[1] + 1, size)
    assert (marks.shape, marks.dtype) == (shape, torch.bool)
    assert (newest.shape, newest.dtype) == (shape, torch.int64)
    for b, text in enumerate(rows):
        order: list[int] = []  # of first appearance
        last = [0] * size
        assert not marks[b, 0].any()
        assert newest[b, 0].tolist() == last
        for i, symbol in enumerate(text, start=1):
            if symbol not in order:
                order.append(symbol)
            last[symbol] = i
            assert marks[b, i].nonzero().flatten().tolist() == [order.index(symbol)]
            assert newest[b, i].tolist() == last


def test_marks_and_places_by_hand() -> None:
    """Ids up to the last, and a text of 256 symbols where bytes end."""
    tokens = torch.tensor([[2, 0, 2, 1]], dtype=torch.uint8)
    assert mark_symbols(tokens, 3)[0].long().tolist() == [
        [0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]
    ]  # fmt: skip
    assert last_places(tokens, 3)[0].tolist() == [
        [0, 0, 0], [0, 0, 1], [2, 0, 1], [2, 0, 3], [2, 4, 3]
    ]  # fmt: skip
    everything = torch.arange(255, -1, -1, dtype=torch.uint8)[None]
    assert torch.equal(mark_symbols(everything, 256)[0, 1:], torch.eye(256, dtype=torch.bool))
    assert last_places(everything, 256)[0, -1].tolist() == list(range(256, 0, -1))


# --- attention ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("by_key", "by_value"), [(0, 0), (2, 0), (0, 2), (2, 1), (5, 0), (0, 5)])
def test_heads_are_shifted(by_key, by_value) -> None:
    config = Config(heads=5, width=20, vector_width=4, shifted_keys=by_key, shifted_values=by_value)
    generator = seeded(0)
    key, value = (torch.randn(3, 5, 6, 4, generator=generator) for _ in range(2))
    keys, values = Attention(config)._shift(key, value, None)
    for new, old, heads in (
        (keys, key, range(by_key)),
        (values, value, range(5 - by_value, 5)),
    ):
        for head in range(5):
            if head in heads:
                assert (new[:, head, 0] == 0).all()
                assert torch.equal(new[:, head, 1:], old[:, head, :-1])
            else:
                assert torch.equal(new[:, head], old[:, head])


@pytest.mark.parametrize("shifted", [{"shifted_keys": 1}, {"shifted_values": 1}])
def test_shifted_heads_make_another_model(shifted) -> None:
    none = tiny(shifted_keys=0, shifted_values=0)
    model = tiny(**({"shifted_keys": 0, "shifted_values": 0} | shifted))
    model.load_state_dict(none.state_dict())
    tokens, vectors = random_tokens(3, 9, 7), model.draw_vectors(3, seeded(0))
    assert (model(tokens, vectors) - none(tokens, vectors)).abs().max() > 1e-3


@pytest.mark.parametrize("matching", [0, 1])
def test_attention_is_that_of_the_formula(matching) -> None:
    """Position by position and head by head: softmax of sharp cosines, and of the bonus where the
    key is of the same symbol, times values."""
    config = Config(
        heads=4, width=16, vector_width=4, rotary=0, shifted_keys=1, shifted_values=1,
        matching=matching,
    )  # fmt: skip
    attention, generator = Attention(config), seeded(0)
    for weight in attention.parameters():
        torch.nn.init.normal_(weight, generator=generator)
    x = torch.randn(1, 8, 16, generator=generator)
    tokens = torch.tensor([[2, 1, 2, 2, 0, 1, 2]])
    symbols = [None, *tokens[0].tolist()]  # of each position
    mixed = torch.zeros(8, 16)
    for head in range(4):
        columns = slice(4 * head, 4 * head + 4)
        query, key, value = (
            project(x)[0, :, columns].detach()
            for project in (attention.query, attention.key, attention.value)
        )
        query, key = 2 * F.normalize(query), 2 * F.normalize(key)  # sqrt(4): mean square 1
        matched = symbols
        if head == 0:
            key = torch.cat([torch.zeros(1, 4), key[:-1]])
            matched = [None, *symbols[:-1]]
        if head == 3:
            value = torch.cat([torch.zeros(1, 4), value[:-1]])
        for i in range(8):
            scores = key[: i + 1] @ query[i] * attention.log_sharpness[head, 0, 0].exp() / 2
            if matching:
                same = [symbols[i] is not None and matched[j] == symbols[i] for j in range(i + 1)]
                scores = scores + torch.tensor(same) * attention.bonus[head, 0, 0]
            mixed[i, columns] = (scores.softmax(dim=0) @ value[: i + 1]).detach()
    y, _ = attention(x, mark_symbols(tokens, 3), Rotary(4, 0, 8))
    torch.testing.assert_close(y[0], attention.output(mixed), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("heads", "by_key", "by_value", "matching", "first"),
    [
        (6, 2, 1, 1, [1, 1, 1, 0, 0, 1]),
        (6, 0, 0, 2, [1, 1, 0, 0, 0, 0]),
        (4, 0, 2, 1, [1, 0, 1, 1]),
        (4, 2, 1, 1, [1, 1, 1, 1]),
    ],
)
def test_which_heads_match_at_first(heads, by_key, by_value, matching, first) -> None:
    sizes = {"heads": heads, "width": 4 * heads, "vector_width": 4, "matching": matching}
    config = Config(**sizes, shifted_keys=by_key, shifted_values=by_value)
    assert Attention(config).bonus.flatten().tolist() == [BONUS * share for share in first]
    assert BONUS > 3  # e^3 times the weight of another place


def test_weights_are_there_for_what_is_asked_for_only() -> None:
    """And without either, nothing is left of them: the sizes of a model of before."""
    names = {name for name, _ in tiny().named_parameters()}
    matches = {f"blocks.{i}.attention.bonus" for i in range(2)}
    points = {"pointer_query.weight", "pointer_key.weight", "log_pointer_scale"}
    assert matches | points <= names
    for options, left_out in (
        ({"matching": 0}, matches),
        ({"pointer": 0}, points),
        ({"matching": 0, "pointer": 0}, matches | points),
    ):
        model = tiny(**options)
        assert {name for name, _ in model.named_parameters()} == names - left_out
        tokens, vectors = random_tokens(2, 9, 7), model.draw_vectors(2, seeded(0))
        outputs, added = model._outputs(tokens, vectors)
        assert (added is None) == ("pointer" in options)
        assert torch.equal(model._logits(outputs, vectors, added), model(tokens, vectors))


@pytest.mark.parametrize("matching", [0, 1])
def test_a_block_adds_to_its_stream(matching) -> None:
    model = tiny(matching=matching)
    block, x = model.blocks[0], 3 * torch.randn(2, 6, 32, generator=seeded(0))
    marks = mark_symbols(random_tokens(2, 5, 7), 7)
    y = x + block.attention(F.rms_norm(x, (32,)), marks, model.rotary)[0]
    hidden = F.gelu(F.rms_norm(y, (32,)) @ block.mlp.up.weight.T)
    expected = y + hidden @ block.mlp.down.weight.T
    torch.testing.assert_close(block(x, marks, model.rotary)[0], expected)


def test_rotation_tells_distances() -> None:
    """It keeps lengths, and inner products depend on how far apart two places are."""
    generator = seeded(0)
    a, b = (torch.randn(8, generator=generator).expand(20, 8) for _ in range(2))
    rotary = Rotary(8, 1.0, 20)
    products = rotary(a, 0) @ rotary(b, 0).T
    for distance in range(-19, 20):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))
    assert products[0].std() > 0.1
    torch.testing.assert_close(rotary(a, 0).norm(dim=-1), a.norm(dim=-1))
    assert torch.equal(rotary(a[5:9], 5), rotary(a, 0)[5:9])
    assert torch.equal(Rotary(8, 0, 20)(a, 0), a)
    half = Rotary(8, 0.5, 20)(a, 0)
    still = torch.tensor([2, 3, 6, 7])  # entries i and i + 4 are a pair
    assert torch.equal(half[:, still], a[:, still])
    assert (half != a)[1:, [0, 1, 4, 5]].all()


# --- sampling -----------------------------------------------------------------------------------


def sampled_with_logits(model: Transformer, prompt, count, **options):
    """What `sample` returns, and the logits [B, count, V] that it drew from."""
    seen = []
    logits_of = model._logits

    def recording(outputs, vectors, added):
        seen.append(logits_of(outputs, vectors, added))
        return seen[-1]

    with mock.patch.object(model, "_logits", recording):
        tokens = model.sample(prompt, count, **options)
    return tokens, torch.cat(seen, dim=1)


@embeddings
@pytest.mark.parametrize("n", [0, 1, 5])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_what_is_remembered_equals_what_is_read_again(embedding, n, temperature) -> None:
    assert_remembers(tiny(embedding), n, temperature)


@comparisons
@pytest.mark.parametrize("shifted", [(0, 0), (2, 0), (0, 2)])
def test_each_part_is_remembered(options, shifted) -> None:
    keys, values = shifted
    assert_remembers(tiny(shifted_keys=keys, shifted_values=values, **options), 3, 1.0)


def assert_remembers(model: Transformer, n: int, temperature: float) -> None:
    prompt, vectors = random_tokens(8, n, 7), model.draw_vectors(8, seeded(1))
    tokens, logits = sampled_with_logits(
        model, prompt, 12, generator=seeded(2), vectors=vectors, temperature=temperature
    )
    assert tokens.shape == (8, n + 12)
    assert torch.equal(tokens[:, :n], prompt)
    full = model(tokens[:, :-1], vectors)[:, n:]
    torch.testing.assert_close(logits, full, atol=1e-5, rtol=0)
    if temperature == 0:
        assert torch.equal(tokens[:, n:], full.argmax(dim=-1))
    else:
        assert len(tokens[:, n:].unique()) > 2


@embeddings
def test_sampling_is_reproducible(embedding) -> None:
    model, prompt = tiny(embedding), random_tokens(4, 5, 7)
    tokens = model.sample(prompt, 20, seeded(0))
    assert torch.equal(tokens[:, :5], prompt)
    assert torch.equal(model.sample(prompt, 20, seeded(0)), tokens)
    assert not torch.equal(model.sample(prompt, 20, seeded(1)), tokens)
    assert ((tokens >= 0) & (tokens < 7)).all()
    assert torch.equal(model.sample(prompt, 0, seeded(0)), prompt)


@pytest.mark.parametrize("temperature", [0.6, 1.0, 2.0])
@pytest.mark.parametrize("n", [0, 3])
def test_samples_are_draws_from_the_model(n, temperature) -> None:
    """Chi-square tests of the first symbol, and of it together with the second."""
    model, V, draws = tiny(size=4), 4, 20_000
    with torch.no_grad():
        model.log_scale -= 1  # so that no symbol is too rare for the tests
    prompt, vectors = random_tokens(1, n, V), model.draw_vectors(1, seeded(5))
    tokens = model.sample(
        prompt.expand(draws, -1), 2, seeded(1), vectors.expand(draws, -1, -1), temperature
    )
    ways = torch.cat([prompt.expand(V, -1), torch.arange(V)[:, None]], dim=1)
    logits = model(ways, vectors.expand(V, -1, -1)).detach().double() / temperature
    first, second = logits[0, n].softmax(dim=-1), logits[:, n + 1].softmax(dim=-1)
    expected = draws * first[:, None] * second
    counts = torch.bincount(V * tokens[:, n] + tokens[:, n + 1], minlength=V * V).view(V, V)
    assert expected.min() > 5
    assert stats.chisquare(counts.sum(dim=1), expected.sum(dim=1)).pvalue > FALSE_ALARM
    assert stats.chisquare(counts.flatten(), expected.flatten()).pvalue > FALSE_ALARM
    uniform = torch.full((V,), draws / V)
    assert stats.chisquare(counts.sum(dim=1), uniform).pvalue < FALSE_ALARM


def test_impossible_samples_are_refused() -> None:
    model, prompt = tiny(context=8), random_tokens(2, 3, 7)
    with pytest.raises(InputError, match=r"^temperature -0\.1 is no number from 0 up"):
        model.sample(prompt, 2, temperature=-0.1)
    assert model.sample(prompt, 5).shape == (2, 8)
    with pytest.raises(InputError, match=r"^3 symbols and 6 more are beyond the context of 8"):
        model.sample(prompt, 6)


# --- losses -------------------------------------------------------------------------------------


@embeddings
def test_losses_are_those_of_normalised_predictions(embedding) -> None:
    model = tiny(embedding)
    tokens, vectors = random_tokens(4, 9, 7), model.draw_vectors(4, seeded(1))
    log_p = model.log_conditionals(tokens, vectors=vectors)
    torch.testing.assert_close(log_p.exp().sum(dim=-1), torch.ones(4, 10))
    torch.testing.assert_close(log_p, model(tokens, vectors).log_softmax(dim=-1))
    loss = model.loss_by_position(tokens, vectors=vectors)
    for b in range(4):
        for i in range(9):
            assert loss[b, i] == -log_p[b, i, tokens[b, i]]
    torch.testing.assert_close(model.training_loss(tokens, vectors), loss)
    assert not log_p.requires_grad
    assert not loss.requires_grad


@embeddings
def test_every_weight_learns(embedding) -> None:
    model = tiny(embedding, random_share=0.5)
    tokens = random_tokens(4, 9, 7)
    model.training_loss(tokens, model.draw_vectors(4, seeded(1))).mean().backward()
    for name, weight in model.named_parameters():
        assert weight.grad.isfinite().all(), name
        assert weight.grad.abs().max() > 0, name


@pytest.mark.parametrize("embedding", ["mixed", "hinted"])
def test_weights_come_from_the_generator(embedding) -> None:
    model = tiny(embedding)
    model.initialise(seeded(0))
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    model.initialise(seeded(1))
    for name, weight in model.state_dict().items():
        constant = name in ("log_scale", "log_pointer_scale") or name.endswith(
            ("log_sharpness", "bonus", "mlp.down.weight")
        )
        assert torch.equal(weight, weights[name]) == constant, name
    model.initialise(seeded(0))
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, weights[name]), name


# --- sizes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"layers": 0}, "layers is 0"),
        ({"passes": 0}, "passes is 0"),
        ({"heads": 0}, "heads is 0"),
        ({"heads": -2}, "heads is -2"),
        ({"width": 0}, "width is 0"),
        ({"hidden": 0}, "hidden is 0"),
        ({"context": 0}, "context is 0"),
        ({"vector_width": 0}, "vector_width is 0"),
        (
            {"embedding": "fixed"},
            "no embedding 'fixed': choose learned, lexinvariant, mixed, hinted$",
        ),
        ({"width": 30}, "width 30 does not give 4 heads an even width each: give a multiple of 8"),
        ({"width": 36}, "give a multiple of 8"),
        ({"vector_width": 33}, "vector_width 33 is more than the width 32"),
        ({"shifted_keys": -1}, "shifted heads of 4"),
        ({"shifted_values": -1}, "shifted heads of 4"),
        ({"shifted_keys": 3, "shifted_values": 2}, r"3 \+ 2 shifted heads of 4"),
        ({"matching": -1}, "-1 matching heads of 2 that do not shift: give 0 or more"),
        ({"matching": 3}, "3 matching heads of 2 that do not shift"),
        ({"shifted_keys": 3}, "1 matching heads of 0 that do not shift"),
        ({"pointer": -1}, "pointer is -1: give the width of its keys, or 0"),
        ({"rotary": -0.1}, "shares"),
        ({"rotary": 1.1}, "shares"),
        ({"rotary": math.nan}, "shares"),
        ({"random_share": -0.1}, "shares"),
        ({"random_share": 1.1}, "shares"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(bad, message) -> None:
    with pytest.raises(InputError, match=message) as error:
        replace(PRESETS["tiny"], **bad)
    assert "\n" not in str(error.value)


def test_sizes_at_their_bounds_fit() -> None:
    for good in (
        {"layers": 1, "context": 1, "hidden": 1, "vector_width": 1},
        {"vector_width": 32},
        {"shifted_keys": 2, "shifted_values": 2, "matching": 0},
        {"shifted_keys": 4, "shifted_values": 0, "matching": 0},
        {"shifted_keys": 0, "shifted_values": 4, "matching": 0},
        {"matching": 2},
        {"shifted_keys": 0, "shifted_values": 0, "matching": 4},
        {"pointer": 0},
        {"pointer": 1},
        {"rotary": 0, "random_share": 0},
        {"rotary": 1, "random_share": 1},
    ):
        replace(PRESETS["tiny"], **good)


def test_unknown_presets_are_refused() -> None:
    with pytest.raises(InputError, match=r"^there is no preset 'huge': choose one of tiny, small"):
        preset("huge")
    with pytest.raises(InputError, match=r"^there is no embedding 'fixed'"):
        preset("tiny", "fixed")


@embeddings
@pytest.mark.parametrize("name", PRESETS)
def test_sizes_of_the_presets(name, embedding) -> None:
    """On no device: the largest would take 600 MB."""
    config = preset(name, embedding)
    assert config == replace(PRESETS[name], embedding=embedding)
    with torch.device("meta"):
        model = Transformer(config, LETTERS)
    parameters = sum(weight.numel() for weight in model.parameters())
    width, E = config.width, config.vector_width
    assert (config.matching > 0) == (config.pointer > 0) == (name != "paper")
    attention = 4 * width**2 + config.heads * (2 if config.matching else 1)
    expected = config.layers * (attention + 2 * width * config.hidden) + width + 1
    expected += 2 * E * width if width > E else 0
    expected += width**2 if config.passes > 1 else 0
    expected += 2 * width * config.pointer + 1 if config.pointer else 0
    expected += 26 * {"lexinvariant": 0, "hinted": width}.get(embedding, E)
    assert parameters == expected
    stated = {"base": 25e6, "paper": 150e6}.get(name)
    assert stated is None or parameters == pytest.approx(stated, rel=0.1)


# --- passes -------------------------------------------------------------------------------------


@embeddings
def test_a_new_model_gains_nothing_from_a_second_pass(embedding) -> None:
    """The map between them begins at zero: the second pass reads what the first one read."""
    config = replace(preset("tiny", embedding), passes=3)
    model = Transformer(config, small_alphabet(7))
    tokens, vectors = random_tokens(3, 9, 7), model.draw_vectors(3, seeded(0))
    logits = model(tokens, vectors)
    model.passes = 1
    torch.testing.assert_close(model(tokens, vectors), logits)


@embeddings
def test_each_pass_reads_what_the_last_one_found(embedding) -> None:
    model = tiny(embedding, passes=3)
    tokens, vectors = random_tokens(3, 9, 7), model.draw_vectors(3, seeded(0))
    states = model.hidden_states(tokens, vectors)
    assert len(states) == model.config.depth + 1 == 7
    read, marks = states[0], mark_symbols(tokens, 7)
    x = read
    for again in range(3):
        if again:
            x = F.rms_norm(read + F.rms_norm(x, (32,)) @ model.again.weight.T, (32,))
        for i, block in enumerate(model.blocks):
            x, _ = block(x, marks, model.rotary)
            torch.testing.assert_close(states[1 + 2 * again + i], x)
    model.passes = 1
    assert torch.equal(model.hidden_states(tokens, vectors), states[:3])


# --- any sizes ----------------------------------------------------------------------------------


@st.composite
def models(draw) -> Transformer:
    heads = draw(st.integers(1, 4))
    width = 2 * heads * draw(st.integers(1, 3))
    shifted_keys = draw(st.integers(0, heads))
    shifted_values = draw(st.integers(0, heads - shifted_keys))
    config = Config(
        embedding=draw(st.sampled_from(EMBEDDINGS)),
        layers=draw(st.integers(1, 2)),
        passes=draw(st.integers(1, 2)),
        heads=heads,
        width=width,
        hidden=draw(st.integers(1, 16)),
        context=16,
        vector_width=draw(st.integers(1, width)),
        shifted_keys=shifted_keys,
        shifted_values=shifted_values,
        matching=draw(st.integers(0, heads - shifted_keys - shifted_values)),
        pointer=draw(st.integers(0, 6)),
        rotary=draw(st.floats(0, 1)),
    )
    return perturbed(config, draw(st.integers(2, 30)), draw(st.integers(0, 1000)))


@settings(max_examples=15)
@given(models(), st.integers(0, 8), st.integers(1, 8), st.integers(0, 1000))
def test_any_model_samples_from_its_predictions_and_reads_no_names(model, n, count, seed) -> None:
    V = model.alphabet.size
    prompt, vectors = random_tokens(3, n, V, seed), known_by_vectors_alone(model, 3, seed)
    tokens, logits = sampled_with_logits(
        model, prompt, count, generator=seeded(seed + 1), vectors=vectors
    )
    torch.testing.assert_close(logits, model(tokens[:, :-1], vectors)[:, n:], atol=1e-5, rtol=1e-5)
    new_tokens, new_vectors, _ = relabelled(tokens, vectors, seed)
    loss = model.loss_by_position(tokens, vectors=vectors)
    assert torch.equal(model.loss_by_position(new_tokens, vectors=new_vectors), loss)
