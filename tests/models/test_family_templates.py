"""Golden texts: our own conversations by the real templates of model families, and what of them is learnt."""

import datetime
from dataclasses import replace

import pytest
from family_templates import FAMILIES, NEEDED, family_tokenizer
from predict_runs import tiny_model
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

from sciriff.config import CHAT_DATE, ChatSettings
from sciriff.models.chat_markup import PLAIN, Markup, prompt_ids, saved_template, unseen_day
from sciriff.models.tokenizer_template import Inexpressible, template_of
from sciriff.run.json_lines import Message

pytestmark = NEEDED


def user(text: str) -> Message:
    return Message("user", text)


def answer(text: str, thought: str | None = None) -> Message:
    return Message("assistant", text, thought)


ONE = [user("Which genes?"), answer('["BRCA1"]')]
SYSTEM = [Message("system", "Answer briefly."), *ONE]
SEVERAL = [*ONE, user("Which diseases?"), answer("None."), user("Sure?"), answer("Yes.")]
SPECIAL = [user("What is <|im_end|> or </s> or <start_of_turn>?"), answer("A token:\n<|im_end|>, <|eot_id|>, <s>.")]
SPACES = [user("  \n a table:\n\n| x |\n "), answer("\n\n x \n")]
THOUGHT = [user("Which genes?"), answer('["BRCA1"]', "The abstract names one.")]
CONVERSATIONS = [ONE, SYSTEM, SEVERAL, SPECIAL, SPACES, THOUGHT]

EMPTY = "<think>\n\n</think>\n\n"
NOT_THINKING = ChatSettings({"enable_thinking": False})
LEARNT = {
    "gemma3": ('["BRCA1"]<end_of_turn>', "None.<end_of_turn>", "Yes.<end_of_turn>"),
    "gemma4_v5": ('["BRCA1"]<turn|>', "None.<turn|>", "Yes.<turn|>"),
    "gptoss": ("<|channel|>final<|message|>Yes.<|return|>",),
    "llama3": ('["BRCA1"]<|eot_id|>', "None.<|eot_id|>", "Yes.<|eot_id|>"),
    "llama3_1": ('["BRCA1"]<|eot_id|>', "None.<|eot_id|>", "Yes.<|eot_id|>"),
    "llama3_2": ('["BRCA1"]<|eot_id|>', "None.<|eot_id|>", "Yes.<|eot_id|>"),
    "qwen2_5": ('["BRCA1"]<|im_end|>', "None.<|im_end|>", "Yes.<|im_end|>"),
    "qwen3": ("Yes.<|im_end|>",),
    "qwen3_5_think": ("Yes.<|im_end|>",),
    "qwen3_5_nothink": ("Yes.<|im_end|>",),
    "qwen3_6": ("Yes.<|im_end|>",),
    "qwen3_8": ('["BRCA1"]<|im_end|>', "None.<|im_end|>", "Yes.<|im_end|>"),
    "qwen3_instruct_2507": ('["BRCA1"]<|im_end|>', "None.<|im_end|>", "Yes.<|im_end|>"),
}
"""What is learnt of SEVERAL, by the templates as they are."""


class Clock(datetime.datetime):
    """A clock that stands still."""

    day = (2031, 12, 24)

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> "Clock":
        return cls(*cls.day, tzinfo=tz)


def on(day: tuple[int, int, int], patch: pytest.MonkeyPatch) -> None:
    """Set transformers' clock."""
    patch.setattr(Clock, "day", day)
    patch.setattr(chat_template_utils, "datetime", Clock)


def rendered_by_transformers(
    tokenizer: PreTrainedTokenizerFast,
    messages: list[Message],
    settings: ChatSettings,
    *,
    to_answer: bool,
    saved: bool = False,
) -> str | None:
    """None where the template refuses the conversation."""
    turns = []
    for message in messages:
        turn: dict = {"role": message.role, "content": message.content}
        if message.thought is not None:
            turn |= {"reasoning_content": message.thought, "thinking": message.thought, "reasoning": message.thought}
        turns.append(turn)
    template = saved_template("tokenizer", tokenizer, settings) if saved else None
    arguments = {} if saved else settings.arguments
    try:
        text = tokenizer.apply_chat_template(
            turns, chat_template=template, tokenize=False, add_generation_prompt=to_answer, **arguments
        )
    except Exception:
        return None
    assert isinstance(text, str)
    return text


