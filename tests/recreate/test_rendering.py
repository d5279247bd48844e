"""Templates render as SciRIFF's do, in a sandbox."""

import json
from pathlib import Path

import pytest
from recreate_runs import template_text

from sciriff.recreate.rendering import PROTECTED, Renderer
from sciriff.recreate.template_file import BUNDLED, read_template_file, template_files
from sciriff.run.user_error import UserError

RECORDS = Path(__file__).parent / "records"


def renderer(folder: Path, *templates: str, choices: str | None = None) -> Renderer:
    text = template_text("kinds", templates=list(templates))
    if choices:
        text += f"    answer_choices: {json.dumps(choices)}\n"
    (folder / "kinds.yaml").write_text(text)
    return Renderer(read_template_file(folder / "kinds.yaml"))


def test_both_sides_are_stripped_and_json_is_sorted_and_escaped(tmp_path: Path):
    made = renderer(tmp_path, "\n Find. {{ text }} \n|||\n {{ found | tojson }}\n")
    assert made.render(0, {"text": "é <b>", "found": {"b": ["é"], "a": "<'&>"}}) == (
        "Find. é <b>",
        '{"a": "\\u003c\\u0027\\u0026\\u003e", "b": ["\\u00e9"]}',
    )


def test_the_separator_in_a_text_field_is_text_and_elsewhere_an_error(tmp_path: Path):
    made = renderer(tmp_path, "{{ text }}|||{{ found | join }}")
    assert made.render(0, {"text": "a ||| b", "found": ["c"]}) == ("a ||| b", "c")
    with pytest.raises(ValueError, match=r"template 0: rendered, it has \|\|\| 2 times.*inside the field 'found'"):
        made.render(0, {"text": "a", "found": ["c|||d"]})


def test_differences_of_numbers_are_computed_and_addresses_of_the_data_are_text(tmp_path: Path):
    made = renderer(tmp_path, "{{ 5 - 3 }} {{ text }}|||{{ (found | length) - 1 }}")
    assert made.render(0, {"text": "<a at 0x7f>", "found": [1]}) == ("2 <a at 0x7f>", "0")


def test_what_stands_for_the_separator_is_text_too(tmp_path: Path):
    made = renderer(tmp_path, "{{ text }}|||{{ other }}")
    assert made.render(0, {"text": f"a{PROTECTED}", "other": "b"}) == (f"a{PROTECTED}", "b")
    with pytest.raises(ValueError, match="template 0: the field 'text' has U"):
        made.render(0, {"text": f"a{PROTECTED}", "other": "b ||| c"})


def test_answer_choices_are_stripped_and_rendered(tmp_path: Path):
    made = renderer(
        tmp_path, "{{ text }}|||{{ answer_choices[label].capitalize() }}", choices="yes ||| no ||| {{ text }}"
    )
    assert [made.render(0, {"text": "maybe", "label": label})[1] for label in range(3)] == ["Yes", "No", "Maybe"]


