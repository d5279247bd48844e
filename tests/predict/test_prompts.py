"""A prompt is a prefix of the training sequence; a long one loses the middle of its document and nothing else."""

from typing import Any

import pytest
from chat_rows import training_ids
from predict_runs import tiny_model

from sciriff.config import CHAT_FORMATS
from sciriff.data.records import Instance
from sciriff.models import chat_markup
from sciriff.models.loading import load_tokenizer
from sciriff.predict.prompts import CUT, SERVERS, Prompt, make_prompt
from sciriff.predict.room import room_for_prompt
from sciriff.run.json_lines import Message

WORDS = [f"alpha{i} binds receptor{i}" for i in range(400)]
INSTRUCTION = "List every receptor in the abstract as a JSON array of strings."
QUESTION = "Question: which receptors are named?"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(tiny_model())


def prompt_of(text: str, tokenizer: Any, room: int, truncation: str = "middle_of_document") -> Prompt:
    return make_prompt(Instance("scierc_ner", "scierc_ner:v:0", text, "[]"), "tulu", tokenizer, room, truncation)


def test_a_prompt_without_a_token_is_refused(tokenizer: Any):
    empty = Instance("scierc_ner", "scierc_ner:v:3", "", "[]")
    with pytest.raises(ValueError, match="scierc_ner:v:3: its prompt is empty"):
        make_prompt(empty, SERVERS, tokenizer, 100, "middle_of_document")
    assert prompt_of("", tokenizer, 100).ids, "the markup alone is a prompt"


@pytest.fixture(scope="module")
def chat_tokenizer() -> Any:
    """The sample's tokenizer with the special tokens of all chat formats and a chat template."""
    tokenizer = load_tokenizer(tiny_model())
    tokenizer.add_tokens(
        ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|im_start|>", "<|im_end|>"],
        special_tokens=True,
    )
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}"
        "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    return tokenizer


# `Ċ` is a newline and `Ġ` a space, as byte-level tokenizers write them.
GOLDEN_TOKENS = {
    "tulu": "<s> <| user |> Ċ Why ?Ċ<| assistant |> Ċ",
    "llama2": (
        "<s> [ I N S T ] Ġ< < S Y S > > Ċ You Ġare Ġa Ġhelpful Ġand Ġh on e st Ġassistant . Ċ < </ S Y S > > ĊĊ Why ? "
        "Ġ[ / I N S T ]"
    ),
    "llama3": (
        "<|begin_of_text|> <|start_header_id|> system <|end_header_id|> ĊĊ C ut t ing Ġ K n ow l edge Ġ D ate : Ġ D ec "
        "em ber Ġ 2023 Ċ T od ay Ġ D ate : Ġ 26 Ġ J ul Ġ 20 24 ĊĊ <|eot_id|> <|start_header_id|> user "
        "<|end_header_id|> ĊĊ Why ? <|eot_id|> <|start_header_id|> assistant <|end_header_id|> ĊĊ"
    ),
    "qwen": (
        "<|im_start|> system Ċ You Ġare Ġa Ġhelpful Ġassistant . <|im_end|> Ċ <|im_start|> user Ċ Why ? <|im_end|> Ċ "
        "<|im_start|> assistant Ċ"
    ),
    "general": "<s> Why ?",
    "tokenizer": "<s> <|im_start|> user Ċ Why ? <|im_end|> Ċ <|im_start|> assistant Ċ",
}


@pytest.mark.parametrize("markup", CHAT_FORMATS)
def test_the_tokens_of_a_prompt(markup: str, chat_tokenizer: Any) -> None:
    prompt = make_prompt(Instance("scierc_ner", "scierc_ner:v:0", "Why?", "[]"), markup, chat_tokenizer, 100, "error")
    assert chat_tokenizer.convert_ids_to_tokens(prompt.ids) == GOLDEN_TOKENS[markup].split(" ")


