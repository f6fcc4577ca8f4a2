"""The one error of posekit for bad input: it names the file, the record and the mend. Taught nowhere, met by everyone."""


class DataError(ValueError):
    """Input that cannot be used: a file, a record or an argument from outside.

    The message is one line that names the file, the record in it where there is one, what is wrong, and what to do.
    The command lines print it and leave with exit code 2.

    Args:
        where: the file, and the record in it: `"lsp/joints.mat"`, `"coco.json, annotation 17"`.
        problem: what is wrong, and what was expected instead.
        mend: what the reader can do about it.
    """

    def __init__(self, where: object, problem: str, mend: str = ""):
        self.where, self.problem, self.mend = str(where), problem, mend
        super().__init__(where, problem, mend)

    def __str__(self) -> str:
        text = f"{self.where}: {self.problem}" + (f" ({self.mend})" if self.mend else "")
        return " ".join(text.split())
