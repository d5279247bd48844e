"""Draw tables for the terminal with rich: columns line up whatever characters they hold."""

import io
from collections.abc import Iterable, Sequence

from sciriff.run.visible import shortened, visible_line

GAP = 2
"""Spaces between two columns."""
LONGEST_CELL = 10_000
"""Characters of a cell; every row is as wide as the longest."""
WIDTH = 1_000_000
"""Terminal width given to rich, so that it never wraps or cuts a cell, in a file or a narrow window."""


def table_lines(header: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> list[str]:
    """Draw the header and a line per row. Columns named in `right` are aligned on the right, as numbers are.

    Cells are shown literally, without markup or emoji codes; characters that would steer a terminal or end the line
    are replaced by visible ones.
    """
    from rich.console import Console  # here, for rich takes longer to load than --help may
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, GAP, 0, 0))
    for name in header:
        table.add_column(justify="right" if name in right else "left", no_wrap=True)
    for row in (header, *rows):
        table.add_row(*(Text(shortened(visible_line(cell), LONGEST_CELL)) for cell in row))
    drawn = io.StringIO()
    Console(file=drawn, width=WIDTH, color_system=None, legacy_windows=False).print(table)
    lines = drawn.getvalue().split("\n")[:-1]
    return lines if header[-1] in right else [line.rstrip() for line in lines]
