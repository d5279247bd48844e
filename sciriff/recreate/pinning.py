"""Give the rows of a task the ids and texts of their pins."""

from collections import Counter
from collections.abc import Sequence

from sciriff.recreate.instance_id import with_template
from sciriff.recreate.pins import Pin, TaskPins
from sciriff.recreate.spool import Spool, Spooled

SAME = "same text"
ORDER = "order of lists restored"
TEXT = "text as published"
OTHER_ID = "found by text under another id"
OTHER_TEXT = "other text than the row with this id"
MISSING = "not in the raw data"


def restore(pins: TaskPins, records: Sequence[list[Spooled]], spool: Spool, text_is_lost: bool) -> dict[str, int]:
    """Restore the pinned records; `records` are the renderings of each. Returns how many were pinned in which way.

    An id says little where the raw data lack records that the authors had. So if any text is that of a pin, ids count
    only together with texts; if none is, as with templates in another wording, ids alone decide.
    """
    if not pins.by_base:
        return {}
    counts: Counter[str] = Counter()
    texts = [_texts(rows, spool) for rows in records]
    by_id = [pins.same_text(rows[0].base, *pair) if pair else None for rows, pair in zip(records, texts, strict=True)]
    taken = {pin.instance for pin in by_id if pin}
    others: list[Pin | None] = [None] * len(records)
    for number, (rows, pair) in enumerate(zip(records, texts, strict=True)):
        if by_id[number] is None and pair and not (text_is_lost and rows[0].base in pins.by_base):
            others[number] = next((pin for pin in pins.by_text(*pair) if pin.instance not in taken), None)
            taken |= {pin.instance for pin in (others[number],) if pin}
    comparable = any(by_id) or any(others)
    for rows, pair, same, other in zip(records, texts, by_id, others, strict=True):
        pin = pins.by_base.get(rows[0].base)
        if same:
            counts[SAME if (same.input, same.output) == pair else ORDER] += 1
            _write(rows, same, spool)
        elif other:
            counts[OTHER_ID] += 1
            _write(rows, other, spool)
            _rename(rows, other.instance)
        elif pin and text_is_lost and pin.input is not None and pair:
            counts[TEXT] += 1
            _write(rows, pin, spool)
        elif pin and comparable and pin.input is not None:
            counts[OTHER_TEXT] += 1
            _rename(rows, f"{rows[0].base}~unpinned")
        elif pin:
            counts[SAME if pin.input is None else OTHER_TEXT] += 1
    missing = len(set(pins.by_base) - {rows[0].base for rows in records})
    return dict(sorted(counts.items())) | ({MISSING: missing} if missing else {})


def _first(rows: list[Spooled]) -> Spooled | None:
    """The rendering by the first template, which is that of published rows."""
    return next((row for row in rows if row.template == 0), None)


def _texts(rows: list[Spooled], spool: Spool) -> tuple[str, str] | None:
    if (row := _first(rows)) is None:
        return None
    content = spool.content(row)
    return content["input"], content["output"]


def _write(rows: list[Spooled], pin: Pin, spool: Spool) -> None:
    if (row := _first(rows)) is not None:
        spool.add(row, {"input": pin.input, "output": pin.output})


def _rename(rows: list[Spooled], base: str) -> None:
    for row in rows:
        row.base, row.instance = base, with_template(base, row.template)
