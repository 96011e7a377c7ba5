"""Reading and writing files so that nothing is half-written and every failure is one clear line."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ciphers.errors import InputError


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it into place when the block ends without error.

    A reader sees the old file or the whole new one, never a part. The temporary name keeps the
    suffix of `path`, because plotting libraries choose the format by it.

    Raises:
        InputError: the folder cannot be made or written to.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder")
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix
        )
        os.close(handle)
    except OSError as error:
        raise unwritable(path, error) from error
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a UTF-8 file (a byte order mark is dropped, line ends become newlines).

    Raises:
        InputError: the file is missing, unreadable, binary, or not UTF-8.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    return text_from_bytes(data, str(path))


def text_from_bytes(data: bytes, source: str) -> str:
    """Decode `data` as UTF-8 text; `source` names it in the error.

    Raises:
        InputError: the bytes are not UTF-8, or hold NUL and so are no text.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{source} is not UTF-8 text (byte {error.start}): convert it to UTF-8 first"
        ) from error
    if "\0" in text:
        raise InputError(f"{source} is a binary file (it holds NUL bytes): give a text file")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def unwritable(path: Path, error: OSError) -> InputError:
    """The error for an output path that cannot be written."""
    return InputError(f"cannot write {path}: {error.strerror or error}")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
