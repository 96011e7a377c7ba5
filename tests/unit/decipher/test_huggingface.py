"""Causal models of Hugging Face made lexinvariant: GPT-2's and Llama's, with random weights."""

from __future__ import annotations

import importlib
import math
import sys
from string import ascii_lowercase
from typing import Any
from unittest import mock

import pytest
import torch
from scipy import stats

from ciphers import Alphabet, InputError
from decipher.lexinvariant.huggingface import LexinvariantCausalLM

MODULE = "decipher.lexinvariant.huggingface"
SHAPES = ["gpt2", "llama"]
shapes = pytest.mark.parametrize("shape", SHAPES)
#: Of each statistical test, over the choice of its seed.
FALSE_ALARM = 1e-4
#: The rows of the token tables, so that they can be told from all other sizes.
VOCABULARY = 59


def get_transformers() -> Any:
    return pytest.importorskip(
        "transformers", reason="transformers is absent: install the extra hf"
    )


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_alphabet(size: int) -> Alphabet:
    return Alphabet(ascii_lowercase[:size], f"first-{size}")


def sizes(shape: str, positions: int = 40, vocabulary: int = VOCABULARY, **options) -> Any:
    """A configuration of two layers of width 32."""
    transformers = get_transformers()
    config = {
        "gpt2": transformers.GPT2Config,
        "llama": transformers.LlamaConfig,
        "opt": transformers.OPTConfig,
        "bert": transformers.BertConfig,
        "t5": transformers.T5Config,
        "bloom": transformers.BloomConfig,
    }[shape]
    own = {
        "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": positions},
        "t5": {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_ff": 64},
        "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
        "opt": {"ffn_dim": 64},
    }.get(shape, {"intermediate_size": 64})
    if shape in ("llama", "opt", "bert"):
        own |= {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
        own |= {"max_position_embeddings": positions}
    return config(vocab_size=vocabulary, bos_token_id=None, eos_token_id=None, **own | options)


def causal_lm(shape: str, seed: int = 0, **options) -> Any:
    """A model of Hugging Face, ready to be used, in which every part has a say."""
    config = sizes(shape, **options)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = get_transformers().AutoModelForCausalLM.from_config(config).eval()
        with torch.no_grad():
            for weight in model.parameters():
                weight += 0.1 * torch.randn(weight.shape)
    return model


def tiny(shape: str = "gpt2", size: int = 7, seed: int = 0, **options) -> LexinvariantCausalLM:
    model = causal_lm(shape, seed, **options)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LexinvariantCausalLM(model, small_alphabet(size))


def random_tokens(batch: int, n: int, size: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(size, (batch, n), generator=seeded(seed))


# --- shapes and causality -----------------------------------------------------------------------


@shapes
@pytest.mark.parametrize("n", [0, 1, 9])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_shapes_and_types(shape, n, dtype) -> None:
    model = tiny(shape)
    tokens, vectors = random_tokens(3, n, 7).to(dtype), model.draw_vectors(3, seeded(1))
    assert vectors.shape == (3, 7, 32)
    results = {
        (3, n + 1, 7): [model(tokens, vectors), model.log_conditionals(tokens, vectors=vectors)],
        (3, n): [model.loss_by_position(tokens, vectors=vectors)],
        (3, 3, n + 1, 32): [model.hidden_states(tokens, vectors)],
    }
    for expected, arrays in results.items():
        for array in arrays:
            assert array.shape == expected
            assert array.dtype == torch.float32
            assert array.isfinite().all()
    assert model.sample(tokens, 4, seeded(2)).dtype == dtype
    assert model.alphabet == small_alphabet(7)
    assert model.device == torch.device("cpu")


@shapes
@pytest.mark.parametrize("n", [1, 2, 10])
def test_a_prediction_depends_on_all_that_came_before_and_on_nothing_else(shape, n) -> None:
    model = tiny(shape)
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


@shapes
def test_sequences_of_a_batch_do_not_meet(shape) -> None:
    model = tiny(shape)
    tokens, vectors = random_tokens(4, 9, 7), model.draw_vectors(4, seeded(1))
    logits = model(tokens, vectors)
    for b in range(4):
        alone = model(tokens[b : b + 1], vectors[b : b + 1])
        torch.testing.assert_close(alone, logits[b : b + 1])


@shapes
def test_the_body_is_the_models_own(shape) -> None:
    """With the table's rows for vectors, and one of them for a start, it is the model itself."""
    original, wrapped = causal_lm(shape), causal_lm(shape)
    table = original.get_input_embeddings().weight
    model = LexinvariantCausalLM(wrapped, small_alphabet(7))
    with torch.no_grad():
        model.start.copy_(table[20])
    tokens, vectors = random_tokens(4, 9, 7), table[:7].expand(4, -1, -1)
    with_start = torch.cat([torch.full((4, 1), 20), tokens], dim=1)
    expected = original.base_model(with_start, output_hidden_states=True)
    torch.testing.assert_close(
        model.hidden_states(tokens, vectors), torch.stack(expected.hidden_states)
    )
    inner = torch.einsum("bne,ve->bnv", expected.last_hidden_state, table[:7])
    torch.testing.assert_close(model(tokens, vectors), inner / math.sqrt(32))
    with torch.no_grad():
        model.log_scale.fill_(math.log(3))
    torch.testing.assert_close(model(tokens, vectors), 3 * inner / math.sqrt(32))


@shapes
def test_hidden_states_lead_to_the_logits(shape) -> None:
    model = tiny(shape)
    tokens, vectors = random_tokens(4, 9, 7), model.draw_vectors(4, seeded(1))
    states = model.hidden_states(tokens, vectors)
    assert torch.equal(model._logits(states[-1], vectors, None), model(tokens, vectors))


@shapes
@pytest.mark.parametrize("ask", ["forward", "hidden_states", "log_conditionals", "loss"])
def test_a_text_beyond_the_context_is_refused(shape, ask) -> None:
    model = tiny(shape, positions=9)
    assert model.context == 8
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


@shapes
@pytest.mark.parametrize("size", [2, 5, 7, 10, 26])
def test_relabelling_with_the_vectors_changes_no_bit(shape, size) -> None:
    model = tiny(shape, size)
    tokens, vectors = random_tokens(4, 20, size), model.draw_vectors(4, seeded(1))
    new_ids = torch.randperm(size, generator=seeded(3)) if size > 2 else torch.tensor([1, 0])
    new_vectors = torch.empty_like(vectors)
    new_vectors[:, new_ids] = vectors
    loss = model.loss_by_position(tokens, vectors=vectors)
    assert torch.equal(model.loss_by_position(new_ids[tokens], vectors=new_vectors), loss)
    # The tokens alone are another text to the model.
    assert (model.loss_by_position(new_ids[tokens], vectors=vectors) != loss).any(dim=1).all()


@torch.no_grad()
def own_loss(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """The loss of a Hugging Face model with its own table and head, [B]."""
    log_p = model(tokens).logits[:, :-1].log_softmax(dim=-1)
    return -log_p.gather(2, tokens[:, 1:, None]).squeeze(2).mean(dim=1)


@shapes
@pytest.mark.parametrize("seed", range(3))
def test_names_matter_to_the_model_as_it_was_only(shape, seed) -> None:
    """A text's loss over independent vectors against a relabelled text's: the two-sample
    Kolmogorov-Smirnov test at `FALSE_ALARM`. Six false alarms are possible.

    The model as it was has one loss for each text, so the test of it cannot fail by chance.
    """
    V, draws = 7, 300
    text = torch.cat([torch.arange(V), torch.zeros(V), random_tokens(1, V, V)[0]]).long()
    original, model = causal_lm(shape, seed, vocabulary=V), tiny(shape, V, seed)
    own, lexinvariant = [], []
    for i, tokens in enumerate((text, (text + 1) % V)):
        batch = tokens.expand(draws, -1)
        own.append(own_loss(original, batch).numpy())
        lexinvariant.append(model.loss_by_position(batch, seeded(i)).mean(dim=1).numpy())
    assert stats.ks_2samp(*lexinvariant).pvalue > FALSE_ALARM
    assert stats.ks_2samp(*own).pvalue < FALSE_ALARM
    assert abs(own[0].mean() - own[1].mean()) > 0.01


def test_vectors_are_fresh_and_standard_normal() -> None:
    """A Kolmogorov-Smirnov test of all entries."""
    model, generator = tiny(), seeded(0)
    drawn = torch.cat([model.draw_vectors(50, generator) for _ in range(3)])
    assert stats.kstest(drawn.flatten().numpy(), "norm").pvalue > FALSE_ALARM
    assert len(drawn.flatten(0, 1).unique(dim=0)) == 150 * 7
    assert torch.equal(model.draw_vectors(50, seeded(0)), drawn[:50])


@shapes
def test_only_the_generator_given_is_drawn_from(shape) -> None:
    model, tokens = tiny(shape), random_tokens(2, 6, 7)
    state = torch.get_rng_state()
    loss = model.loss_by_position(tokens, seeded(0))
    model.sample(tokens, 3, seeded(0))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(
        model.loss_by_position(tokens, vectors=model.draw_vectors(2, seeded(0))), loss
    )


# --- learning -----------------------------------------------------------------------------------


@shapes
def test_every_weight_learns_and_the_table_is_gone(shape) -> None:
    original = causal_lm(shape)
    weights = {id(weight) for weight in original.base_model.parameters()}
    table = original.get_input_embeddings().weight
    model = LexinvariantCausalLM(original, small_alphabet(7))
    tokens = random_tokens(4, 9, 7)
    model.training_loss(tokens, model.draw_vectors(4, seeded(1))).mean().backward()
    for name, weight in model.named_parameters():
        assert weight.grad.isfinite().all(), name
        assert weight.grad.abs().max() > 0, name
        assert VOCABULARY not in weight.shape, name
    own = {id(weight) for weight in (model.start, model.log_scale)}
    assert {id(weight) for weight in model.parameters()} == weights - {id(table)} | own
    assert table.grad is None


@shapes
def test_training_teaches_to_read_the_context(shape) -> None:
    """Of 16 symbols each text has two, in turn. Whoever knows no more than that no symbol comes
    twice in a row has a loss of log 15; the margin is what the context tells."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LexinvariantCausalLM.from_config(sizes(shape), small_alphabet(16))
        generator = seeded(0)

        def texts() -> torch.Tensor:
            order = torch.rand(64, 16, generator=generator).argsort(dim=1)
            return order[:, :2].repeat(1, 8)

        def measured() -> float:
            model.eval()
            loss = model.loss_by_position(texts(), generator)[:, 4:].mean().item()
            model.train()
            return loss

        before = measured()
        optimiser = torch.optim.AdamW(model.parameters(), 0.02)
        for _ in range(36):
            optimiser.zero_grad()
            model.training_loss(texts(), model.draw_vectors(64, generator)).mean().backward()
            optimiser.step()
        assert before > math.log(16)
        assert measured() < math.log(15) - 0.2


@shapes
@pytest.mark.parametrize("training", [False, True])
def test_the_mode_is_the_given_models(shape, training) -> None:
    model = LexinvariantCausalLM(causal_lm(shape).train(training), small_alphabet(7))
    assert {part.training for part in model.modules()} == {training}
    from_config = LexinvariantCausalLM.from_config(sizes(shape), small_alphabet(7))
    assert {part.training for part in from_config.modules()} == {True}


def test_dropout_belongs_to_training() -> None:
    model, tokens = tiny("gpt2"), random_tokens(2, 9, 7)
    vectors = model.draw_vectors(2, seeded(1))
    with torch.random.fork_rng():
        assert torch.equal(model(tokens, vectors), model(tokens, vectors))
        model.train()
        assert not torch.equal(model(tokens, vectors), model(tokens, vectors))


def test_weights_of_half_precision_are_read_in_it() -> None:
    model, tokens = tiny("llama").to(torch.bfloat16), random_tokens(2, 9, 7)
    vectors = model.draw_vectors(2, seeded(1))
    assert model(tokens, vectors).dtype == torch.bfloat16
    loss = model.loss_by_position(tokens, vectors=vectors)
    exact = tiny("llama").loss_by_position(tokens, vectors=vectors)
    torch.testing.assert_close(loss, exact, atol=0.3, rtol=0)


# --- sampling -----------------------------------------------------------------------------------


def sampled_with_logits(model: LexinvariantCausalLM, prompt, count, **options):
    """What `sample` returns, the logits [B, count, V] that it drew from, and the positions read."""
    seen, read = [], []
    logits_of, look_up = model._logits, model._look_up

    def recording(outputs, vectors, added):
        assert added is None  # Hugging Face's models have no pointer
        seen.append(logits_of(outputs, vectors, added))
        return seen[-1]

    def counting(tokens, vectors, position):
        read.append(tokens.shape[1])
        return look_up(tokens, vectors, position)

    with (
        mock.patch.object(model, "_logits", recording),
        mock.patch.object(model, "_look_up", counting),
    ):
        tokens = model.sample(prompt, count, **options)
    return tokens, torch.cat(seen, dim=1), read


@shapes
@pytest.mark.parametrize("n", [0, 1, 5])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_what_is_remembered_equals_what_is_read_again(shape, n, temperature) -> None:
    model = tiny(shape)
    with torch.no_grad():
        model.log_scale -= 1  # so that samples vary
    prompt, vectors = random_tokens(8, n, 7), model.draw_vectors(8, seeded(1))
    tokens, logits, read = sampled_with_logits(
        model, prompt, 12, generator=seeded(2), vectors=vectors, temperature=temperature
    )
    assert tokens.shape == (8, n + 12)
    assert torch.equal(tokens[:, :n], prompt)
    assert read == [n] + [1] * 11
    full = model(tokens[:, :-1], vectors)[:, n:]
    torch.testing.assert_close(logits, full, atol=1e-5, rtol=0)
    if temperature == 0:
        assert torch.equal(tokens[:, n:], full.argmax(dim=-1))
    else:
        assert len(tokens[:, n:].unique()) > 2


@shapes
def test_sampling_is_reproducible_up_to_the_context(shape) -> None:
    model, prompt = tiny(shape, positions=9), random_tokens(4, 3, 7)
    tokens = model.sample(prompt, 5, seeded(0))
    assert torch.equal(model.sample(prompt, 5, seeded(0)), tokens)
    assert not torch.equal(model.sample(prompt, 5, seeded(1)), tokens)
    assert torch.equal(model.sample(prompt, 0, seeded(0)), prompt)
    with pytest.raises(InputError, match=r"^3 symbols and 6 more are beyond the context of 8"):
        model.sample(prompt, 6)
    with pytest.raises(InputError, match=r"^temperature -0\.1 is no number from 0 up"):
        model.sample(prompt, 2, temperature=-0.1)


@shapes
@pytest.mark.filterwarnings("ignore::FutureWarning")  # the method has another name from 6 on
def test_a_model_that_cannot_remember_does_not_sample(shape) -> None:
    model, prompt = tiny(shape), random_tokens(2, 3, 7)
    model.base.gradient_checkpointing_enable()
    expected = model.sample(prompt, 4, seeded(0))
    with pytest.raises(InputError, match=r"no cache .* call eval\(\) before you sample$"):
        model.train().sample(prompt, 4, seeded(0))
    assert torch.equal(model.eval().sample(prompt, 4, seeded(0)), expected)


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        (
            "bert",
            {},
            r"^BertLMHeadModel is not causal: give a model that reads from left to right$",
        ),
        ("bloom", {}, r"^BloomForCausalLM does not say how many .*: set max_position_embeddings"),
        (
            "opt",
            {"word_embed_proj_dim": 16},
            r"^OPTForCausalLM reads vectors of width 16 into .*32",
        ),
    ],
)
def test_models_that_are_not_fit_are_refused_and_left_whole(shape, options, message) -> None:
    model = causal_lm(shape, **options)
    before = model(random_tokens(2, 5, 7)).logits
    with pytest.raises(InputError, match=message):
        LexinvariantCausalLM(model, small_alphabet(7))
    assert torch.equal(model(random_tokens(2, 5, 7)).logits, before)


def test_a_model_with_an_encoder_is_refused() -> None:
    transformers = get_transformers()
    config = sizes("t5", decoder_start_token_id=0)
    model = transformers.AutoModelForSeq2SeqLM.from_config(config)
    with pytest.raises(InputError, match=r"^T5ForConditionalGeneration has an encoder: give"):
        LexinvariantCausalLM(model, small_alphabet(7))


def test_the_models_that_are_refused_can_be_mended() -> None:
    assert tiny("bert", is_decoder=True).context == 39
    assert tiny("bloom", max_position_embeddings=40).context == 39
    assert tiny("opt", word_embed_proj_dim=32).context == 39


def test_without_transformers_one_line_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, MODULE)
    monkeypatch.setattr(importlib.import_module("decipher.lexinvariant"), "huggingface", None)
    module = importlib.import_module(MODULE)
    with pytest.raises(InputError, match=r"pip install 'bayesian-decipher\[hf\]'$"):
        module.LexinvariantCausalLM.from_config(None, small_alphabet(7))