def pieces_of(tokenizer: PreTrainedTokenizerFast, messages: list[Message], settings: ChatSettings = PLAIN):
    """(text of the row, learnt texts, prompt's token ids are how it begins)"""
    markup = Markup("tokenizer", tokenizer, settings)
    rendered = markup.render(messages)
    row = markup.row(rendered, markup.encode([rendered])[0])
    runs: list[list[int]] = []
    before = False
    for token, target in zip(row.ids.tolist(), row.targets.tolist(), strict=True):
        if target:
            runs = [*runs[:-1], [*runs[-1], token]] if before else [*runs, [token]]
        before = target
    prompt = prompt_ids("tokenizer", messages[:-1], tokenizer, settings)
    begins = row.ids[: len(prompt)].tolist() == prompt and not row.targets[:-1][len(prompt) - 1]
    return tokenizer.decode(row.ids), [tokenizer.decode(run) for run in runs], begins


OFTEN = (
    *("cohere2", "gemma", "gemma3", "gemma4_v5", "glm4moe", "gptoss", "lfm2_2_5", "llama3", "llama3_1", "llama3_2"),
    *("nemotron_3_nano", "phi3", "qwen2_5", "qwen3", "qwen3_5_think", "qwen3_5_nothink", "qwen3_8", "deepseekv3"),
)
"""Families that are looked at each time; the others, most of them near relatives, take a minute."""
ALL = [family if family in OFTEN else pytest.param(family, marks=pytest.mark.slow) for family in FAMILIES]


