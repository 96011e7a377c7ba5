"""Training speed beside Hugging Face's GPT-2 of the same dimensions in a plain loop.

Both sides take the same steps, one side's turn after the other's, in one process with the same
threads: the same windows of text, float32 weights, products in float32 or under bfloat16 autocast.
The peer is `GPT2LMHeadModel` with the same layers, heads, widths and symbols, without dropout and
without a cache, trained by AdamW. Ours is trained by AdamW too, and by Muon, which is our default
and more work. `ours` and `peer` say which side is compiled. A ratio is the median over the rounds
of our symbols a second over the peer's; `ratio_low` and `ratio_high` are the least and the greatest
of a round. The goal, on a CPU: 1.3 times the peer as people run it, which is not compiled.

The floor is what the machine could do: symbols a second if all were matrix products at the speed
that a large one of the same precision reaches in the same round. Training takes, for each symbol,

    6 N + 6 L H Q T

floating point operations (Chowdhery et al. 2022, arXiv 2204.02311, appendix B): N weights that are
multiplied with it, the prediction of the symbols among them; L layers of width H Q; a window of T
symbols, half of which a causal head sees on average (the paper counts all: 12 L H Q T). `share` and
`peer_share` are how much of the floor each side reaches.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from common import Report, benchmark_parser
from torch import Tensor, nn
from tqdm import tqdm
from transformers import GPT2Config, GPT2LMHeadModel
from transformers import __version__ as transformers_version

from ciphers.alphabet import LETTERS_SPACE
from ciphers.errors import InputError
from decipher.commands import at_least, run
from decipher.lexinvariant.checkpoint import get_device
from decipher.lexinvariant.model import PRESETS, Embedding, Transformer, preset
from decipher.lexinvariant.recipe import Optimiser, Recipe
from decipher.lexinvariant.speed import flops_per_symbol
from decipher.lexinvariant.text import Text
from decipher.lexinvariant.train import BETAS, Loss, make_optimisers

COLUMNS = {
    "precision": "",
    "embedding": "",
    "optimiser": "",
    "ours": "",
    "peer": "",
    "symbols_per_second": ",.0f",
    "peer_symbols_per_second": ",.0f",
    "ratio": ".2f",
    "ratio_low": ".2f",
    "ratio_high": ".2f",
    "peak_gflops": ",.0f",
    "share": ".1%",
    "peer_share": ".1%",
    "goal": "",
}
GOAL = 1.3
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
EMBEDDINGS: tuple[Embedding, ...] = ("lexinvariant", "learned")
OPTIMISERS: tuple[Optimiser, ...] = ("adamw", "muon")
#: Which side is compiled: ours, the peer's.
COMPILED = ((False, False), (True, False), (True, True))
FLOOR_SECONDS = 0.3
RATE = 1e-4  # of the optimisers: so low that no side can leave the range of numbers

Step = Callable[[Tensor], Tensor]
"""Trains on windows [B, n], uint8; gives the loss, which waits for nothing."""


class Setting(NamedTuple):
    """What is the same on both sides."""

    device: torch.device
    precision: str
    length: int
    batch: int

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of the forward pass."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, PRECISIONS[self.precision])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit code."""
    parser = benchmark_parser("training", __doc__)
    whole = at_least(1)
    parser.add_argument(
        "--preset", choices=PRESETS, default="small", help="our sizes (default: %(default)s)"
    )
    parser.add_argument(
        "--precisions",
        nargs="+",
        choices=PRECISIONS,
        default=list(PRECISIONS),
        help="(default: both)",
    )
    parser.add_argument(
        "--length", type=whole, default=256, help="of a window (default: %(default)s)"
    )
    parser.add_argument(
        "--batch", type=whole, default=8, help="windows of a step (default: %(default)s)"
    )
    parser.add_argument("--steps", type=whole, default=5, help="of a turn (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=whole, default=7, help="turns of each side (default: %(default)s)"
    )
    parser.add_argument("--device", default="cpu", help="(default: %(default)s)")
    parser.add_argument("--threads", type=whole, default=1, help="on a CPU (default: %(default)s)")
    return run(lambda: _measure(parser.parse_args(argv)), parser.prog)


def _measure(arguments: argparse.Namespace) -> None:
    sizes = preset(arguments.preset)
    if arguments.length > sizes.context:
        raise InputError(
            f"windows of {arguments.length} symbols are beyond the context of {sizes.context} of "
            f"{arguments.preset}: give at most that"
        )
    torch.set_num_threads(arguments.threads)
    device = get_device(arguments.device)
    report = Report(arguments, COLUMNS)
    report.run["versions"] |= {"torch": torch.__version__, "transformers": transformers_version}
    text = Text(report.corpus.train, LETTERS_SPACE, device)
    plan = list(product(arguments.precisions, EMBEDDINGS, OPTIMISERS, COMPILED))
    for precision, embedding, optimiser, compiled in tqdm(plan, disable=None):
        setting = Setting(device, precision, arguments.length, arguments.batch)
        generator = torch.Generator(device).manual_seed(arguments.seed)
        # One pass, for that is all the peer makes.
        one_pass = replace(preset(arguments.preset, embedding), passes=1)
        model = Transformer(one_pass, LETTERS_SPACE)
        model.initialise(torch.Generator().manual_seed(arguments.seed))
        peer = _peer(model)
        # Dynamo compiles a function only so often before it gives up in silence: begin anew.
        torch.compiler.reset()
        steps = (
            _our_step(model.to(device), optimiser, compiled[0], setting, generator),
            _peer_step(peer.to(device), compiled[1], setting),
        )
        turns = [
            _turn(steps, text, arguments.steps, setting, generator)
            for _ in range(arguments.rounds + 1)
        ][1:]  # the first compiles, and warms what can be warm
        ours, theirs, peak = np.array(turns).T
        ratio = np.median(ours / theirs)
        flops = flops_per_symbol(model, arguments.length)
        peer_flops = _peer_flops(peer, arguments.length)
        report.add(
            precision=precision,
            embedding=embedding,
            optimiser=optimiser,
            ours=_mode(compiled[0]),
            peer=_mode(compiled[1]),
            symbols_per_second=np.median(ours),
            peer_symbols_per_second=np.median(theirs),
            ratio=ratio,
            ratio_low=np.min(ours / theirs),
            ratio_high=np.max(ours / theirs),
            flops_per_symbol=flops,
            peer_flops_per_symbol=peer_flops,
            peak_gflops=np.median(peak) / 1e9,
            share=np.median(ours * flops / peak),
            peer_share=np.median(theirs * peer_flops / peak),
            goal=_goal(ratio, device, compiled),
        )
    report.close()


