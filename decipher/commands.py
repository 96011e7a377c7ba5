"""What every command shares: one line for whatever goes wrong, and the exit code that says so."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from ciphers.errors import InputError

BAD_INPUT = 2  # argparse's own code for a usage error
INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it
BROKEN_PIPE = 141  # 128 + SIGPIPE, likewise


class Parser(argparse.ArgumentParser):
    """An argument parser whose usage errors are one line, like every other error."""

    def error(self, message: str) -> NoReturn:
        """Print `message` with a pointer to the help, and exit with code 2."""
        # A subcommand's parser is called "decipher solve": the command is the first word.
        report(f"{message} (see '{self.prog} --help')", self.prog.split()[0])
        self.exit(BAD_INPUT)


def at_least(least: int) -> Callable[[str], int]:
    """The type of an option that takes a whole number from `least` up."""

    def whole_number(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} up")
        return number

    return whole_number


def report(message: str, prog: str) -> None:
    """Print `message` to standard error as one line."""
    print(f"{prog}: error: {' '.join(message.split())}", file=sys.stderr)


def run(function: Callable[[], int | None], prog: str) -> int:
    """Call `function` and give the exit code of the command `prog`.

    0 where `function` gives None, otherwise what it gives. A user's mistake or a failing file is
    one line on standard error and code 2. An interrupt (130) and a reader that stops reading, as
    `head` does (141), are answered in silence.
    """
    try:
        code = function() or 0
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes once more on its way out: that must not fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except InputError as error:
        report(str(error), prog)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        report(f"{where}{error.strerror or error}", prog)
    else:
        return code
    return BAD_INPUT


def leave(code: int) -> NoReturn:
    """End the process of a command with `code`.

    After an interrupt at once: workers may still be computing, and an interpreter that shuts down
    under them can abort. All that was written is in place by then.
    """
    if code == INTERRUPTED:
        os._exit(code)
    sys.exit(code)
