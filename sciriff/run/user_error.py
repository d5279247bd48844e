"""The exception for a mistake that a person can fix."""


class UserError(ValueError):
    """A mistake of the user or trouble with the machine; its message says in one line what is wrong and what to do.
    Commands show it without a traceback and exit with status 2; any other exception is a bug of ours."""
