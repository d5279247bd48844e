"""Make a record of BigBio's shape a text with a list of events, each a trigger with typed arguments."""

from collections.abc import Iterator
from typing import Any

from sciriff.recreate.bigbio import abstract, items, name_of_type, names_of_types, texts
from sciriff.recreate.corpus import Record
from sciriff.recreate.shown import shown
from sciriff.run.user_error import UserError


def format_record(
    record: Record, *, role_types_map: str, event_types_map: str | None = None, min_arguments: int = 1
) -> Iterator[Record]:
    """Yield `abstract`, `role_types_list` and `events` (`trigger`, `arguments` as [text, role] and, if there is an
    `event_types_map`, `type`).

    Both maps are `SOURCE:NAME,...`; a role or type outside them is an error. Arguments are distinct, in the order in
    which the event first names them. Left out are events of fewer than `min_arguments` arguments, and those in which
    one text has two roles.
    """
    roles = names_of_types("role_types_map", role_types_map)
    if not isinstance(min_arguments, int):
        raise UserError(f"min_arguments: must be a whole number, and is {shown(min_arguments)}")
    types = None if event_types_map is None else names_of_types("event_types_map", event_types_map)
    entities = {str(entity.get("id")): entity for entity in items(record, "entities") if isinstance(entity, dict)}
    events = []
    for number, event in enumerate(items(record, "events")):
        place = f"events[{number}]"
        arguments = _arguments(event, entities, roles, place)
        if len(arguments) < min_arguments or len({text for text, _ in arguments}) < len(arguments):
            continue
        found: Record = {"trigger": _whole(event.get("trigger"), f"{place}.trigger")}
        found["arguments"] = [list(argument) for argument in arguments]
        if types is not None:
            found["type"] = name_of_type(event.get("type"), types, "event_types_map", f"{place}.type")
        events.append(found)
    yield {"abstract": abstract(record), "role_types_list": list(dict.fromkeys(roles.values())), "events": events}


def _arguments(event: Any, entities: Record, roles: dict[str, str], place: str) -> list[tuple[str, str]]:
    """Distinct (text, name of the role) of an event."""
    found: dict[tuple[str, str], None] = {}
    for number, argument in enumerate(items(event, "arguments", place)):
        where = f"{place}.arguments[{number}]"
        reference, role = (argument.get("ref_id"), argument.get("role")) if isinstance(argument, dict) else (None, None)
        if str(reference) not in entities:
            raise UserError(f"{where}.ref_id: {shown(reference)} is the id of no entity")
        text = _whole(entities[str(reference)], f"entity {shown(reference)}")
        found[text, name_of_type(role, roles, "role_types_map", f"{where}.role")] = None
    return list(found)


def _whole(mention: Any, place: str) -> str:
    """The text of a mention that has no gap: how to write one with a gap is not defined."""
    pieces = texts(mention, place)
    if len(pieces) != 1:
        raise UserError(f"{place}.text: must be in one piece, and is in {len(pieces)}: {shown(pieces)}")
    return pieces[0]
