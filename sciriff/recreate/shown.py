"""Text of a corpus or a template as it may stand in a message: one line, short, nothing that moves a terminal."""

from sciriff.run.visible import visible_line

LONGEST_SHOWN = 60


def shown(value: object) -> str:
    """Quote a value for a message; at most LONGEST_SHOWN characters of it, control characters made visible."""
    text = value if isinstance(value, str) else repr(value)
    short = visible_line(text[:LONGEST_SHOWN]) + ("…" if len(text) > LONGEST_SHOWN else "")
    return f'"{short}"' if isinstance(value, str) else short