@pytest.mark.parametrize("markup", CHAT_FORMATS)
@pytest.mark.parametrize("cut", [False, True])
def test_a_prompt_is_a_prefix_of_the_training_sequence(markup: str, cut: bool, chat_tokenizer: Any) -> None:
    """Equal token ids, with one BOS where the format has one and the end of the role tag; also for a cut prompt."""
    text = f"{INSTRUCTION}\n\nNaïve β-cells <|assistant|> \U0001f9ec {' '.join(WORDS[:30])}\n\n{QUESTION}"
    prompt = make_prompt(Instance("scierc_ner", "scierc_ner:v:0", text, "[]"), markup, chat_tokenizer, 2000, "error")
    if cut:
        prompt = make_prompt(prompt.instance, markup, chat_tokenizer, len(prompt.ids) - 40, "middle_of_document")
    messages = (Message("user", prompt.text), Message("assistant", '["receptor"]'))
    ids, targets = training_ids(markup, messages, chat_tokenizer)
    assert ids[: len(prompt.ids)] == prompt.ids
    assert targets.index(True) == len(prompt.ids)
    assert prompt.ids.count(chat_tokenizer.bos_token_id) == (markup not in ("llama3", "qwen"))
    assert (prompt.truncated_tokens > 0) == (CUT in prompt.text) == cut


DOCUMENTS = {
    "one paragraph before a question": f"{INSTRUCTION}\n\nAbstract: {' '.join(WORDS)}\n\n{QUESTION}",
    "one paragraph at the end": f"{INSTRUCTION}\n\n{QUESTION}\n\nAbstract: {' '.join(WORDS)}",
    "a paper of many paragraphs": f"{INSTRUCTION}\n\n" + "\n\n".join(WORDS) + f"\n\n{QUESTION}",
    "a document before its instruction": "\n".join(WORDS) + f"\n\n{INSTRUCTION}\n\n{QUESTION}",
    "blank lines with spaces and returns": f"{INSTRUCTION}\r\n\r\n" + "\n \n".join(WORDS) + f"\n\t\n{QUESTION}",
}


@pytest.mark.parametrize("text", DOCUMENTS.values(), ids=DOCUMENTS.keys())
@pytest.mark.parametrize("room", [150, 400, 1200])
def test_the_middle_of_the_document_is_cut(text: str, room: int, tokenizer: Any) -> None:
    whole = prompt_of(text, tokenizer, 100_000)
    prompt = prompt_of(text, tokenizer, room)
    assert room - 16 <= len(prompt.ids) <= room
    assert INSTRUCTION in prompt.text
    assert QUESTION in prompt.text
    before, after = prompt.text.split(CUT)
    assert text.startswith(before)
    assert text.endswith(after)
    # Both sides keep whole words and a part of the document, and every lost token is counted.
    assert before[-1].isspace() or text[len(before)].isspace()
    assert after[0].isspace() or text[-len(after) - 1].isspace()
    assert WORDS[0] in before
    assert WORDS[-1] in after
    lost = len(whole.ids) - len(prompt.ids)
    assert lost <= prompt.truncated_tokens <= lost + 12
    assert prompt.ids == chat_markup.prompt_ids("tulu", [Message("user", prompt.text)], tokenizer)


def test_text_without_spaces_is_cut_at_a_character(tokenizer: Any) -> None:
    prompt = prompt_of("βγ" * 600, tokenizer, 200)
    assert 180 <= len(prompt.ids) <= 200
    assert set(prompt.text.replace(CUT, "")) == {"β", "γ"}


def test_left_keeps_the_last_tokens(tokenizer: Any) -> None:
    text = DOCUMENTS["one paragraph before a question"]
    whole, prompt = prompt_of(text, tokenizer, 100_000), prompt_of(text, tokenizer, 300, "left")
    assert prompt.ids == whole.ids[-300:]
    assert prompt.truncated_tokens == len(whole.ids) - 300
    assert INSTRUCTION not in prompt.text


def test_error_and_skip(tokenizer: Any) -> None:
    text = DOCUMENTS["one paragraph before a question"]
    with pytest.raises(
        ValueError, match=r"scierc_ner:v:0: its prompt of \d+ tokens does not fit the 300 .*eval.truncation"
    ):
        prompt_of(text, tokenizer, 300, "error")
    assert prompt_of(text, tokenizer, 300, "skip").skipped
    assert not prompt_of("short", tokenizer, 300, "skip").skipped


def test_no_room(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="markup alone"):
        prompt_of("word " * 100, tokenizer, 4)
    with pytest.raises(ValueError, match=r"max_new_tokens=256 leaves no room .* takes 256 tokens"):
        room_for_prompt(256, 256)
