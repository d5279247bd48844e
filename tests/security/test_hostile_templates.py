"""Chat templates of strangers end in one line, whatever they raise, write or wait for."""

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from sciriff.config import SAMPLE
from sciriff.models import tokenizer_template
from sciriff.models.chat_markup import Markup
from sciriff.run.json_lines import Message
from sciriff.run.user_error import UserError

SAID = [Message("user", "x"), Message("assistant", "y")]
STRANGE = {
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "memory": "{{ 'x'.ljust(10 ** 18) }}",
    "long text": "{{ 'x' * 2000000000 }}",
    "long list": "{{ [1] * 2000000000 }}",
    "large number": "{{ 9 ** 9 ** 9 }}",
    "wide format": "{{ '%2000000000d' % 1 }}",
    "wide date": "{{ strftime_now('%2000000000d') }}",
    "division": "{{ 1 / 0 }}",
    "undefined": "{{ messages.nothing.at_all }}",
    "attribute": "{{ ''.__class__.__mro__ }}",
    "private": "{% set ns = namespace(__init__=1) %}{{ ns }}",
    "type": "{{ messages | sum }}",
    "codec": "{{ 'x'.encode('rot14') }}",
    "index": "{{ 'x'.index('y') }}",
    "no loader": "{% include 'other' %}",
    "half a character": "{{ '\\ud800' }}",
    "a filter that is none": "{{ messages | nothing }}",
    "not a template": "{% for %}",
    "deep": "{% if 1 %}" * 400 + "{% endif %}" * 400,
    "lines of its own": "{{ raise_exception('a\nb\x1b[2Jc' + 'd' * 5000) }}",
    "other exceptions": "{{ raise_exception(messages) }}",
}

DOUBLING = "{% set ns = namespace(x='a') %}{% for i in range(31) %}"
HUGE = {
    "doubling": DOUBLING + "{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "joining": DOUBLING + "{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "a block": DOUBLING + "{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}{% endfor %}",
    "a list": DOUBLING + "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ (ns.x ~ '') | length }}{{ ns.x }}",
    "a list in a filter": DOUBLING + "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | string | length }}",
    "quotes": "{% set ns = namespace(x='\"') %}{% for i in range(31) %}{% set ns.x = ns.x | tojson %}{% endfor %}",
    "a join": "{{ ([('x' * 1000000)] * 4000) | join | length }}",
    "a method join": "{{ ('x' * 1000000).join('y' * 4000) | length }}",
    "ljust": "{{ 'x'.ljust(2000000000) | length }}",
    "center": "{{ 'x' | center(2000000000) | length }}",
    "indent": "{{ 'x\n' | indent(2000000000) | length }}",
    "tabs": "{{ '\t'.expandtabs(2000000000) | length }}",
    "format": "{{ '{:>2000000000}'.format('a') | length }}",
    "format of a width": "{{ '{:>{}}'.format('a', 2000000000) | length }}",
    "format of texts": "{{ ('%s' * 10000) | format('x' * 1000000) | length }}",
    "replace": "{{ ('x' * 100000).replace('x', 'y' * 100000) | length }}",
    "replaced by a filter": "{{ ('x' * 100000) | replace('x', 'y' * 100000) | length }}",
    "a macro": "{% macro m(x) %}{% for i in range(99999) %}{{ x }}{% endfor %}{% endmacro %}"
    "{{ m('x' * 100000) | length }}",
    "words": "{{ lipsum(2000000000) }}",
}
"""Texts of gigabytes that are not even printed."""


def tokenizer_with(template: str) -> PreTrainedTokenizerFast:
    made = AutoTokenizer.from_pretrained(SAMPLE / "tokenizer")
    made.chat_template = template
    return made


def refusal(template: str) -> str:
    with pytest.raises(UserError) as caught:
        Markup("tokenizer", tokenizer_with(template)).render(SAID)
    message = str(caught.value)
    assert message.startswith("model.chat=tokenizer: ") and "choose another model.chat" in message
    assert "\n" not in message and "\x1b" not in message and len(message) < 500
    return message


@pytest.mark.shows("W4")
@pytest.mark.parametrize("kind", STRANGE)
def test_whatever_a_template_raises_is_one_line(kind: str) -> None:
    refusal(STRANGE[kind])


@pytest.mark.shows("W4")
@pytest.mark.parametrize("kind", HUGE)
def test_no_template_makes_a_huge_text(kind: str) -> None:
    said = refusal("{% for m in messages %}{{ m.content }}</s>{% endfor %}" + HUGE[kind])
    assert "a text would be too" in said or kind == "words"


@pytest.mark.shows("W4")
def test_a_template_that_never_ends_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer_template, "SECONDS", 0.2)
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    assert "takes longer than 0.2 s" in refusal(loop + "{{ messages }}")
    # and the next rendering is as ever
    Markup("tokenizer", tokenizer_with("{% for m in messages %}{{ m.content }}</s>{% endfor %}")).render(SAID)


@pytest.mark.shows("W4")
def test_a_template_writes_no_more_than_a_conversation_needs() -> None:
    assert "writes more than 4,19" in refusal("{% for a in range(99999) %}{{ 'x' * 1000 }}{% endfor %}")
    assert "has 1,100,000 characters" in refusal("x" * 1_100_000)


@pytest.mark.shows("W4")
def test_what_it_writes_of_a_long_conversation_is_kept() -> None:
    markup = Markup("tokenizer", tokenizer_with("{% for m in messages %}{{ m.content }}</s>{% endfor %}"))
    text = "long " * 1_500_000
    assert markup.render([Message("user", text), *SAID[1:]]).pieces[0] == [f"{text}</s>"]
