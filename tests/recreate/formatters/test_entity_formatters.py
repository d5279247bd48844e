import pytest

from sciriff.recreate.formatters import genia_ner, scierc

ABSTRACT = {"org_text": "The moon's tide, low and high.", "ner_answer": [["moon 's tide", "Task"]], "re_answer": []}


def test_scierc_leaves_out_an_abstract_without_its_mention():
    assert list(scierc.format_record(ABSTRACT | {"ner_answer": [["mossy tide", "Task"]]})) == []
    assert list(scierc.format_record(ABSTRACT | {"re_answer": [["tide", "PART-OF", "moss"]]})) == []


def test_scierc_repairs_one_kind_of_spacing():
    (record,) = scierc.format_record(ABSTRACT | {"re_answer": [["tide , low", "PART-OF", "moon 's tide"]]})
    assert record["re_answer"] == [["tide, low", "moon's tide", "PART-OF"]]
    assert list(scierc.format_record(ABSTRACT | {"ner_answer": [["moon 's tide , low", "Task"]]})) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"ner_answer": [["tide", "Unknown"]]}, "tide: Unknown"), ({"org_text": None}, "org_text=null")],
)
def test_scierc_names_the_broken_field(change, reason):
    with pytest.raises(ValueError, match=reason):
        list(scierc.format_record(ABSTRACT | change))


def test_genia_entities_with_colons():
    entities = ["a: tide: DNA", "moss: float", "tide: DNA", "tide: DNA"]
    (record,) = genia_ner.format_record({"org_text": "T.", "ner_answer": entities}, types_map="DNA:Gene")
    assert record == {"abstract": "T.", "ner_type_list": ["Gene"], "ner_dict": {"Gene": ["a tide", "tide"]}}


def test_genia_refuses_a_map_without_types():
    with pytest.raises(ValueError, match="types_map"):
        list(genia_ner.format_record({"org_text": "T.", "ner_answer": []}, types_map="DNA"))
