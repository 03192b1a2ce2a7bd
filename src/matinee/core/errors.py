"""What goes wrong for users, in words for users.

    MatineeError             exit code 1
      DataError              a source, file or example that cannot be used
      BundleError            a saved model or run that cannot be used
      SettingsError          a setting or argument that is not allowed (exit code 2)

A message says what was given, what is allowed and what to do, in one line. The command line prints it without a
traceback; anything that is not a MatineeError is a bug and keeps its traceback.
"""

from __future__ import annotations


class MatineeError(Exception):
    """Whatever Matinee refuses, with the reason.

    everywhere: whether every process of a job raises it, so that it is enough that the first one says it.
    """

    exit_code = 1
    everywhere = False


class DataError(MatineeError):
    """A source, file or example that cannot be used."""


class BundleError(MatineeError):
    """A saved model or run folder that cannot be used."""


class SettingsError(MatineeError):
    """A setting or argument outside what is allowed."""

    exit_code = 2


class Interrupted(MatineeError):  # noqa: N818 - it is no error
    """The user or the system asked to stop, and everything needed to go on was saved."""

    exit_code = 130
    everywhere = True
