"""What of a conversation a model does not learn."""

from typing import NamedTuple


class Remark(NamedTuple):
    """What of a conversation is not learnt."""

    alone: bool = False
    """All answers but the last: the tokenizer's template shows the earlier ones otherwise than when they were given."""
    lost_thought: bool = False
    """The thought of an answer, for which the markup has no place."""
    empty_thought: bool = False
    """The empty thought that the tokenizer's template writes before an answer."""


LEARNT = Remark()
"""All of it is."""
