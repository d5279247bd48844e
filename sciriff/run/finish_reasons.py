"""Names of ways in which an answer ends, as rows have them; `stop` and `length` are those of every server."""

NO_CONTENT = "no_content"
"""The model ended it without a word of text."""
UNFINISHED_THOUGHT = "unfinished_thought"
"""It did not come: the thought before it ran into its limit."""