@pytest.mark.parametrize(
    ("template", "line"),
    [
        ("{{ txt }}|||x", "template 0: the record has no field 'txt'; did you mean 'text'?"),
        ("{{ zebra }}|||x", "the record has no field 'zebra'; it has inner, text"),
        ("{{ inner.missing }}|||x", "'dict object' has no attribute 'missing'"),
        ("{{ text }}|||{{ '' }}", "template 0: the output is blank"),
        ("{{ text * 'a' }}|||x", "TypeError: can't multiply"),
        ("{{ text.__class__.__mro__ }}|||x", "access to attribute '__class__' of 'str' object is unsafe"),
        ("{{ cycler.__init__.__globals__ }}|||x", "access to attribute '__init__' of 'type' object is unsafe"),
        ("{{ text.format.__globals__ }}|||x", "is unsafe"),
        ("{{ '{0.__class__}'.format(text) }}|||x", "access to attribute '__class__'"),
        (
            "{% set x = inner.update({'a': 1}) %}{{ text }}|||x",
            "access to attribute 'update' of 'dict' object is unsafe",
        ),
        ("{{ text['__class__'] }}|||x", "access to attribute '__class__' of 'str' object is unsafe"),
        ("{{ [text] | map(attribute='__class__') | list }}|||x", "access to attribute '__class__' of 'str'"),
        ("{{ '{text.__class__}'.format_map({'text': text}) }}|||x", "access to attribute '__class__'"),
        ("{{ namespace.__init__.__globals__ }}|||x", "access to attribute '__init__'"),
        ("{{ joiner(',').__call__.__func__ }}|||x", "access to attribute '__call__'"),
        ("{{ (inner | map('upper')).gi_frame }}|||x", "access to attribute 'gi_frame'"),
        ("{{ text.encode().__reduce_ex__(4) }}|||x", "access to attribute '__reduce_ex__'"),
        ("{{ zip.__self__ }}|||x", "'type object' has no attribute '__self__'"),
        ("{{ config }}|||x", "no field 'config'"),
        ("{{ [inner.missing] }}|||x", "'dict object' has no attribute 'missing'"),
        ("{{ [text] | map(attribute='missing') | list }}|||x", "'str object' has no attribute 'missing'"),
        ("{{ text | map('upper') }}|||x", "the input shows an object that is no value"),
        ("{{ text }}|||{{ zip(inner, inner) }}", "the output shows an object that is no value"),
        ("{{ text }}|||{{ [cycler] | map('string') | join ~ cycler('a') }}", "the output shows an object"),
        ("{{ inner.keys() - [] }}|||x", "a difference of keys has no order"),
        ("{{ [] - inner.items() }}|||x", "a difference of keys has no order"),
        ("{{ 7 ** (text | length * 9999) }}|||x", "ValueError: Exceeds the limit"),
        ("{{ text | wordwrap(0) }}|||x", "ValueError: invalid width 0"),
        ("{{ text | center(10 ** 30) }}|||x", "OverflowError"),
        ("{% for i in range(1000000000) %}x{% endfor %}|||x", "Range too big"),
        ("{{ lipsum() }}|||x", "no field 'lipsum'"),
        ("{{ text }}|||x{{ chr }}", "no field 'chr'"),
        ("{{ text }}|||a\0", "the output has a NUL character"),
        ("{{ text }}|||{{ half }}", "the output has half a surrogate pair"),
    ],
)
def test_what_cannot_be_rendered(tmp_path: Path, template: str, line: str):
    with pytest.raises(ValueError) as error:
        half = {"half": "\ud800"} if "half" in template else {}
        renderer(tmp_path, template).render(0, {"text": "one", "inner": {}, **half})
    assert line in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("template", "line"),
    [
        ("{{ text }}", "template 0 has no |||"),
        ("{% include 'other' %}|||x", "include reads other files"),
        ("{% import 'other' as o %}|||x", "import reads other files"),
        ("{% extends 'other' %}|||x", "extends reads other files"),
        ("{% for %}|||x", "template 0, line 1 of jinja:"),
        ("{{ text | shuffle }}|||x", "No filter named 'shuffle'"),
        ("{{ text | random }}|||x", "No filter named 'random'"),
        ("{{ " + "(" * 300 + ")" * 300 + " }}|||x", "template 0"),
    ],
)
def test_what_is_no_template(tmp_path: Path, template: str, line: str):
    with pytest.raises(UserError) as error:
        renderer(tmp_path, template)
    assert line in str(error.value) and str(tmp_path / "kinds.yaml") in str(error.value)


@pytest.mark.parametrize("task", sorted(template_files(BUNDLED)))
def test_bundled_templates_render_their_records(task: str):
    file = read_template_file(BUNDLED / f"{task}.yaml")
    records = json.loads((RECORDS / f"{task}.json").read_text(encoding="utf-8"))
    assert len(records) >= 2
    made = Renderer(file)
    for record in records:
        answers = set()
        for number in file.templates:
            prompt, answer = made.render(number, record)
            for stray in ("{{", "{%", "%}", "|||"):
                assert stray not in prompt, (number, stray)
            answers.add(answer)
            if file.metadata.output_context == "json" and number == 0:
                json.loads(answer)
        assert len(answers) >= 1
