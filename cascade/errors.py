"""The errors that reach a user as one line, and the exit status of each.

Everything that a user can cause is raised as one of these; ``cascade.cli.main`` prints the message
without a traceback (``debug=true`` shows it). A message names the thing and the remedy.
"""


class CascadeError(Exception):
    """Work that began and could not be finished: exit status 1."""

    exit_status = 1


class InputError(CascadeError, ValueError):
    """Wrong usage or bad input, found before or instead of work: exit status 2."""

    exit_status = 2
