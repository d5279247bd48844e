"""Give the rows of a task the ids and texts of their pins."""

from collections import Counter
from collections.abc import Callable, Sequence

from sciriff.recreate.instance_id import with_template
from sciriff.recreate.pins import Pinned, TaskPins, Texts
from sciriff.recreate.spool import Spool, Spooled

SAME = "same text"
ORDER = "order of lists restored"
TEXT = "text as published"
OTHER_ID = "found by text under another id"
OTHER_TEXT = "other text than the row with this id"
ID = "by id alone"
MISSING = "not in the raw data"


def restore(
    pins: TaskPins,
    records: Sequence[list[Spooled]],
    spool: Spool,
    text_is_lost: bool,
    at: Callable[[str], None],
) -> dict[str, int]:
    """Restore the pinned records; `records` are the renderings of each. Returns what became of how many pins. The
    tokens of rows with another text than before are forgotten. `at` is called before each record.

    An id says little where the raw data lack records that the authors had. So if any text is that of a pin, ids count
    only together with texts; if none is, as with templates in another wording, ids alone decide.
    """
    if not pins.by_base:
        return {}
    counts: Counter[str] = Counter()
    here = {rows[0].base for rows in records}
    texts = []
    for rows in records:
        at(f"the pin of {rows[0].base}")
        texts.append(_texts(rows, spool))
    by_id = [pins.same_texts(rows[0].base, own) if own else None for rows, own in zip(records, texts, strict=True)]
    taken = {pin.instance for pin in by_id if pin}
    others: list[Pinned | None] = [None] * len(records)
    for number, (rows, own) in enumerate(zip(records, texts, strict=True)):
        if by_id[number] is None and own and not (text_is_lost and rows[0].base in pins.by_base):
            others[number] = next((pin for pin in pins.by_texts(own) if pin.instance not in taken), None)
            taken |= {pin.instance for pin in (others[number],) if pin}
    comparable = any(by_id) or any(others)
    for rows, own, same, other in zip(records, texts, by_id, others, strict=True):
        pin = pins.by_base.get(rows[0].base)
        if same:
            counts[SAME if _write(rows, own, same, pins, spool) else ORDER] += 1
        elif other:
            counts[OTHER_ID] += 1
            _write(rows, own, other, pins, spool)
            _rename(rows, other.instance)
        elif pin and text_is_lost and pin.texts and own and pin.instance not in taken:
            counts[TEXT] += 1
            _write(rows, own, pin, pins, spool)
        elif pin and comparable and pin.texts and own:
            _rename(rows, f"{rows[0].base}~unpinned")
        elif pin:
            counts[ID] += 1
    for base in set(pins.by_base) - {rows[0].base for rows in records}:
        counts[OTHER_TEXT if base in here else MISSING] += 1
    return dict(sorted(counts.items()))


def _first(rows: list[Spooled]) -> Spooled | None:
    """The rendering by the first template, which is that of published rows."""
    return next((row for row in rows if row.template == 0), None)


def _texts(rows: list[Spooled], spool: Spool) -> Texts | None:
    if (row := _first(rows)) is None:
        return None
    content = spool.content(row)
    return Texts.of(content["input"], content["output"])


def _write(rows: list[Spooled], own: Texts | None, pin: Pinned, pins: TaskPins, spool: Spool) -> bool:
    """Give the rendering by the first template the texts of a pin. Returns whether it had them."""
    if own and pin.texts and own.exact == pin.texts.exact:
        return True
    if (row := _first(rows)) is not None:
        spool.add(row, pins.content(pin))
        row.tokens = None
    return False


def _rename(rows: list[Spooled], base: str) -> None:
    for row in rows:
        row.base, row.instance = base, with_template(base, row.template)
