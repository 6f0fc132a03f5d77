"""Errors that are meant to be read by a person."""

from __future__ import annotations


class UserError(Exception):
    """Something from outside is wrong: one line that says what, where and what to do.

    The command line prints it without a traceback and exits with `exit_code`.
    """

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(" ".join(message.split()))
        self.exit_code = exit_code
