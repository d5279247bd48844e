"""Prompts of the general tasks: token ids are those of chat_markup, and what is too long loses whole examples."""

from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from sciriff.config import SAMPLE
from sciriff.general.letters import INSTRUCTION, chosen, letter_request
from sciriff.general.prompts import Prompt, Prompter
from sciriff.models.chat_markup import Markup, prompt_ids
from sciriff.models.loading import read_tokenizer
from sciriff.run.json_lines import Message
from sciriff.run.user_error import UserError

TURNS = [
    {"role": "system", "content": "Pick </s> a letter.\n\n"},
    {"role": "user", "content": "One <|assistant|> or two?"},
    {"role": "assistant", "content": "A"},
    {"role": "user", "content": "Red </s> or blue?"},
]
CONVERSATION = [Message(turn["role"], turn["content"]) for turn in TURNS]


@pytest.fixture(scope="module")
def tokenizer():
    return read_tokenizer(str(SAMPLE / "tokenizer"), "model.tokenizer", "model.tokenizer")


def prompter(tokenizer, chat="tulu", context=1000, turns=True) -> Prompter:
    return Prompter(chat, tokenizer, context, turns)


@pytest.mark.parametrize("chat", ["tulu", "llama2"])
def test_ids_are_those_of_training_and_prediction(tokenizer, chat):
    made = prompter(tokenizer, chat)
    encoded = made.encode(made.named(made.template(TURNS), "x"), ["A", "B"])
    assert encoded.prompt == prompt_ids(chat, CONVERSATION, tokenizer)
    assert encoded.prompt.count(tokenizer.eos_token_id) == 1, "</s> in a text is text"
    trained = [Markup(chat, tokenizer).answer_ids(letter) for letter in ("A", "B")]
    assert encoded.continuations == trained


def test_a_prefix_follows_the_generation_prompt(tokenizer):
    made = prompter(tokenizer)
    begun = [*TURNS, {"role": "assistant", "content": "The answer is:"}]
    encoded = made.encode(made.named(made.template(begun, add_generation_prompt=False), "x"), [" A", " B"])
    ids = prompt_ids("tulu", CONVERSATION, tokenizer)
    assert encoded.prompt[: len(ids)] == ids
    assert tokenizer.decode(encoded.prompt[len(ids) :]) == "The answer is:"
    assert [tokenizer.decode(ids).strip() for ids in encoded.continuations] == ["A", "B"]
    whole = Markup("tulu", tokenizer).answer_ids("The answer is: A")
    assert encoded.prompt[len(ids) :] + encoded.continuations[0] == whole


@pytest.fixture
def templated():
    """`templated(beginning, turn)`: a prompter whose tokenizer has this template of its own."""

    def make(beginning: str, turn: str) -> tuple[Prompter, Any]:
        tokenizer = read_tokenizer(str(SAMPLE / "tokenizer"), "model.tokenizer", "model.tokenizer")
        tokenizer.chat_template = (
            beginning
            + "{% for m in messages %}{{ '<' + m['role'] + '>' }}"
            + turn
            + "{{ m['content'] + eos_token }}{% endfor %}{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
        )
        return prompter(tokenizer, "tokenizer"), tokenizer

    return make


def test_a_template_without_system_messages_has_their_text_before_the_first_question(templated):
    refuses = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    made, tokenizer = templated(refuses, "")
    encoded = made.encode(made.named(made.template(TURNS), "x"), ["A", "B"])
    end = tokenizer.eos_token
    assert tokenizer.decode(encoded.prompt) == (
        f"<user>Pick </s> a letter.\n\nOne <|assistant|> or two?{end}<assistant>A{end}"
        f"<user>Red </s> or blue?{end}<assistant>"
    )
    assert encoded.prompt.count(tokenizer.eos_token_id) == 3


def test_a_template_that_changes_earlier_answers_makes_prompts(templated):
    made, tokenizer = templated("", "{% if m['role'] == 'assistant' and loop.last %}{{ 'thought ' }}{% endif %}")
    encoded = made.encode(made.named(made.template(TURNS[1:]), "x"), ["A", "B"])
    end = tokenizer.eos_token
    assert tokenizer.decode(encoded.prompt) == (
        f"<user>One <|assistant|> or two?{end}<assistant>A{end}<user>Red </s> or blue?{end}<assistant>"
    )
    assert [tokenizer.decode(ids) for ids in encoded.continuations] == ["thought A", "thought B"]


def test_an_empty_thought_stands_before_answers_that_are_compared(templated):
    """Where the template writes one before every answer; a model that is to answer freely may think."""
    made, tokenizer = templated("", "{% if m['role'] == 'assistant' %}{{ '<think></think>' }}{% endif %}")
    question = Prompt((Message("user", "One or two?"),))
    asked = f"<user>One or two?{tokenizer.eos_token}<assistant>"
    assert tokenizer.decode(made.encode(question).prompt) == asked
    compared = made.encode(question, ["A", "B"])
    assert tokenizer.decode(compared.prompt) == f"{asked}<think></think>"
    assert [tokenizer.decode(ids) for ids in compared.continuations] == ["A", "B"]
    begun = made.encode(Prompt(question.messages, "It is"))
    assert tokenizer.decode(begun.prompt) == f"{asked}<think></think>It is"


