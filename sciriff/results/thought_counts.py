"""Count the thoughts before answers: how many there are, how long, and how many did not end."""

from collections.abc import Iterable
from statistics import fmean

from sciriff.results.scores import ThoughtCounts
from sciriff.run.finish_reasons import UNFINISHED_THOUGHT


def thought_counts(rows: Iterable[tuple[str | None, int | None, str | None]]) -> ThoughtCounts | None:
    """Count the thoughts of answers, given by finish reason, tokens of the thought and its text, which
    servers may keep for themselves; None without any. One whose text is empty is none."""
    known = [
        (ended, tokens)
        for ended, tokens, text in rows
        if text or (text is None and tokens) or ended == UNFINISHED_THOUGHT
    ]
    if not known:
        return None
    counts: ThoughtCounts = {
        "answers": len(known),
        "unfinished": sum(ended == UNFINISHED_THOUGHT for ended, _ in known),
    }
    if tokens := [tokens for _, tokens in known if tokens is not None]:
        counts["mean_tokens"] = fmean(tokens)
    return counts


def thoughts_phrase(counts: ThoughtCounts | None, n: int) -> list[str]:
    """Say what was counted, of `n` answers; empty without thoughts."""
    if counts is None:
        return []
    mean = f", {counts['mean_tokens']:,.0f} tokens on average" if "mean_tokens" in counts else ""
    phrases = [f"{counts['answers']} of {n} with a thought{mean}"]
    if counts["unfinished"]:
        phrases.append(f"{counts['unfinished']} of {n} thoughts ran into their limit and brought no answer")
    return phrases