def _mode(compiled: bool) -> str:
    return "compiled" if compiled else "eager"


def _goal(ratio: float, device: torch.device, compiled: tuple[bool, bool]) -> str:
    if device.type != "cpu" or compiled[1]:
        return "none"
    return "reached" if ratio >= GOAL else f"missed: {GOAL:g}"


# --- the two sides ------------------------------------------------------------------------------


def _our_step(
    model: Transformer,
    optimiser: Optimiser,
    compiled: bool,
    setting: Setting,
    generator: torch.Generator,
) -> Step:
    loss_function: nn.Module = Loss(model)
    if compiled:
        loss_function = torch.compile(loss_function, dynamic=False)  # type: ignore[assignment]
    recipe = Recipe(optimiser=optimiser, learning_rate=RATE, adamw_rate=RATE)
    optimisers = [each for each, _ in make_optimisers(model, recipe)]

    def step(tokens: Tensor) -> Tensor:
        vectors = model.draw_vectors(len(tokens), generator)
        with setting.autocast():
            loss: Tensor = loss_function(tokens, vectors)
        loss.backward()
        for each in optimisers:
            each.step()
            each.zero_grad(set_to_none=True)
        return loss.detach()

    return step


def _peer(model: Transformer) -> GPT2LMHeadModel:
    """GPT-2 with the dimensions of `model`."""
    config = model.config
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=model.alphabet.size,
            n_positions=config.context,
            n_embd=config.width,
            n_layer=config.layers,
            n_head=config.heads,
            n_inner=config.hidden,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            use_cache=False,
            bos_token_id=None,
            eos_token_id=None,
        )
    ).train()


def _peer_step(peer: GPT2LMHeadModel, compiled: bool, setting: Setting) -> Step:
    forward: Callable[..., Any] = torch.compile(peer, dynamic=False) if compiled else peer
    adamw = torch.optim.AdamW(peer.parameters(), RATE, betas=BETAS, weight_decay=0.0)

    def step(tokens: Tensor) -> Tensor:
        ids = tokens.long()
        with setting.autocast():
            loss: Tensor = forward(input_ids=ids, labels=ids).loss
        loss.backward()
        adamw.step()
        adamw.zero_grad(set_to_none=True)
        return loss.detach()

    return step


def _peer_flops(peer: GPT2LMHeadModel, length: int) -> float:
    """Floating point operations a symbol, counted as `flops_per_symbol` counts ours."""
    config = peer.config
    weights = sum(p.numel() for p in peer.transformer.h.parameters() if p.ndim == 2)
    logits = config.vocab_size * config.n_embd
    return 6 * (weights + logits + config.n_layer * config.n_embd * length)


# --- taking turns -------------------------------------------------------------------------------


def _turn(
    sides: tuple[Step, Step], text: Text, steps: int, setting: Setting, generator: torch.Generator
) -> tuple[float, float, float]:
    """Symbols a second of each side on the same windows, and FLOP/s of a matrix product."""
    windows = [text.windows(setting.length, setting.batch, generator) for _ in range(steps)]
    symbols = steps * setting.batch * setting.length
    ours, theirs = (symbols / _seconds(side, windows) for side in sides)
    return ours, theirs, _peak(setting)


def _seconds(step: Step, windows: list[Tensor]) -> float:
    """Time for a step on each of the windows."""
    windows[0].sum().item()  # waits for the device
    start = time.perf_counter()
    for tokens in windows:
        loss = step(tokens)
    last = loss.item()
    seconds = time.perf_counter() - start
    if not np.isfinite(last):
        raise InputError(f"the loss became {last}: the speed of such a training says nothing")
    return seconds


def _peak(setting: Setting) -> float:
    """FLOP/s of large matrix products: what the machine can do at this moment."""
    size = 1024 if setting.device.type == "cpu" else 8192
    a = torch.ones(size, size, dtype=PRECISIONS[setting.precision], device=setting.device)
    (a @ a)[0, 0].item()
    count, start = 0, time.perf_counter()
    while (seconds := time.perf_counter() - start) < FLOOR_SECONDS or not count:
        (a @ a)[0, 0].item()  # waits for the device
        count += 1
    return 2 * size**3 * count / seconds


if __name__ == "__main__":
    sys.exit(main())
