"""Find where a stop string ends an answer of token ids, whose tokens need not end where the string does."""

from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any

MARGIN = 4
"""Tokens read before those that a stop string may take: a decoded piece may lose its first space, and its first bytes
may be the end of a character."""
LOOK_EVERY = 8
"""Tokens after which a growing answer is looked at again. What is found is the same for any number."""


class StopStrings:
    """The stop strings of an answer."""

    def __init__(self, tokenizer: Any, stops: Iterable[str]) -> None:
        self._tokenizer = tokenizer
        self._stops = [stop for stop in stops if stop]
        self._window = max((len(stop.encode(errors="surrogatepass")) for stop in self._stops), default=0) + MARGIN
        self._blank = False

    def after_blank(self) -> "StopStrings":
        """The same for answers whose first token may begin with white space that is no part of them."""
        same = copy(self)
        same._blank = True
        return same

    def find(self, ids: Sequence[int], known: int = 0) -> int | None:
        """Number of tokens of `ids` up to and including the one in which a stop string is first complete; the first
        `known` tokens are known to have none."""
        if not self._stand_in(ids, len(ids) - max(0, known + 1 - self._window)):
            return None
        return next((count for count in range(known + 1, len(ids) + 1) if self.end(ids[:count])), None)

    def end(self, ids: Sequence[int]) -> bool:
        """Whether a stop string stands in the last tokens. Only as many are decoded as it may take."""
        return self._stand_in(ids, self._window)

    def _stand_in(self, ids: Sequence[int], last: int) -> bool:
        if not self._stops:
            return False
        read = list(ids[-last:] if last else [])
        text = self._tokenizer.decode(read, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        text = text.lstrip() if self._blank and len(read) == len(ids) else text
        return any(stop in text for stop in self._stops)


class Watched:
    """A growing answer that is looked at now and then, with the stop strings that end it."""

    def __init__(self, stops: StopStrings) -> None:
        self._stops = stops
        self._known = 0

    def stop(self, ids: Sequence[int], ended: bool) -> int | None:
        """Number of tokens up to the first stop string, if it is time to look or the answer has `ended` anyway."""
        if not ended and len(ids) - self._known < LOOK_EVERY:
            return None
        found = self._stops.find(ids, self._known)
        self._known = len(ids)
        return found
