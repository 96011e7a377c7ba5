"""What a training tells while it runs: tables, TensorBoard, a progress bar, and its pace."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from tqdm import tqdm

from ciphers.files import atomic_write, unwritable

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

LOG = "log.csv"
VALIDATION = "validation.csv"
TENSORBOARD = "tensorboard"

Row = dict[str, float]


class Meter:
    """A clock that can be stopped, and the symbols that went by since it was last read."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._counted = seconds
        self._since = time.perf_counter()
        self._read_at = seconds
        self._symbols = 0

    @property
    def seconds(self) -> float:
        """The time that was spent, without pauses."""
        return self._counted + time.perf_counter() - self._since

    def add(self, symbols: int) -> None:
        """Count `symbols` that went by."""
        self._symbols += symbols

    def rate(self) -> float:
        """Symbols a second since this was last asked."""
        now = self.seconds
        rate = self._symbols / max(now - self._read_at, 1e-9)
        self._read_at, self._symbols = now, 0
        return rate

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time spent inside does not count."""
        self._counted = self.seconds
        yield
        self._since = time.perf_counter()


class Journal:
    """The tables of a run, and TensorBoard's copy of them, in a folder.

    Attributes:
        log: rows of the log, one every few steps; each has a "step".
        validation: rows of the loss on held-out text by position; likewise.
    """

    def __init__(self, folder: Path, writes: bool = True) -> None:
        self.folder = folder
        self.writes = writes
        self.log: list[Row] = []
        self.validation: list[Row] = []
        self._step = 0
        self._board: SummaryWriter | None = None

    @contextmanager
    def open(self, total: int, done: int, progress: bool) -> Iterator[tqdm[None]]:
        """Start TensorBoard and a bar of `total` symbols (none where no terminal is)."""
        if self.writes:
            # Imported here, for it takes seconds.
            from torch.utils.tensorboard.writer import SummaryWriter

            folder = self.folder / TENSORBOARD
            try:
                self._board = SummaryWriter(str(folder), purge_step=self._step + 1)
            except OSError as error:
                raise unwritable(folder, error) from error
        bar: tqdm[None] = tqdm(
            total=total,
            initial=done,
            unit="symbol",
            unit_scale=True,
            dynamic_ncols=True,
            disable=None if progress and self.writes else True,
        )
        try:
            with bar:
                yield bar
        finally:
            if self._board is not None:
                self._board.close()

    def add(self, row: Row) -> None:
        """A row for the log."""
        self.log.append(row)
        if self._board is not None:
            for name, value in row.items():
                self._board.add_scalar(f"train/{name}", value, int(row["step"]))

    def add_validation(self, rows: Sequence[Row]) -> None:
        """Rows of one measurement on held-out text."""
        self.validation += rows
        if self._board is not None:
            for row in rows:
                name = f"validation/p={row['share']:g}/{row['first']:g}-{row['last']:g}"
                self._board.add_scalar(name, row["bits"], int(row["step"]))

    def save(self) -> None:
        """Write both tables, each whole or not at all.

        Raises:
            InputError: the folder cannot be written to.
        """
        for name, rows in ((LOG, self.log), (VALIDATION, self.validation)):
            with atomic_write(self.folder / name) as temporary:
                pd.DataFrame(rows).to_csv(temporary, index=False)

    def load(self, step: int) -> None:
        """Read the tables of an earlier run up to `step`; what is missing is left out."""
        self._step = step
        self.log, self.validation = (self._read(name, step) for name in (LOG, VALIDATION))

    def _read(self, name: str, step: int) -> list[Row]:
        try:
            frame = pd.read_csv(self.folder / name)
            rows = frame[frame["step"] <= step].to_dict("records")
            return [{str(name): value for name, value in row.items()} for row in rows]
        except (OSError, ValueError, KeyError, TypeError):
            return []  # no weight depends on it
