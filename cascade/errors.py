"""The errors that reach a user as one line, and the exit status of each.

Everything that a user can cause is raised as one of these; ``cascade.cli.main`` prints the message
without a traceback (``debug=true`` shows it). A message names the thing and the remedy.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class CascadeError(Exception):
    """Work that began and could not be finished: exit status 1."""

    exit_status = 1


class InputError(CascadeError, ValueError):
    """Wrong usage or bad input, found before or instead of work: exit status 2."""

    exit_status = 2


@contextlib.contextmanager
def as_input_errors() -> Iterator[None]:
    """What is built within is built from a user's settings: its complaints are ``InputError``.

    >>> with as_input_errors():
    ...     int("x")
    Traceback (most recent call last):
    cascade.errors.InputError: invalid literal for int() with base 10: 'x'
    """
    try:
        yield
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(str(error)) from error
