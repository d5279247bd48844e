"""The exception for a mistake that a person can fix."""


class InLines(Exception):
    """An error whose arguments are the lines of its message. A line's own line breaks, perhaps of a file's name, are
    shown as characters; `str` joins the lines."""

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(map(str, self.args)) or ("",)

    def __str__(self) -> str:
        return "\n".join(self.lines)


class UserError(InLines, ValueError):
    """A mistake of the user or trouble with the machine; its message says in one line what is wrong and what to do.
    Commands show it without a traceback and exit with status 2; any other exception is a bug of ours."""
