"""Training: from a corpus and a recipe to weights, resumable at any moment, on any number of GPUs.

A run has a folder:

    checkpoint.safetensors  weights, optimisers, random state and step: a killed run goes on here
    model.safetensors       the trained model, when the run has ended; `load` reads it
    log.csv                 loss, speed and schedules as the training goes
    validation.csv          loss on held-out text by position
    tensorboard/            both tables for TensorBoard

Every process of a distributed run draws the same global batch and works on its own rows, so that
the number of processes changes nothing but the order of sums.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ciphers.alphabet import Alphabet
from ciphers.corpora import Corpus
from ciphers.errors import InputError
from decipher.lexinvariant.checkpoint import load_tensors, save, save_tensors
from decipher.lexinvariant.journal import LOG, VALIDATION, Journal, Meter, Row
from decipher.lexinvariant.model import TABLES, Config, Embedding, Transformer
from decipher.lexinvariant.recipe import COLD, Known, Recipe
from decipher.lexinvariant.speed import flops_per_symbol, peak_flops
from decipher.lexinvariant.text import Text

CHECKPOINT = "checkpoint.safetensors"
MODEL = "model.safetensors"

VALIDATION_WINDOWS = 64
VALIDATION_BATCH = 8
#: Another stream of random numbers than any training's, so that all runs are measured alike.
VALIDATION_SEED = 2**31 - 1
MOMENTUM = 0.95
BETAS = (0.9, 0.95)


@dataclass(frozen=True)
class Habits:
    """How often a run stops to write; none of it changes the weights.

    Attributes:
        log: steps between rows of the log.
        validate: steps between measurements on held-out text.
        checkpoint: steps between checkpoints.
        progress: show a progress bar on a terminal.
    """

    log: int = 20
    validate: int = 500
    checkpoint: int = 200
    progress: bool = True


@dataclass(frozen=True)
class Rank:
    """This process among those that train together; rank 0 writes."""

    rank: int = 0
    world: int = 1

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.rank == 0

    def rows(self, batch: int) -> slice:
        """The rows of a global batch that are this process's."""
        share = batch // self.world
        return slice(self.rank * share, (self.rank + 1) * share)


@contextmanager
def processes(device: torch.device) -> Iterator[tuple[Rank, torch.device]]:
    """Join the other processes that torchrun has started, if any; gives the device to use."""
    if "WORLD_SIZE" not in os.environ:
        yield Rank(), device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Rank(dist.get_rank(), dist.get_world_size()), device
    finally:
        dist.destroy_process_group()


