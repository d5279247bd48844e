"""Where thoughts end and answers begin, by the tokens and real templates of the families that think."""

from copy import deepcopy
from typing import Any

import pytest
from predict_runs import tiny_model
from thinking_models import tokenizer_like

from sciriff.config import ModelConfig
from sciriff.models import thought_marks
from sciriff.models.engines.stop_strings import StopStrings
from sciriff.models.engines.thinking import Thinking
from sciriff.models.thoughts import OutputSoFar, Thoughts, thoughts_of


def model_like(thinking: str | None = None) -> ModelConfig:
    model = tiny_model()
    model.chat, model.thinking = "tokenizer", thinking
    return model


def of(name: str, plain: bool = False, thinking: str | None = None) -> tuple[Thoughts, Any]:
    tokenizer = tokenizer_like(name, plain=plain)
    found = thoughts_of(model_like(thinking), tokenizer)
    assert found is not None
    return found, tokenizer


def ids_of(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def parts(found: Thoughts, tokenizer: Any, ids: list[int]) -> tuple[str | None, str, bool]:
    split = found.split(ids, tokenizer)
    return split.thought, split.text(tokenizer.decode(split.answer)), split.answered


GPT_OSS = (
    "<|channel|>analysis<|message|>One.<|end|><|start|>assistant<|channel|>commentary<|message|>Two.<|end|>"
    "<|start|>assistant<|channel|>final<|message|>Yes.<|return|>"
)


@pytest.mark.parametrize(
    ("family", "output", "opened", "thought", "answer"),
    [
        ("qwen3", "<think>\nOne.\n</think>\n\nYes.", False, "One.", "Yes."),
        ("qwen3", "\n<think>\n\n</think>\n\nYes.", False, "", "Yes."),
        ("qwen3", "Yes.", False, None, "Yes."),
        ("qwen3", "Yes. </think> is a mark, and so is <think>.", False, None, None),
        ("qwen3", "<think>One.</think>Yes </think> no.", False, "One.", "Yes </think> no."),
        ("qwen3_5_think", "One.\n</think>\n\nYes.", True, "One.", "Yes."),
        ("nemotron_3_nano", "One.\n</think>Yes.", True, "One.", "Yes."),
        ("deepseek_r1_distill", "One.\n</think>\n\nYes.", True, "One.", "Yes."),
        ("gptoss", GPT_OSS, False, "One.\nTwo.", "Yes.<|return|>"),
        ("gptoss", "<|channel|>final<|message|>Yes.", False, "", "Yes."),
        ("gptoss", "<|channel|>final <|constrain|>json<|message|>{}", False, "", "{}"),
        ("gemma4", "<|channel>thought\nOne.\n<channel|>Yes.", False, "One.", "Yes."),
        ("gemma4", "Yes.", False, None, "Yes."),
        ("cohere", "<|START_THINKING|>One.<|END_THINKING|><|START_RESPONSE|>Yes.", False, "One.", "Yes."),
    ],
)
def test_a_thought_is_cut_where_its_mark_is_a_token(
    family: str, output: str, opened: bool, thought: str | None, answer: str | None
) -> None:
    found, tokenizer = of(family)
    assert found.end
    assert found.opened is opened
    ids = ids_of(tokenizer, output)
    assert parts(found, tokenizer, ids) == (thought, output if answer is None else answer, True)
    split = found.split(ids, tokenizer)
    assert split.thought_tokens + len(split.answer) == len(ids)
    assert (split.thought_tokens > 0) is (thought is not None)


@pytest.mark.parametrize("family", ["qwen3", "qwen3_5_think", "gptoss", "gemma4"])
def test_a_thought_without_an_end_has_no_answer(family: str) -> None:
    found, tokenizer = of(family)
    begin = {"qwen3": "<think>\n", "gptoss": "<|channel|>analysis<|message|>", "gemma4": "<|channel>thought\n"}
    # the letters of a mark are not its token
    letters = [id for piece in ("</", "think", ">") for id in ids_of(tokenizer, piece)]
    ids = ids_of(tokenizer, begin.get(family, "") + "One") + letters + ids_of(tokenizer, "more")
    split = found.split(ids, tokenizer)
    assert (split.answered, split.thought_tokens, list(split.answer)) == (False, len(ids), [])
    assert split.thought is not None
    assert split.thought.startswith("One")
    assert split.thought.endswith("more")


def test_the_letters_of_a_mark_in_a_quote_end_nothing() -> None:
    found, tokenizer = of("qwen3")
    letters = [id for piece in ("</", "think", ">") for id in ids_of(tokenizer, piece)]
    assert found.end[0] not in letters
    ids = [*ids_of(tokenizer, "<think>The tag "), *letters, *ids_of(tokenizer, " is quoted.</think>Yes.")]
    thought, answer, _ = parts(found, tokenizer, ids)
    assert thought is not None
    assert thought.endswith("is quoted.")
    assert answer == "Yes."


@pytest.mark.parametrize("opened", [False, True])
def test_marks_that_are_no_tokens_are_found_as_text_wherever_tokens_end(opened: bool) -> None:
    found, tokenizer = of("qwen3_5_think" if opened else "qwen3", plain=True)
    assert not found.end
    assert "its text" in found.line()
    output = ("" if opened else "<think>") + "One.</think>\n\nYes </think>."
    for ids in (ids_of(tokenizer, output), [id for letter in output for id in ids_of(tokenizer, letter)[-1:]]):
        text = tokenizer.decode(ids)
        if "</think>" in text:
            thought, answer, answered = parts(found, tokenizer, ids)
            assert answered
            assert thought == text.partition("</think>")[0].removeprefix("<think>").strip()
            assert answer == text.partition("</think>")[2].strip()
    assert parts(found, tokenizer, ids_of(tokenizer, output)) == ("One.", "Yes </think>.", True)


def test_a_growing_output_stands_where_the_whole_one_does() -> None:
    for family, output in (("qwen3", "<think>a b c</think>d e"), ("gptoss", GPT_OSS), ("gemma4", "x y")):
        found, tokenizer = of(family)
        ids = ids_of(tokenizer, output)
        whole = found.split(ids, tokenizer)
        so_far = OutputSoFar(found, tokenizer)
        for count in range(1, len(ids) + 1):
            so_far.read(ids[:count])
        assert so_far.answers
        assert so_far.begins == whole.thought_tokens


def test_an_end_token_of_a_message_ends_no_thought() -> None:
    found, tokenizer = of("gptoss")
    message, whole = (tokenizer.convert_tokens_to_ids(name) for name in ("<|end|>", "<|return|>"))
    thinking = Thinking(found, tokenizer, 0, [message, whole])
    ids = ids_of(tokenizer, GPT_OSS)
    assert thinking.watch([], 100, None).end(ids) == len(ids)
    assert [thinking.ended([], ids[:count], None) for count in (len(ids), len(ids) - 1)] == [True, False]
    at = ids.index(message)
    assert not thinking.ended([], ids[: at + 1], None)
    answered = ids_of(tokenizer, "<|channel|>final<|message|>Yes.<|end|>more")
    assert thinking.watch([], 100, None).end(answered) == answered.index(message) + 1


@pytest.mark.parametrize(
    ("budget", "limit", "end", "reason"),
    [
        (9, 2, 8, "length"),
        (9, 9, 9, "stop"),
        (6, 2, 8, "length"),
        (5, 9, 5, "length"),
        (0, 3, 3, "length"),
        (0, 7, 7, "length"),
    ],
)
def test_thought_and_answer_have_a_limit_each(budget: int, limit: int, end: int, reason: str) -> None:
    """Six tokens of a thought, marks included, two of an answer and its end."""
    found, tokenizer = of("qwen3")
    start, close, eos = (tokenizer.convert_tokens_to_ids(name) for name in ("<think>", "</think>", "<|im_end|>"))
    ids = [start, 100, 101, 102, 103, close, 104, 105, eos, 106, 107]
    thinking = Thinking(found, tokenizer, budget, [eos])
    for steps in (1, 2, 11):
        watched = thinking.watch([], limit, None)
        ends = [watched.end(ids[:count]) for count in range(steps, 12, steps)]
        assert next(filter(None, ends)) == end
    assert thinking.ended([], ids[:end], None) == (reason == "stop")


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("stop", ["\n", "\n\n", "\n\nQ"])
def test_the_white_space_after_a_thought_is_no_stop_string(stop: str, plain: bool) -> None:
    found, tokenizer = of("qwen3", plain=plain)
    thinking = Thinking(found, tokenizer, 100, [])
    stops = StopStrings(tokenizer, [stop])
    head = ids_of(tokenizer, "<think>\nOne.\n</think>")
    # one token of white space, or several, or a token that goes on with text
    for blank in ("\n\n", "\n\n" + "\n" * 40):
        answer = ids_of(tokenizer, "Yes, it is a long one." + stop)
        ids = [*head, *[id for letter in blank for id in ids_of(tokenizer, letter)], *answer, *ids_of(tokenizer, "No")]
        for step in (1, 3, 100):
            watched = thinking.watch([], 90, stops)
            counts = [*range(step, len(ids), step), len(ids)]
            ends = [watched.end(ids[:count], over=count == len(ids)) for count in counts]
            end = next(filter(None, ends))
            assert tokenizer.decode(ids[:end]).endswith("one." + stop)
            assert thinking.ended([], ids[:end], stops)
        assert not any(thinking.ended([], ids[:count], stops) for count in range(end))
    # without a thought the first text of an answer is looked at, too
    bare = ids_of(tokenizer, "\n\nQ")
    assert thinking.watch([], 90, stops).end(bare, over=True) == len(ids_of(tokenizer, stop))
    assert StopStrings(tokenizer, [stop]).end(bare)
    assert not StopStrings(tokenizer, [stop]).after_blank().end(bare)


def test_what_each_tokenizer_is_known_by(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tokenizer_like("qwen3")
    bare = tokenizer_like("gemma4")
    field = {"open": "<seed:think>", "close_pattern": r"<\/seed:think>\s*"}
    monkeypatch.setattr(bare, "response_template", {"fields": {"thinking": field}}, raising=False)
    assert thoughts_of(model_like(), bare).marks is thought_marks.SEED, "the tokenizer's own template comes first"
    assert thoughts_of(model_like("gemma4"), bare).marks is thought_marks.GEMMA, "and what a person says before it"
    for hostile in (
        5,
        {},
        {"fields": []},
        {"fields": {"thinking": 7}},
        {"fields": {"thinking": {"close": ["x" * 999]}}},
    ):
        monkeypatch.setattr(bare, "response_template", hostile)
        assert thoughts_of(model_like(), bare).marks is thought_marks.GEMMA
    monkeypatch.setattr(bare, "response_template", {"fields": {"reasoning": {"close_pattern": "(a+)+$"}}})
    assert thoughts_of(model_like(), bare).marks is thought_marks.GEMMA
    assert thoughts_of(model_like("none"), tokenizer) is None
    for name in thought_marks.NAMED:
        assert thoughts_of(model_like(name), tokenizer).marks is thought_marks.NAMED[name]
    with pytest.raises(ValueError, match=r"model\.thinking=step3.*vLLM.*qwen3"):
        thoughts_of(model_like("step3"), tokenizer)


def test_one_table_of_marks_for_training_and_answers() -> None:
    ends = {marks.end for marks in thought_marks.IN_VOCABULARY}
    assert {end for _, end in thought_marks.AROUND} == ends - {thought_marks.CHANNELS.end}
    assert ("<|channel>thought", "<channel|>") in thought_marks.AROUND


def test_a_server_needs_no_template_of_the_tokenizer_here() -> None:
    tokenizer = deepcopy(tokenizer_like("qwen3"))
    tokenizer.chat_template = {"rag": tokenizer.chat_template, "tool_use": tokenizer.chat_template}
    found = thoughts_of(model_like(), tokenizer, served=True)
    assert (found.marks, found.tail, found.opened) == (thought_marks.THINK, (), False)
    with pytest.raises(ValueError, match="several chat templates"):
        thoughts_of(model_like(), tokenizer)


def test_a_model_without_marks_has_none() -> None:
    from sciriff.models.loading import load_tokenizer

    assert thoughts_of(tiny_model(), load_tokenizer(tiny_model())) is None


@pytest.mark.parametrize(
    ("family", "text", "ended", "expected"),
    [
        ("qwen3", "<think>\nOne.\n</think>\n\nYes.", "stop", ("One.", "Yes.", True)),
        ("qwen3", "Yes. </think>", "stop", (None, "Yes. </think>", True)),
        ("qwen3", "<think>One", "length", ("One", "", False)),
        ("qwen3_5_think", "One.\n</think>\n\nYes.", "stop", ("One.", "Yes.", True)),
        ("qwen3_5_think", "Yes.", "stop", (None, "Yes.", True)),
        ("qwen3_5_think", "One", "length", ("One", "", False)),
        ("gptoss", GPT_OSS, "stop", ("One.\nTwo.", "Yes.", True)),
        ("cohere", "<|START_THINKING|>One.<|END_THINKING|>\n<|START_RESPONSE|>Yes.", "stop", ("One.", "Yes.", True)),
        ("gptoss", "analysisOne.assistantfinalYes.", "stop", (None, "analysisOne.assistantfinalYes.", True)),
    ],
)
def test_the_text_of_a_server_that_parts_no_thoughts(family: str, text: str, ended: str, expected: Any) -> None:
    found, _ = of(family)
    assert found.split_text(text, ended) == expected


def test_a_prompt_that_ends_or_begins_a_thought_in_the_models_name() -> None:
    """As one does that names what an answer begins with."""
    for family, opened in (("qwen3", False), ("qwen3_5_think", True)):
        found, tokenizer = of(family)
        prompt = [7, *found.tail]
        assert found.after(prompt, tokenizer) is found
        quote = [*ids_of(tokenizer, "</think> a quote <think>"), *found.tail]
        assert found.after(quote, tokenizer) is found
        closed = [*prompt, *ids_of(tokenizer, "\n</think>\n\nThe answer is")]
        assert found.after(closed, tokenizer).opened is False
        assert found.after([*prompt, *ids_of(tokenizer, "<think>First,")], tokenizer).opened is True
        assert found.after([*prompt, *ids_of(tokenizer, "The answer is")], tokenizer).opened is opened
