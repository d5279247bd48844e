"""Draw tables in Markdown, for the cards of mixes and models."""

import re
from collections.abc import Callable, Iterable, Sequence

from sciriff.run.visible import visible_line


def escaped(text: str) -> str:
    """Escape text for Markdown, on one line."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", visible_line(" ".join(text.split())))


def code_kept(text: str) -> str:
    """Escape only what would end a cell, for texts with `code` in them."""
    return visible_line(" ".join(text.split())).replace("|", r"\|")


def markdown_table(
    head: Sequence[str], rows: Iterable[Sequence[object]], escape: Callable[[str], str] = escaped
) -> str:
    """Draw the header and a line per row; whole numbers get thousands separators."""
    lines = [head, ["---"] * len(head), *rows]
    cells = [[f"{cell:,}" if isinstance(cell, int) else escape(str(cell)) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
