"""How a stage says how far it is: one line `[done/total] text`, which the driver turns into a bar."""

import re
import time

LINE = re.compile(r"^\[(\d+)/(\d+)\] ?(.*)$")


class Progress:
    """Prints `[done/total] text`, flushed, at most once per `interval` seconds; the last one always."""

    def __init__(self, total: int, interval: float = 0.5) -> None:
        self.total = total
        self.interval = interval
        self._printed_at = float("-inf")

    def __call__(self, done: int, text: str = "") -> None:
        now = time.monotonic()
        if done >= self.total or now - self._printed_at >= self.interval:
            self._printed_at = now
            print(f"[{done}/{self.total}] {text}".rstrip(), flush=True)
