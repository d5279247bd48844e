"""Make a record of BigBio's shape a text with lists of entities by type."""

from collections.abc import Iterator

from sciriff.recreate.bigbio import abstract, items, name_of_type, names_of_types, texts
from sciriff.recreate.corpus import Record


def format_record(record: Record, *, types_map: str) -> Iterator[Record]:
    """Yield `abstract`, `ner_type_list` and `ner_dict` (type -> its distinct mentions).

    `types_map` is `SOURCE:NAME,...`; a type of the record outside it is an error. Types are in the order in which the
    map first names them, mentions in the order in which the text first has them.
    """
    names = names_of_types("types_map", types_map)
    # the keys of a dict, because they are distinct and keep their order
    mentions: dict[str, dict[str, None]] = {name: {} for name in names.values()}
    for number, entity in enumerate(items(record, "entities")):
        place = f"entities[{number}]"
        mention = " ".join(texts(entity, place))
        mentions[name_of_type(entity.get("type"), names, "types_map", f"{place}.type")][mention] = None
    by_type = {name: list(found) for name, found in mentions.items()}
    yield {"abstract": abstract(record), "ner_type_list": list(by_type), "ner_dict": by_type}
