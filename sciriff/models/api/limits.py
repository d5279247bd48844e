"""Limits on cost and speed of calls: a cap in dollars, pacing, waits before retries."""

import email.utils
import math
import random
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime

BYTES_PER_TOKEN = 3
"""To estimate tokens before they are counted. English has about 4.3 with today's tokenizers, so this is on the safe
side; DiSCoMaT's tables and Chinese come near 3."""

SERVERS_MARKUP = 64
"""Tokens of a prompt's context for what a server writes around messages; Llama-3's date and roles take 36."""

FIRST_WAIT = 1.0
LONGEST_BACKOFF = 60.0
LONGEST_RETRY_AFTER = 3600.0
"""Seconds. A server that wants a longer pause has in truth said no for today."""


def estimated_tokens(text: str) -> int:
    """Tokens of a text, rather too many than too few."""
    return math.ceil(len(text.encode("utf-8", "surrogatepass")) / BYTES_PER_TOKEN)


class Budget:
    """A cap on what calls cost. Each reserves the most it may cost and settles for what it did cost, so that calls at
    the same time do not pass the cap together. Safe to share between threads."""

    def __init__(self, max_usd: float | None, spent: float = 0.0) -> None:
        self.max_usd = max_usd
        self.spent = spent
        """US dollars so far, earlier starts included."""
        self._reserved = 0.0
        self._lock = threading.Lock()

    def reserve(self, usd: float) -> bool:
        """Whether a call that costs `usd` at most may be made; if so, that much is set aside for it."""
        with self._lock:
            # a billionth of slack: sums of the same numbers in another order must not differ in their verdict
            if self.max_usd is not None and self.spent + self._reserved + usd > self.max_usd + 1e-9:
                return False
            self._reserved += usd
            return True

    def settle(self, reserved: float, usd: float) -> None:
        """Exchange what was set aside for what the call cost."""
        with self._lock:
            self._reserved -= reserved
            self.spent += usd


class Pacer:
    """Spreads calls evenly, within limits on calls and tokens a minute, and after any pause that the server asked for.
    A start is no burst, since providers count over less than a minute. Safe to share between threads."""

    def __init__(self, requests_per_minute: float | None = None, tokens_per_minute: float | None = None) -> None:
        self._gap = 60 / requests_per_minute if requests_per_minute else 0.0
        self._gap_of_token = 60 / tokens_per_minute if tokens_per_minute else 0.0
        self._next = self._paused_until = 0.0
        self._lock = threading.Lock()

    def wait(self, stop: threading.Event, tokens: int = 0) -> bool:
        """Wait for the turn of a call of `tokens`, prompt and answer. False when `stop` was set meanwhile."""
        turn = self._draw(tokens)
        while not stop.wait(max(0.0, turn - time.monotonic())):
            with self._lock:
                if turn >= self._paused_until:
                    return True
            turn = self._draw(tokens)  # a pause has come meanwhile
        return False

    def pause(self, seconds: float) -> None:
        """Let no turn come before `seconds` from now."""
        with self._lock:
            self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    def _draw(self, tokens: int) -> float:
        with self._lock:
            turn = max(time.monotonic(), self._next, self._paused_until)
            self._next = turn + max(self._gap, self._gap_of_token * tokens)
            return turn


def backoff(attempt: int) -> float:
    """Seconds to wait after failure number `attempt` (from 1): doubled each time, less a random part of up to half."""
    return min(LONGEST_BACKOFF, FIRST_WAIT * 2 ** (attempt - 1)) * random.uniform(0.5, 1)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait (`retry-after-ms`, or `retry-after` as seconds or as a date), or None."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            seconds = float(headers[name]) / unit
        except (KeyError, ValueError):
            continue
        return max(0.0, seconds) if math.isfinite(seconds) else None
    try:
        date = email.utils.parsedate_to_datetime(headers["retry-after"])
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        return max(0.0, (date - datetime.now(UTC)).total_seconds())
    except (KeyError, ValueError, OverflowError):
        return None
