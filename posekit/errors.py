"""`DataError`, the exception for bad input: its message names the file, the record and the fix."""

import re

__all__ = ["DataError"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, and halves of surrogate pairs, which no terminal can show."""


class DataError(ValueError):
    """Input that cannot be used: a file, a record or an argument from outside.

    The message is one line that names the file, the record in it where there is one, what is
    wrong, and what to do. The command lines print it and exit with code 2.

    Args:
        where: the file, and the record in it: `"lsp/joints.mat"`, `"coco.json, annotation 17"`.
        problem: what is wrong, and what was expected instead.
        hint: what the reader can do about it.
    """

    def __init__(self, where: object, problem: str, hint: str = ""):
        self.where = str(where)
        self.problem = problem
        self.hint = hint
        super().__init__(where, problem, hint)

    def __str__(self) -> str:
        text = f"{self.where}: {self.problem}" + (f" ({self.hint})" if self.hint else "")
        text = " ".join(text.split())
        return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
