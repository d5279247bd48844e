"""Progress of a stage: lines `[done/total] text` on its output, which the driver turns into a bar."""

import re
import time

from sciriff.run.messages import show

LINE = re.compile(r"^\[(\d+)/(\d+)\] ?(.*)$")


class Progress:
    """Prints progress at most once per `interval` seconds, and always at the end."""

    def __init__(self, total: int, interval: float = 0.5) -> None:
        self.total = total
        self.interval = interval
        self._printed_at = float("-inf")

    def __call__(self, done: int, text: str = "") -> None:
        now = time.monotonic()
        if done >= self.total or now - self._printed_at >= self.interval:
            self._printed_at = now
            show(f"[{done}/{self.total}] {text}".rstrip())
