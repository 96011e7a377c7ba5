"""The one exception that a user's mistake raises: every command answers it in one line."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input from a person: the message is one line that says what was wrong and what to do.

    The commands print it to standard error and exit with code 2; library callers catch it as a
    `ValueError`.
    """