def test_base_models_get_the_text_as_it_is(tokenizer):
    made = prompter(tokenizer, "general")
    text = "Question: 1 + 1?\nAnswer:"
    encoded = made.encode(Prompt((Message("user", text),)), [" 2", " 3"])
    assert tokenizer.decode(encoded.prompt) == f"{tokenizer.bos_token}{text}"
    together = prompt_ids("general", [Message("user", f"{text} 2")], tokenizer)
    assert encoded.prompt + encoded.continuations[0] == together
    spaced = made.encode(Prompt((Message("user", f"{text} "),)), ["2"])
    assert spaced == made.encode(Prompt((Message("user", text),)), [" 2"]), "a blank belongs to what follows it"
    alone = made.encode(Prompt(()), [" 2"])
    assert alone.prompt == [tokenizer.bos_token_id], "without a context there is still a first token"


def fake_task(examples: int, length: int, random: Random) -> SimpleNamespace:
    """What makes prompts in a task of lm-eval: `num_fewshot` drawn examples of `length` words, then the document."""
    pool = [f"example {number} " + "word " * length for number in range(examples)]
    sampler = SimpleNamespace(rnd=random)

    def fewshot_context(doc, num_fewshot, chat_template=None, **options):
        drawn = sampler.rnd.sample(pool, num_fewshot)
        turns = [{"role": "user", "content": text} for text in (*drawn, doc)]
        return chat_template(turns) if chat_template else "\n\n".join(turn["content"] for turn in turns)

    config = SimpleNamespace(task="invented")
    return SimpleNamespace(fewshot_context=fewshot_context, sampler=sampler, multiple_input=0, config=config)


@pytest.mark.parametrize("chat", ["tulu", "general"])
def test_a_long_prompt_loses_whole_examples_and_never_its_beginning(tokenizer, chat):
    made = prompter(tokenizer, chat, context=400)
    task = fake_task(9, 40, Random(1))
    context = made.shortening(task, lambda doc: (100, ()))
    options = {} if chat == "general" else {"chat_template": made.template}
    name = context("The question itself?", num_fewshot=8, **options)
    prompt = made.named(name, "invented")
    assert 0 < prompt.left_out < 8
    assert prompt.fits
    text = "".join(message.content for message in prompt.messages)
    assert text.endswith("The question itself?")
    assert text.startswith("example")
    assert text.count("example") == 8 - prompt.left_out
    assert len(made.encode(prompt).prompt) + 100 <= 400
    roomy = prompter(tokenizer, chat, context=100_000)
    one_more = roomy.shortening(fake_task(9, 40, Random(1)), lambda doc: (100, ()))
    options = {} if chat == "general" else {"chat_template": roomy.template}
    longer = roomy.named(one_more("The question itself?", num_fewshot=9 - prompt.left_out, **options), "invented")
    assert len(roomy.encode(longer).prompt) + 100 > 400, "no more than needed"


def test_the_examples_of_later_documents_do_not_depend_on_shortening(tokenizer):
    later = []
    for context in (400, 100_000):
        made = prompter(tokenizer, context=context)
        task = fake_task(9, 40, Random(7))
        shortened = made.shortening(task, lambda doc: (100, ()))
        shortened("first", num_fewshot=8, chat_template=made.template)
        later.append(made.named(shortened("second", num_fewshot=1, chat_template=made.template), "x").messages)
    assert later[0] == later[1]


def test_a_prompt_that_never_fits_is_marked(tokenizer):
    made = prompter(tokenizer, context=60)
    context = made.shortening(fake_task(9, 40, Random(1)), lambda doc: (10, ()))
    prompt = made.named(context("word " * 100, num_fewshot=2, chat_template=made.template), "invented")
    assert (prompt.fits, prompt.left_out) == (False, 2)


def test_a_task_that_changes_its_prompts_is_refused(tokenizer):
    made = prompter(tokenizer)
    name = made.template(TURNS)
    with pytest.raises(UserError, match="odd_task changes its prompts"):
        made.named(f"{name} and more", "odd_task")


def test_a_server_is_asked_for_the_letter():
    request = letter_request("mmlu_x", 3, CONVERSATION, ["A", "B", "C", "D"])
    assert request.messages[:-1] == CONVERSATION[:-1]
    assert request.messages[-1].content.endswith(INSTRUCTION)
    assert (request.prompt, request.continuations) == ([], [])


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        (" (C).", "C"),
        ("b", "B"),
        ("The answer is D.", "D"),
        ("**A**", "A"),
        ("A. because of it", "A"),
        ("A good question. The answer is B", "B"),
        ("Because it is so", None),
        ("I cannot tell", None),
        ("", None),
        ("E", None),
    ],
)
def test_the_letter_of_an_answer(text, letter):
    place = chosen(text, ["A", "B", "C", "D"])
    assert (None if place is None else "ABCD"[place]) == letter


def test_choices_may_be_small_letters_or_many():
    assert [chosen(text, ["a", "b"]) for text in ("b", "B", "(B)", "a thought")] == [1, 1, 1, None]
    assert [chosen(text, "ABCDEFGHI") for text in ("I think it is B", "I is right", "A is right, not B")] == [1, 8, 0]