class Loss(nn.Module):
    """The mean loss of a batch: what torch.compile and DDP wrap."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, vectors: Tensor) -> Tensor:
        return self.model.training_loss(tokens, vectors).mean()


@dataclass
class Trainer:
    """One run of training.

    Attributes:
        config: the sizes and the embedding of the model that is wanted.
        alphabet: its symbols.
        corpus: the training split is learned from, the validation split is measured on.
        recipe: the plan.
        folder: where the run is kept.
        device: where it is done.
        habits: how often it stops to write.
        rank: this process among those that train together.
        initial: a model whose weights the training begins with, instead of random ones.
        provenance: what is written into the trained model's file beside what the run knows itself.

    Raises:
        InputError: the corpus has no text of a window's length, or the windows do not fit the model
            or the number of processes.
    """

    config: Config
    alphabet: Alphabet
    corpus: Corpus
    recipe: Recipe
    folder: Path
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    habits: Habits = field(default_factory=Habits)
    rank: Rank = field(default_factory=Rank)
    initial: Transformer | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        recipe, longest = self.recipe, max(n for _, n in self.recipe.lengths)
        if longest > self.config.context:
            raise InputError(
                f"windows of {longest} symbols are longer than the model's context of "
                f"{self.config.context}: give shorter ones"
            )
        for _, length in recipe.lengths:
            if recipe.batch // length % self.rank.world:
                raise InputError(
                    f"{recipe.batch // length} windows of {length} symbols cannot be shared evenly "
                    f"by {self.rank.world} processes: change the batch"
                )
        self.generator = torch.Generator(self.device).manual_seed(recipe.seed)
        self.text = Text(self.corpus.train, self.alphabet, self.device)
        self.text.windows(longest, 1, torch.Generator(self.device))  # are there any?
        self.held_out = self._held_out()
        self.model = self._make_model()
        self.optimisers = make_optimisers(self.model, recipe)
        self.step = 0
        self.seconds = 0.0
        self.journal = Journal(self.folder, self.rank.writes)

    def _make_model(self) -> Transformer:
        """The model as it is while it learns: with hints, where a curriculum gives them."""
        config = self.config
        if config.embedding == "lexinvariant" and self.recipe.curriculum != COLD:
            as_it_learns: dict[Known, Embedding] = {"hints": "hinted", "vectors": "mixed"}
            config = replace(config, embedding=as_it_learns[self.recipe.curriculum.known])
        model = Transformer(config, self.alphabet)
        # On the CPU whatever the device, so that a seed means the same weights everywhere.
        model.initialise(torch.Generator().manual_seed(self.recipe.seed))
        if self.initial is not None:
            self._begin_with(self.initial, model)
        return model.to(self.device)

    def _begin_with(self, initial: Transformer, model: Transformer) -> None:
        own, known = model.state_dict(), initial.state_dict()
        # These alone may be new or useless: they belong to the embedding, all else to the sizes.
        weights = {name: weight for name, weight in known.items() if name not in TABLES}
        weights |= {name: known.get(name, own[name]) for name in TABLES & own.keys()}
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise InputError(
                "the weights to begin with are of a model of other sizes or another alphabet: "
                "give the same preset"
            ) from error

    def _held_out(self) -> Tensor:
        text = Text(self.corpus.validation, self.alphabet, self.device)
        generator = torch.Generator(self.device).manual_seed(VALIDATION_SEED)
        return text.windows(self.config.context, VALIDATION_WINDOWS, generator)

    # --- the run --------------------------------------------------------------------------------

    def run(self) -> Transformer:
        """Train to the end of the recipe, from the last checkpoint if the folder has one.

        Returns:
            The trained model, which is in the folder too.

        Raises:
            InputError: the folder holds another run or cannot be written to, or the loss is no
                number any more.
        """
        self.resume()
        loss_function = self._loss_function()
        peak = peak_flops(self.device, self._dtype) * self.rank.world
        meter, losses = Meter(self.seconds), []
        done, total = self.symbols(self.step), self.symbols(self.recipe.steps)
        with self.journal.open(total, done, self.habits.progress) as bar:
            while self.step < self.recipe.steps:
                loss, symbols = self.advance(loss_function)
                losses.append(loss)
                meter.add(symbols)
                bar.update(symbols)
                if self._is_due(self.habits.log) or self._is_due(self.habits.checkpoint):
                    # Before a checkpoint too, which must not hold weights that are lost.
                    bits = self._finite(self._mean(losses)) / math.log(2)
                if self._is_due(self.habits.log):
                    rate = meter.rate()
                    length = self.recipe.length(self.step - 1)
                    mfu = rate * flops_per_symbol(self.model, length) / peak
                    self.journal.add(self._row(bits, rate, mfu, meter.seconds))
                    bar.set_postfix_str(f"{bits:.3f} bits, MFU {mfu:.0%}")
                    losses = []
                with meter.paused():
                    if self._is_due(self.habits.validate):
                        self.journal.add_validation(self.validate())
                    if self._is_due(self.habits.checkpoint):
                        self.seconds = meter.seconds
                        self.save_checkpoint()
        return self._finish()

    def advance(self, loss_function: nn.Module) -> tuple[Tensor, int]:
        """Take one step; the mean loss of this process's rows, and the step's symbols."""
        length = self.recipe.length(self.step)
        batch = self.recipe.batch // length
        self.model.passes = self.recipe.passes(self.step, self.config.passes)
        tokens = self.text.windows(length, batch, self.generator)
        vectors = self.model.draw_vectors(batch, self.generator, self._shares(batch))
        rows = self.rank.rows(batch)
        with self._precision():
            loss: Tensor = loss_function(tokens[rows], vectors[rows])
        loss.backward()  # type: ignore[no-untyped-call]
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        for optimiser, rate in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate * self.recipe.rate(self.step)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.step += 1
        return loss.detach(), batch * length

    def _shares(self, batch: int) -> Tensor | None:
        """Each sequence's probability of fresh vectors [B]; None for what the embedding says."""
        if self.config.embedding == self.model.config.embedding:
            return None
        low, high = self._bounds(self.step)
        uniform = torch.rand(batch, generator=self.generator, device=self.device)
        return low + (high - low) * uniform

    def _bounds(self, step: int) -> tuple[float, float]:
        """Between what the probabilities of fresh vectors are, at a step."""
        if self.config.embedding == "lexinvariant":
            return self.recipe.curriculum.bounds(step / self.recipe.steps)
        return self.config.share, self.config.share

    @torch.no_grad()
    def validate(self) -> list[Row]:
        """Loss by position on held-out text, bits, as rows of the validation table.

        A lexinvariant model that is on its way there is measured at p = 0 and 1/2 too.
        """
        as_wanted = self.model.config.embedding == self.config.embedding
        shares = [self.config.share] if as_wanted else [0.0, 0.5, 1.0]
        symbols = self.symbols(self.step)
        rows: list[Row] = []
        for share in shares:
            generator = torch.Generator(self.device).manual_seed(VALIDATION_SEED)
            losses = []
            for tokens in torch.split(self.held_out, VALIDATION_BATCH):
                vectors = self.model.draw_vectors(len(tokens), generator, share)
                with self._precision():
                    losses.append(self.model.training_loss(tokens, vectors))
            loss = torch.cat(losses).mean(dim=0) / math.log(2)
            for start, end in bands(len(loss)):
                bits = loss[start:end].mean().item()
                rows.append(
                    {
                        "step": self.step,
                        "symbols": symbols,
                        "share": share,
                        "first": start + 1,
                        "last": end,
                        "bits": bits,
                    }
                )
        return rows

    def symbols(self, steps: int) -> int:
        """Symbols that so many steps train on."""
        lengths = (self.recipe.length(step) for step in range(steps))
        return sum(self.recipe.batch // n * n for n in lengths)

    def _is_due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.recipe.steps

    def _row(self, bits: float, rate: float, mfu: float, seconds: float) -> Row:
        low, high = self._bounds(self.step - 1)
        return {
            "step": self.step,
            "symbols": self.symbols(self.step),
            "bits": bits,
            "rate": self.recipe.rate(self.step - 1),
            "share_low": low,
            "share_high": high,
            "symbols_a_second": rate,
            "mfu": mfu,
            "seconds": seconds,
        }

    def _mean(self, losses: list[Tensor]) -> float:
        """The mean loss of the last steps, over the rows of all processes."""
        mean = torch.stack(losses).mean()
        if self.rank.world > 1:
            dist.all_reduce(mean)
        return mean.item() / self.rank.world

    def _finite(self, loss: float) -> float:
        if not math.isfinite(loss):
            raise InputError(
                f"the loss is {loss} at step {self.step}: lower the learning rate; the last "
                f"checkpoint in {self.folder} is as it was"
            )
        return loss

    def _loss_function(self) -> nn.Module:
        loss: nn.Module = Loss(self.model)
        if self.recipe.compile:
            # Each window length is a program of its own: there are few, and each is faster so.
            loss = torch.compile(loss, dynamic=False)  # type: ignore[assignment]
        if self.rank.world > 1:
            # As long as one pass is made, the map between passes has no gradient.
            early = self.config.passes > 1
            loss = DistributedDataParallel(
                loss, broadcast_buffers=False, find_unused_parameters=early
            )
        return loss

    @property
    def _dtype(self) -> torch.dtype:
        return torch.float32 if self.recipe.precision == "float32" else torch.bfloat16

    def _precision(self) -> AbstractContextManager[Any]:
        if self.recipe.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    # --- what is written ------------------------------------------------------------------------

    @property
    def plan(self) -> dict[str, Any]:
        """What settles the weights: a run goes on only under the same plan."""
        return {
            "config": asdict(self.config),
            "recipe": json.loads(json.dumps(asdict(self.recipe))),
            "alphabet": self.alphabet.symbols,
            "corpus": self.corpus.name,
            "corpus_hash": self.corpus.hash,
            **self.provenance,
        }

    def save_checkpoint(self) -> None:
        """Write all that the rest of the run depends on, and the tables so far."""
        if not self.rank.writes:
            return
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors["generator"] = self.generator.get_state()
        for i, (optimiser, _) in enumerate(self.optimisers):
            for parameter, state in optimiser.state_dict()["state"].items():
                for name, value in state.items():
                    tensors[f"optimiser.{i}.{parameter}.{name}"] = torch.as_tensor(value)
        # The tables first: a run that goes on drops the rows that are beyond the checkpoint.
        self.journal.save()
        info = {"plan": self.plan, "step": self.step, "seconds": self.seconds}
        save_tensors(self.folder / CHECKPOINT, tensors, info)

    def resume(self) -> None:
        """Go back to the checkpoint in the folder, if there is one.

        Raises:
            InputError: the checkpoint is damaged, or belongs to a run with another plan.
        """
        self._clear()
        path = self.folder / CHECKPOINT
        if not path.exists():
            return
        tensors, info = load_tensors(path)
        if different := _differences(info.get("plan", {}), self.plan):
            raise InputError(
                f"{self.folder} holds a run with another {different}: give another folder, or "
                "remove this one"
            )
        try:
            self._restore(tensors, info)
        except (KeyError, ValueError, RuntimeError) as error:
            raise InputError(f"{path} lacks a part of the run: give another folder") from error
        self.journal.load(self.step)

    def _clear(self) -> None:
        """Remove what a killed run was writing (the temporary files of `atomic_write`)."""
        if self.rank.writes:
            for name in (CHECKPOINT, MODEL, LOG, VALIDATION):
                for left in self.folder.glob(f".{Path(name).stem}-*{Path(name).suffix}"):
                    left.unlink(missing_ok=True)

    def _restore(self, tensors: dict[str, Tensor], info: Mapping[str, Any]) -> None:
        self.step, self.seconds = info["step"], info["seconds"]
        self.generator.set_state(tensors.pop("generator"))
        prefix = "model."
        self.model.load_state_dict(
            {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        )
        for i, (optimiser, _) in enumerate(self.optimisers):
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                if key.startswith(f"optimiser.{i}."):
                    _, _, parameter, name = key.split(".")
                    state.setdefault(int(parameter), {})[name] = value
            groups = optimiser.state_dict()["param_groups"]
            optimiser.load_state_dict({"state": state, "param_groups": groups})

    def _finish(self) -> Transformer:
        model = self.model
        if model.config.embedding != self.config.embedding:
            model = model.lexinvariant()
        model.passes = model.config.passes
        model.provenance = {
            **self.plan,
            "symbols": self.symbols(self.step),
            "seconds": round(self.seconds),
            "device": _device_name(self.device),
            "processes": self.rank.world,
            "versions": {name: version(name) for name in ("torch", "numpy", "bayesian-decipher")},
            "validation": [row for row in self.journal.validation if row["step"] == self.step],
        }
        if self.rank.writes:
            save(model, self.folder / MODEL)
        return model.eval()


def bands(length: int) -> list[tuple[int, int]]:
    """The positions [start, end) over which a loss is averaged: 16 to 31, 32 to 63, and so on.

    Each ends at a power of two, or at the end of the text.
    """
    ends = [end for end in (16 * 2**i for i in range(length.bit_length())) if end < length]
    return list(zip([0, *ends], [*ends, length], strict=True))


Optimisers = list[tuple[torch.optim.Optimizer, float]]


def make_optimisers(model: Transformer, recipe: Recipe) -> Optimisers:
    """The optimisers, each with its learning rate at the height of the schedule."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "blocks" in name]
    others = [p for name, p in model.named_parameters() if not (p.ndim == 2 and "blocks" in name)]
    decay = recipe.weight_decay
    if recipe.optimiser == "adamw":
        groups: list[dict[str, Any]] = [
            {"params": matrices},
            {"params": others, "weight_decay": 0.0},
        ]
        adamw = torch.optim.AdamW(groups, recipe.adamw_rate, betas=BETAS, weight_decay=decay)
        return [(adamw, recipe.adamw_rate)]
    muon = torch.optim.Muon(
        matrices,
        recipe.learning_rate,
        momentum=MOMENTUM,
        weight_decay=decay,
        adjust_lr_fn="match_rms_adamw",
    )
    adamw = torch.optim.AdamW(others, recipe.adamw_rate, betas=BETAS, weight_decay=0.0)
    return [(muon, recipe.learning_rate), (adamw, recipe.adamw_rate)]


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The names of what differs between two plans."""
    names = []
    for name in dict.fromkeys([*one, *other]):
        a, b = one.get(name), other.get(name)
        if a != b:
            inner = isinstance(a, dict) and isinstance(b, dict)
            names.append(_differences(a, b) if inner else name)  # type: ignore[arg-type]
    return ", ".join(names)


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{device.type} ({platform.machine()}, {torch.get_num_threads()} threads)"