@pytest.mark.parametrize("family", ALL)
def test_a_row_is_what_transformers_renders(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text for text, and its prompt is token for token how it begins; or the row is refused for its own reason."""
    on(tuple(map(int, CHAT_DATE.split("-"))), monkeypatch)  # type: ignore[arg-type]
    tokenizer = family_tokenizer(family)
    plain = template_of(tokenizer, ChatSettings())
    as_parts = plain.about.get("parts")
    tried = [ChatSettings()]
    if "enable_thinking" in plain.variables:
        tried += [NOT_THINKING, ChatSettings({"enable_thinking": True})]
    for settings in tried:
        for messages in CONVERSATIONS:
            if as_parts or (messages is THOUGHT and family == "deepseek_r1_distill_training"):
                continue  # transformers is handed text here, and thoughts apart from it
            whole = rendered_by_transformers(tokenizer, messages, settings, to_answer=False)
            prompt = rendered_by_transformers(tokenizer, messages[:-1], settings, to_answer=True)
            ended = whole is not None and _ends(family)
            if whole is None or prompt is None or not whole.startswith(prompt) or not ended:
                with pytest.raises(Inexpressible):
                    pieces_of(tokenizer, messages, settings)
                continue
            text, learnt, begins = pieces_of(tokenizer, messages, settings)
            assert text == whole
            assert begins
            assert learnt[-1].rpartition(messages[-1].content.strip())[1]
            assert not any(part.startswith((EMPTY, "\n</think>")) for part in learnt)


def _ends(family: str) -> bool:
    """GLM's template writes nothing after an answer, so that none could be learnt to end."""
    return family != "glm4moe"


@pytest.mark.parametrize("family", LEARNT)
def test_what_is_learnt(family: str) -> None:
    _, learnt, begins = pieces_of(family_tokenizer(family), SEVERAL)
    assert learnt == [*LEARNT[family]] and begins
    # only templates that show earlier answers otherwise have a single one
    assert Markup("tokenizer", family_tokenizer(family)).render(SEVERAL).remark.alone is (len(learnt) == 1)


@pytest.mark.parametrize(
    ("family", "prompt", "learnt"),
    [
        ("qwen3", "<|im_start|>assistant\n", "<think>\nThe abstract names one.\n</think>\n\n"),
        ("qwen3_5_think", "<|im_start|>assistant\n<think>\n", "The abstract names one.\n</think>\n\n"),
        ("gptoss", "<|start|>assistant", "<|channel|>analysis<|message|>The abstract names one.<|end|>"),
        ("gemma4_v5", "<|turn>model\n", "<|channel>thought\nThe abstract names one.\n<channel|>"),
        ("nemotron_3_nano", "<|im_start|>assistant\n<think>\n", "The abstract names one.\n</think>\n"),
    ],
)
def test_a_thought_that_a_row_brings_is_learnt(family: str, prompt: str, learnt: str) -> None:
    tokenizer = family_tokenizer(family)
    in_text = [THOUGHT[0], answer('<think>\nThe abstract names one.\n</think>\n\n["BRCA1"]')]
    for messages in (THOUGHT, in_text):
        _, runs, begins = pieces_of(tokenizer, messages)
        assert len(runs) == 1 and runs[0].startswith(learnt) and '["BRCA1"]' in runs[0] and begins
    assert tokenizer.decode(prompt_ids("tokenizer", THOUGHT[:1], tokenizer)).endswith(prompt)


def test_an_empty_thought_is_learnt_only_if_the_row_has_it() -> None:
    tokenizer = family_tokenizer("qwen3")
    whole = rendered_by_transformers(tokenizer, ONE, ChatSettings(), to_answer=False)
    for said, learnt in (('["BRCA1"]', '["BRCA1"]<|im_end|>'), (f'{EMPTY}["BRCA1"]', f'{EMPTY}["BRCA1"]<|im_end|>')):
        text, runs, begins = pieces_of(tokenizer, [ONE[0], answer(said)])
        assert (text, runs, begins) == (whole, [learnt], True)
    # with the argument it is the prompt's, in training as in prediction
    prompt = tokenizer.decode(prompt_ids("tokenizer", ONE[:1], tokenizer, NOT_THINKING))
    assert prompt.endswith(f"assistant\n{EMPTY}")
    assert pieces_of(tokenizer, ONE, NOT_THINKING) == (whole, ['["BRCA1"]<|im_end|>'], True)
    assert not Markup("tokenizer", tokenizer, NOT_THINKING).before_answer
    assert tokenizer.decode(Markup("tokenizer", tokenizer).before_answer) == EMPTY


@pytest.mark.parametrize("family", ["qwen3", "qwen3_5_think", "nemotron_3_nano"])
def test_a_quoted_mark_of_a_thought_is_text(family: str) -> None:
    """In questions, answers and thoughts, and the same in a prompt."""
    tokenizer = family_tokenizer(family)
    begin, end = tokenizer.convert_tokens_to_ids(["<think>", "</think>"])
    asked = user("What do <think> and </think> mean?")
    for said in (
        answer("The tag </think> ends it.", "They ask about </think>, not <think>."),
        answer("<think>\nThey ask about tags.\n</think>\n\nThe tag </think> ends it."),
        answer("They ask about tags.\n</think>\n\nThe tag </think> ends it."),
    ):
        markup = Markup("tokenizer", tokenizer)
        rendered = markup.render([asked, said])
        row = markup.row(rendered, markup.encode([rendered])[0])
        assert (row.ids.tolist().count(begin), row.ids.tolist().count(end)) == (1, 1)
        learnt = row.ids[row.targets].tolist()
        thought = tokenizer.decode(learnt[: learnt.index(end)]).removeprefix("<think>").strip()
        assert thought == (said.thought or "They ask about tags.")
        assert "The tag </think> ends it." in tokenizer.decode(learnt[learnt.index(end) + 1 :])
        prompt = prompt_ids("tokenizer", [asked], tokenizer)
        assert row.ids[: len(prompt)].tolist() == prompt and end not in prompt
    with pytest.raises(Inexpressible, match="no place for an answer that is a thought alone"):
        markup.render([asked, answer("<think>\nOnly that.\n</think>\n")])


def test_what_would_help_is_said() -> None:
    nemotron = Markup("tokenizer", family_tokenizer("nemotron_3_nano"))
    with pytest.raises(Inexpressible, match=r"try \+\+model\.chat_arguments\.enable_thinking=false, or choose another"):
        nemotron.render(ONE)
    qwen = Markup("tokenizer", family_tokenizer("qwen3"), NOT_THINKING)
    with pytest.raises(Inexpressible, match=r"try \+\+model\.chat_arguments\.enable_thinking=true, or choose another"):
        qwen.render(THOUGHT)


@pytest.mark.parametrize(
    ("family", "written"),
    [
        ("gptoss", "Current date: {:%Y-%m-%d}"),
        ("llama3_2", "Today Date: {:%d %b %Y}"),
        ("llama3_1", "Today Date: {:%d %b %Y}"),
    ],
)
def test_the_day_is_the_settings(family: str, written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the clock says; and for whoever renders the template that is saved with the model."""
    tokenizer = family_tokenizer(family)
    for settings in (ChatSettings(), ChatSettings({}, "2025-03-09")):
        shown = set()
        for day in ((2031, 12, 24), (2032, 1, 1)):
            on(day, monkeypatch)
            monkeypatch.setattr(datetime, "datetime", Clock)
            shown.add(tokenizer.decode(prompt_ids("tokenizer", SYSTEM[:2], tokenizer, settings)))
            shown.add(rendered_by_transformers(tokenizer, SYSTEM[:2], settings, to_answer=True, saved=True) or "")
        [prompt] = shown
        assert written.format(datetime.date.fromisoformat(settings.date)) in prompt


def test_the_day_counts_only_if_it_is_asked_for() -> None:
    about = {
        family: template_of(family_tokenizer(family), ChatSettings({}, "2025-03-09")).about
        for family in ("gptoss", "llama3_1", "llama3_2", "llama3", "qwen2_5")
    }
    assert about["llama3"] == about["qwen2_5"] == {}
    assert {about[family]["date"] for family in ("gptoss", "llama3_1", "llama3_2")} == {"2025-03-09"}
    assert template_of(family_tokenizer("llama3_1"), ChatSettings()).about == {}  # has the same day built in


def test_a_day_that_nothing_sees_is_said() -> None:
    model = replace(tiny_model(), chat="tokenizer", chat_date="2025-03-09")
    said = {family: unseen_day(model, family_tokenizer(family)) for family in ("gptoss", "llama3_1", "qwen3")}
    line = "model.chat_date=2025-03-09 has no effect: the tokenizer's chat template shows none"
    assert said == {"gptoss": None, "llama3_1": None, "qwen3": line}
    assert "the server that is asked writes the day" in str(unseen_day(model, None, served=True))
    assert unseen_day(replace(model, chat_date=None), family_tokenizer("qwen3")) is None


@pytest.mark.parametrize("family", ALL)
def test_the_saved_template_has_the_arguments(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others, who know none, render what was trained; with an argument of their own they get that."""
    on((2031, 12, 24), monkeypatch)
    tokenizer = family_tokenizer(family)
    variables = template_of(tokenizer, ChatSettings()).variables
    values = {"enable_thinking": False, "reasoning_effort": "low", "model_identity": 'I am "{% x %}" ü😀\n'}
    settings = ChatSettings({name: value for name, value in values.items() if name in variables}, "2025-03-09")
    for messages in (SYSTEM, ONE, THOUGHT):
        for to_answer, turns in ((False, messages), (True, messages[:-1])):
            monkeypatch.setattr(Clock, "day", (2025, 3, 9))
            ours = rendered_by_transformers(tokenizer, turns, settings, to_answer=to_answer)
            monkeypatch.setattr(Clock, "day", (2031, 12, 24))
            if family != "llama3_1":  # which has a day built in
                assert ours == rendered_by_transformers(tokenizer, turns, settings, to_answer=to_answer, saved=True)
    saved = family_tokenizer(family)
    saved.chat_template = saved_template("tokenizer", tokenizer, settings)
    try:
        trained = prompt_ids("tokenizer", ONE[:1], tokenizer, settings)
    except Inexpressible:
        return
    assert prompt_ids("tokenizer", ONE[:1], saved, settings) == trained == prompt_ids("tokenizer", ONE[:1], saved)
    if not settings.arguments and not template_of(tokenizer, settings).asks_for_date:
        assert saved.chat_template == tokenizer.chat_template


@pytest.mark.parametrize(
    ("chat", "family", "conversations"),
    [
        ("llama3", "llama3_1", [ONE, SYSTEM, SEVERAL]),
        # without a system message its template writes one that names its maker, and ours an older one
        (
            "qwen",
            "qwen2_5",
            [SYSTEM, [Message("system", "Answer briefly."), *SEVERAL], [Message("system", "x"), *SPACES]],
        ),
    ],
)
def test_our_own_formats_are_the_families(chat: str, family: str, conversations: list[list[Message]]) -> None:
    tokenizer = family_tokenizer(family)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|eot_id|>", "<|begin_of_text|>"]})
    tokenizer.bos_token = "<|begin_of_text|>"
    ours = Markup(chat, tokenizer)
    for messages in conversations:
        for to_answer, turns in ((False, messages), (True, messages[:-1])):
            theirs = rendered_by_transformers(tokenizer, turns, ChatSettings(), to_answer=to_answer)
            pieces = ours.render(turns, to_answer=to_answer).pieces
            text = "".join("".join(piece) for piece in pieces)
            assert (text, text) == (theirs, theirs) if to_answer else theirs is not None and theirs.startswith(text)
