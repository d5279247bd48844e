"""The exception for a mistake that a person can fix."""


class UserError(ValueError):
    """A mistake of the user's, or trouble of the machine's: its message is one line that says what is wrong and what to
    do. Commands show it without a traceback and exit with status 2; any other exception is a bug of ours."""
