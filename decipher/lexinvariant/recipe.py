"""How a model is trained: everything that settles the weights beside the data and the sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from ciphers.errors import InputError

Optimiser = Literal["muon", "adamw"]
Precision = Literal["float32", "bfloat16"]
Known = Literal["hints", "vectors"]


@dataclass(frozen=True)
class Curriculum:
    """Which symbols are known while a lexinvariant model learns.

    In each sequence a symbol is unknown with a probability p of the sequence's own, uniform between
    two bounds that move from 0 to 1. So the language comes first; then a few symbols must be
    inferred among many that are known; in the end all of them.

    Attributes:
        hold: until this share of the training, p is 0.
        full: the upper bound grows evenly from `hold` to here, where it is 1.
        alone: the lower bound grows evenly from `full` to here; from here on p is 1.
        known: how a known symbol is told: "hints" adds a learned mark to its fresh vector where it
            is read (a hinted model), so that what it is has to be named by its fresh vector all the
            same; "vectors" gives it a learned vector instead (a mixed model).

    Raises:
        InputError: the shares are not in order between 0 and 1, or there is no such way to tell.
    """

    hold: float = 0.0
    full: float = 0.17
    alone: float = 0.85
    known: Known = "hints"

    def __post_init__(self) -> None:
        if self.known not in get_args(Known):
            raise InputError(
                f"symbols cannot be known by {self.known!r}: choose {', '.join(get_args(Known))}"
            )
        if not 0 <= self.hold <= self.full <= self.alone <= 1:
            raise InputError(
                f"a curriculum of {self.hold:g}, {self.full:g}, {self.alone:g}: give three shares "
                "of the training from 0 to 1, in order"
            )

    def bounds(self, progress: float) -> tuple[float, float]:
        """The bounds of p at `progress`, the share of the training that is done."""
        return _ramp(progress, self.full, self.alone), _ramp(progress, self.hold, self.full)


def _ramp(x: float, start: float, end: float) -> float:
    """0 until `start`, 1 from `end` on, straight between."""
    if x >= end:
        return 1.0
    return (x - start) / (end - start) if x > start else 0.0


#: From the first sequence on all is as it will be used: the paper's way.
COLD = Curriculum(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Recipe:
    """A plan of training.

    Attributes:
        symbols: to train on, in all.
        batch: symbols of one step.
        lengths: (share of the training, window length) pairs: from each share on windows have that
            length. Shares ascend from 0.
        one_pass: until this share of the training the text goes through the blocks once, from then
            on as often as the model says.
        optimiser: muon (Jordan et al. 2024; matrices of the blocks by Muon, all else by AdamW) or
            adamw for all.
        learning_rate: of Muon, at the height of the schedule; its updates have the size of AdamW's
            (Liu et al. 2025, arXiv 2502.16982, section 2.2).
        adamw_rate: of AdamW.
        warmup: steps until the rates are reached.
        cooldown: share of the training over which they fall evenly to 0 at the end.
        weight_decay: of the matrices.
        clip: the largest norm of the gradient; 0 does not clip.
        curriculum: which symbols are known while a lexinvariant model learns; other embeddings
            keep their own share throughout.
        precision: of the matrix products; weights and sums stay in float32.
        compile: let torch.compile fuse what it can.
        seed: settles the initial weights, the windows and the vectors.

    Raises:
        InputError: a number is out of range.
    """

    symbols: int = 13_000_000
    batch: int = 1024
    lengths: tuple[tuple[float, int], ...] = ((0.0, 128), (0.68, 256), (0.82, 512))
    one_pass: float = 0.66
    optimiser: Optimiser = "muon"
    learning_rate: float = 8e-3
    adamw_rate: float = 4e-3
    warmup: int = 100
    cooldown: float = 0.3
    weight_decay: float = 0.0
    clip: float = 0.0
    curriculum: Curriculum = Curriculum()
    precision: Precision = "bfloat16"
    compile: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        shares = [share for share, _ in self.lengths]
        if not shares or shares[0] != 0 or shares != sorted(shares) or not shares[-1] <= 1:
            raise InputError(
                "window lengths come with shares of the training that ascend from 0: give "
                "((0, 128), (0.5, 256)) or the like"
            )
        if min(length for _, length in self.lengths) < 1:
            raise InputError("a window has at least 1 symbol: give longer ones")
        if self.batch < max(length for _, length in self.lengths):
            raise InputError(
                f"a step of {self.batch} symbols is less than one window of "
                f"{max(length for _, length in self.lengths)}: give a larger batch"
            )
        if self.symbols < self.batch:
            raise InputError(
                f"{self.symbols} symbols are less than one step of {self.batch}: give more"
            )
        if self.optimiser not in get_args(Optimiser):
            raise InputError(
                f"there is no optimiser {self.optimiser!r}: choose {', '.join(get_args(Optimiser))}"
            )
        if self.precision not in get_args(Precision):
            raise InputError(
                f"there is no precision {self.precision!r}: choose {', '.join(get_args(Precision))}"
            )
        if not (0 < self.learning_rate < math.inf and 0 < self.adamw_rate < math.inf):
            raise InputError("a learning rate is a number above 0: give another")
        numbers = (self.warmup, self.weight_decay, self.clip)
        if not 0 <= self.one_pass <= 1:
            raise InputError("one_pass is a share of the training: give a number from 0 to 1")
        if not (0 <= self.cooldown <= 1 and all(0 <= x < math.inf for x in numbers)):
            raise InputError(
                "cooldown is a share from 0 to 1; warmup, weight decay and clip are 0 or more"
            )

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.symbols // self.batch

    def length(self, step: int) -> int:
        """The length of the windows of a step, counted from 0."""
        return [n for share, n in self.lengths if share <= step / self.steps][-1]

    def passes(self, step: int, passes: int) -> int:
        """How many of a model's `passes` a step makes, counted from 0."""
        return passes if step >= self.one_pass * self.steps else 1

    def rate(self, step: int) -> float:
        """The share of the learning rates that a step uses, counted from 0."""
        warm = min(1.0, (step + 1) / max(self.warmup, 1))
        left = 1 - step / self.steps
        return warm * min(1.0, left / self.cooldown if self.cooldown else 1.0)


RECIPES: dict[str, Recipe] = {
    "tiny": Recipe(symbols=20_480, batch=256, lengths=((0.0, 32), (0.5, 64)), warmup=10,
                   learning_rate=5e-3, adamw_rate=3e-3, precision="float32", compile=False),
    "small": Recipe(),
    "base": Recipe(symbols=1_000_000_000, batch=131_072, lengths=((0.0, 256), (0.6, 512)),
                   learning_rate=5e-3, adamw_rate=2e-3, warmup=200),
    # Huang et al. 2023, section 4: AdamW from a cold start, at the full length throughout.
    "paper": Recipe(symbols=10_000_000_000, batch=262_144, lengths=((0.0, 512),),
                    optimiser="adamw", adamw_rate=3e-4, warmup=2000, cooldown=0.9,
                    weight_decay=0.1, clip=1.0, curriculum=COLD),
}  # fmt: skip
"""The recipe of each preset of `decipher.lexinvariant.model`."""
