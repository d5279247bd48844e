from typing import Any

import pytest

from sciriff.recreate.formatters.bigbio_events import format_record
from sciriff.run.user_error import UserError

ROLES = "Made:Product,Used:Material,Spent:Material"
TEXTS = {"T1": ["salt"], "T2": ["oil"], "T3": ["salt"], "T4": ["black", "salt"]}


def record(*events: tuple[str, list[tuple[str, str]]]) -> dict[str, Any]:
    return {
        "passages": [{"type": "abstract", "text": ["Salt and oil.\n"]}],
        "entities": [{"id": name, "type": "Material", "text": text} for name, text in TEXTS.items()],
        "events": [
            {
                "id": f"E{number}",
                "type": "Operation",
                "trigger": {"text": [trigger], "offsets": [[0, 1]]},
                "arguments": [{"role": role, "ref_id": reference} for role, reference in arguments],
            }
            for number, (trigger, arguments) in enumerate(events)
        ],
    }


def test_arguments_are_distinct_and_some_events_are_left_out() -> None:
    source = record(
        ("mixed", [("Used", "T2"), ("Spent", "T1"), ("Used", "T3")]),
        ("waited", []),
        ("washed", [("Made", "T1"), ("Used", "T3")]),  # one text in two roles
    )
    (fields,) = format_record(source, role_types_map=ROLES)
    assert fields == {
        "abstract": "Salt and oil.",
        "role_types_list": ["Product", "Material"],
        "events": [{"trigger": "mixed", "arguments": [["oil", "Material"], ["salt", "Material"]]}],
    }
    (fields,) = format_record(source, role_types_map=ROLES, min_arguments=0, event_types_map="Operation:Step")
    assert [(event["trigger"], event["type"]) for event in fields["events"]] == [("mixed", "Step"), ("waited", "Step")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([("Used", "T9")], ["events[1].arguments[0].ref_id", "T9"]),
        ([("Used", "E0")], ["events[1].arguments[0].ref_id", "E0"]),
        ([("Found", "T1")], ["events[1].arguments[0].role", "Found", "role_types_map"]),
        ([("Used", "T4")], ["T4", "one piece", "black"]),
    ],
)
def test_a_broken_event_names_the_field(arguments: list[tuple[str, str]], words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        list(format_record(record(("mixed", [("Used", "T1")]), ("washed", arguments)), role_types_map=ROLES))
    assert all(word in str(error.value) for word in words)


def test_a_trigger_with_a_gap_and_an_event_type_outside_the_map() -> None:
    source = record(("mixed", [("Used", "T1")]))
    with pytest.raises(UserError, match=r"events\[0\]\.type: .*Operation.*event_types_map"):
        list(format_record(source, role_types_map=ROLES, event_types_map="Step:Step"))
    source["events"][0]["trigger"]["text"] = ["mi", "xed"]
    with pytest.raises(UserError, match=r"events\[0\]\.trigger\.text: .*2"):
        list(format_record(source, role_types_map=ROLES))
