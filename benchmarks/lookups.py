"""Table reads a second: the search beside a loop that does nothing else.

The floor is a compiled sum over independent, uniformly random entries of a block of the same 16-bit
table, its 4-grams or its 5-grams: what the memory allows a program that knows its addresses
beforehand. The search must find out each address (20 bytes of lists a read: window, step, code, old
score, count), and draws, decides and swaps besides. Floor and search take turns; a ratio is the
median over the rounds of search over floor. The goal is half the floor of the 5-gram block.

The search can exceed that floor. Most of its reads are the walk's, which go to the 4-gram block, a
twenty-sixth of the size and near enough to the second-level cache; and keys that are being walked
and climbed spell English more and more, so the climb comes back to entries that stay in a cache,
where the floor's uniform addresses mostly miss. The ratio to a stage's own block is given too.

Stages: `walk` and `climb` are the kernels alone; `search` is all of `Search.maxima`, the listing of
the windows included, over all its reads.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
from common import Report, benchmark_parser
from numba import njit
from numpy.typing import NDArray

from ciphers.alphabet import LETTERS, Ids
from ciphers.samples import cryptograms
from decipher import kernels, search
from decipher.commands import at_least, run
from decipher.ngram import NGramModel, load_ngram
from decipher.sampling.spaces import KeySpace

LENGTHS = (32, 64, 128, 256, 512, 1024)
COLUMNS = {
    "length": "d",
    "stage": "",
    "block": "",
    "reads": ",d",
    "reads_per_second": ",.0f",
    "floor": ",.0f",
    "ratio": ".2f",
    "floor_5_grams": ",.0f",
    "ratio_to_5_grams": ".2f",
    "goal": "",
}
GOAL = 0.5
FLOOR_READS = 1 << 23
CLIMBS = 40  # a climb is over in a fraction of a millisecond
STARTS = 2


@njit(nogil=True)
def _sum_at(block: NDArray[np.int16], places: NDArray[np.uint32]) -> int:
    total = 0
    for i in range(len(places)):
        total += block[places[i]]
    return total


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (default: the process's own arguments) and give its exit code."""
    parser = benchmark_parser("lookups", __doc__)
    parser.add_argument(
        "--lengths", type=at_least(1), nargs="+", default=list(LENGTHS), metavar="N"
    )
    parser.add_argument(
        "--rounds", type=at_least(1), default=7, help="turns of each (default: %(default)s)"
    )
    return run(lambda: _report(parser.parse_args(argv)), parser.prog)


def _report(arguments: argparse.Namespace) -> None:
    model = load_ngram("letters")
    report = Report(arguments, COLUMNS, model)
    rng = np.random.default_rng(arguments.seed)
    orders = (search.WALK_ORDER, model.order)
    floors = {_name(order): _floor(model, order, rng) for order in orders}
    for length in arguments.lengths:
        (cryptogram,) = cryptograms(report.corpus.test, LETTERS, length, 1, rng)
        stages = _stages(model, cryptogram.ciphertext, arguments.seed)
        tasks = floors | stages
        speed: dict[str, list[float]] = {name: [] for name in tasks}
        reads = dict.fromkeys(tasks, 0)
        for turn in range(arguments.rounds + 1):
            for name, task in tasks.items():
                start = time.perf_counter()
                count = task()
                seconds = time.perf_counter() - start
                if turn == 0:  # compilation, and caches that fill
                    continue
                speed[name].append(count / seconds)
                reads[name] += count
        full = np.array(speed[_name(model.order)])
        for stage in stages:
            here = np.array(speed[stage])
            block = _name(search.WALK_ORDER if stage == "walk" else model.order)
            own = np.array(speed[block]) if stage != "search" else np.full(len(here), np.nan)
            report.add(
                length=length,
                stage=stage,
                block="both" if stage == "search" else block,
                reads=reads[stage],
                reads_per_second=np.median(here),
                floor=np.median(own),
                ratio=np.median(here / own),
                floor_5_grams=np.median(full),
                ratio_to_5_grams=np.median(here / full),
                goal="reached" if np.median(here / full) >= GOAL else f"missed: {GOAL:g}",
            )
    for order in orders:
        print(f"{_name(order)}: {2 * LETTERS.size**order / 1e6:.1f} MB of the table, at 2 bytes")
    report.close()


def _name(order: int) -> str:
    return f"{order}-grams"


def _floor(model: NGramModel, order: int, rng: np.random.Generator) -> Callable[[], int]:
    """Reads uniformly random entries of the table's block of `order`; gives how many."""
    table, _ = model.quantised
    size = model.alphabet.size**order
    offset = model.offsets[order - 1]
    block = table[offset : offset + size]
    places = rng.integers(size, size=FLOOR_READS, dtype=np.uint32)

    def task() -> int:
        _sum_at(block, places)
        return FLOOR_READS

    return task


def _stages(model: NGramModel, ciphertext: Ids, seed: int) -> dict[str, Callable[[], int]]:
    """The stages of the search of `ciphertext` [n]; each, when called, gives its table reads."""
    space = KeySpace(model, ciphertext, {})
    windows, seen = search.Search(space).opening
    table, step = model.quantised
    beta = step / search.walk_temperature(min(len(ciphertext), search.WALK_LENGTH))
    swaps = search.walk_swaps(len(ciphertext))
    rng = np.random.default_rng(seed)
    state = kernels.seed(rng)
    here = rng.permutation(LETTERS.size).astype(np.uint8)
    best = here.copy()

    def walk() -> int:
        read = kernels.walk(table, *windows, here, seen, space.free, beta, swaps, state, best)
        return int(read)

    def climb_from(key: NDArray[np.uint8]) -> int:
        _, read = kernels.climb(table, *space.full_windows, key, space.seen, space.free)
        return int(read)

    peaks: list[NDArray[np.uint8]] = []
    for _ in range(CLIMBS):
        walk()
        peaks.append(best.copy())

    def search_anew() -> int:
        fresh = search.Search(KeySpace(model, ciphertext, {}))
        fresh.maxima(sys.maxsize, STARTS, rng)
        return fresh.reads

    return {
        "walk": lambda: sum(walk() for _ in range(CLIMBS)),
        "climb": lambda: sum(climb_from(key.copy()) for key in peaks),
        "search": search_anew,
    }


if __name__ == "__main__":
    sys.exit(main())
