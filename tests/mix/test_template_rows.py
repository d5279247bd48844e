"""Rows that a tokenizer's chat template cannot show as a growing text: learnt in part or left out, counted and said."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from chat_rows import training_ids
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from sciriff.config import SAMPLE, ChatSettings, Config, SourceConfig, to_yaml
from sciriff.data.records import Conversation
from sciriff.data.token_file import TokenFile
from sciriff.mix.__main__ import main
from sciriff.mix.sources import BadRow, conversation_of, read_conversations
from sciriff.mix.spool import Spool
from sciriff.mix.tally import MixTally
from sciriff.mix.tokenise import Tokeniser, markup_digest
from sciriff.run.json_lines import Message, read_jsonl, to_json
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

TEMPLATE = (
    "{%- for m in messages %}"
    "{%- if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{{- '<|im_start|>' + m.role + '\n' }}"
    "{%- if m.role == 'assistant' and loop.last %}"
    "{{- '<think>\n' + (m.reasoning_content or '') + '\n</think>\n\n' }}{% endif %}"
    "{{- m.content + '<|im_end|>\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and not enable_thinking %}{{- '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
"""Drops thoughts of earlier answers, has an empty one in the last, and takes no system message."""

OPENING = (
    TEMPLATE.rpartition("{%- if enable_thinking")[0]
    + "{{- '<think>\n\n</think>\n\n' if enable_thinking is defined and not enable_thinking else '<think>\n' }}"
    "{%- endif %}"
)
"""The same, but every prompt begins a thought, as Qwen3.5's."""


def row(number: int, *texts: str, system: str | None = None, thought: str | None = None) -> dict:
    turns: list[dict] = [{"role": "system", "content": system}] if system else []
    turns += [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
    if thought is not None:
        turns[-1]["reasoning_content"] = thought
    return {"dataset": "talks", "id": f"{number}", "messages": turns}


ROWS = [
    row(0, "Which genes?", "BRCA1."),
    row(1, "Which genes?", "TP53.", "Sure?", "Yes."),
    row(2, "Which cells?", "None.", system="Be brief."),
    row(3, "Which drugs?", "Aspirin.", thought="It names one."),
    row(4, "Why?", "Because.", "So?", "No.", "And?", "Never."),
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(SAMPLE / "tokenizer")
    made.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    made.chat_template = TEMPLATE
    folder = tmp_path_factory.mktemp("tokenizer")
    made.save_pretrained(folder)
    return folder


@pytest.fixture
def opening(tmp_path: Path, tokenizer: Path) -> Path:
    made = AutoTokenizer.from_pretrained(tokenizer)
    made.chat_template = OPENING
    made.save_pretrained(tmp_path / "opening")
    return tmp_path / "opening"


@pytest.fixture
def built(tmp_path: Path, tokenizer: Path, composed: Callable[..., Config]):
    """`built("name", "mix.on_bad_row=drop")` builds the mix of ROWS; with `whole` as a finished one."""

    def build(name: str, *overrides: str, whole: bool = False) -> RunDir:
        source = tmp_path / "rows.jsonl"
        source.write_text("".join(json.dumps(one) + "\n" for one in ROWS))
        run = RunDir(tmp_path / "runs" / name)
        run.root.mkdir(parents=True)
        mix = (
            (f"mix.path={source}",) if whole else (f"mix.sources.tulu.path={source}", "mix.per_task=0", "mix.tulu=all")
        )
        places = (f"run_dir={run.root}", f"cache_dir={tmp_path / 'cache'}", f"name={name}", "mix.overlap=none")
        model = ("model=tiny", "model.chat=tokenizer", f"model.tokenizer={tokenizer}")
        config = composed(*model, "mix=sample", "eval=sample", *mix, *places, *overrides)
        run.config.write_text(to_yaml(config))
        main(config, run)
        return run

    return build


def learnt(run: RunDir, tokenizer: Path) -> dict[str, str]:
    """What is learnt of each row."""
    known = AutoTokenizer.from_pretrained(tokenizer)
    tokens = TokenFile(run.tokens)
    return {
        name: known.decode(ids[targets])
        for name, (ids, targets) in zip(tokens.ids, map(tokens.__getitem__, range(len(tokens))), strict=True)
    }


def test_a_row_that_the_template_refuses_stops_the_build_unless_told(built) -> None:
    with pytest.raises(ValueError) as caught:
        built("one")
    message = str(caught.value)
    assert message.startswith("talks/2: model.chat=tokenizer: ") and "\n" not in message
    assert "System role not supported" in message and "mix.on_bad_row=drop" in message


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("window", ["4096", "null"])
def test_what_cannot_be_shown_is_left_out_and_the_last_answer_learnt(
    built, tokenizer: Path, whole: bool, window: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = built("one", "mix.on_bad_row=drop", f"mix.context_window={window}", whole=whole)
    assert learnt(run, tokenizer) == {
        "talks/0": "BRCA1.<|im_end|>",
        "talks/1": "Yes.<|im_end|>",
        "talks/3": "<think>\nIt names one.\n</think>\n\nAspirin.<|im_end|>",
        "talks/4": "Never.<|im_end|>",
    }
    card = json.loads(run.mix_card.read_text())
    [(reason, dropped)] = card["dropped"].items()
    assert reason.endswith("refuses a conversation (System role not supported)")
    assert dropped == {"rows": 1, "first": ["talks/2"]}
    alone = card["last_answer_alone"]
    assert alone["rows"] == 2 and set(alone["first"]) == {"talks/1", "talks/4"}
    assert card["empty_thought"]["rows"] == 3 and "without_thought" not in card
    said = capsys.readouterr().out
    assert "2 rows of several answers are trained on the last one alone" in said
    assert "left out, 1 rows: the tokenizer's chat template refuses a conversation" in said
    page = run.mix_card_page.read_text()
    assert "2 rows of several answers are trained on the last one alone" in page and "talks/2" in page


def test_rows_that_are_not_learnt_whole_may_be_left_out(built, tokenizer: Path) -> None:
    run = built("one", "mix.on_bad_row=only_whole")
    assert set(learnt(run, tokenizer)) == {"talks/0", "talks/3"}
    card = json.loads(run.mix_card.read_text())
    assert "last_answer_alone" not in card
    assert {reason: found["rows"] for reason, found in card["dropped"].items() if "only the last" in reason} == {
        "the tokenizer's chat template lets only the last of its answers be learnt": 2
    }


def test_a_row_that_is_too_long_keeps_its_first_turns(built, tokenizer: Path) -> None:
    run = built("one", "mix.on_bad_row=drop", "mix.context_window=70", "mix.truncate=turns")
    kept = {one.name: len(one.messages) for one in read_jsonl(run.mix, Conversation)}
    assert kept["talks/4"] in (2, 4) and learnt(run, tokenizer)["talks/4"] in ("Because.<|im_end|>", "No.<|im_end|>")


def test_thinking_switched_off_is_part_of_the_prompt(
    built, tokenizer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    off = "+model.chat_arguments.enable_thinking=false"
    run = built("one", "mix.on_bad_row=drop", off, "model.chat_date=2025-03-09")
    assert "model.chat_date=2025-03-09 has no effect" in capsys.readouterr().out
    card = json.loads(run.mix_card.read_text())
    assert "empty_thought" not in card
    assert "talks/3" not in learnt(run, tokenizer)  # its prompt says that nothing is thought
    known = AutoTokenizer.from_pretrained(tokenizer)
    tokens = TokenFile(run.tokens)
    ids, targets = tokens[tokens.ids.index("talks/0")]
    assert known.decode(ids[~targets]).startswith(
        "<|im_start|>user\nWhich genes?<|im_end|>\n<|im_start|>assistant\n<think>"
    )
    with pytest.raises(ValueError, match=r"model\.chat_arguments\.enable_thinkin: .* mean 'enable_thinking'"):
        built("two", "+model.chat_arguments.enable_thinkin=false")


def test_rows_without_thoughts_do_not_follow_prompts_that_begin_one(built, opening: Path) -> None:
    """The model would be asked otherwise than it was trained, and its answers would be taken for thoughts."""
    tokenizer = f"model.tokenizer={opening}"
    with pytest.raises(UserError) as caught:
        built("one", "mix.on_bad_row=drop", tokenizer)
    message = str(caught.value)
    assert "3 of 4 rows, such as talks/" in message and "\n" not in message
    assert "begins one in every prompt" in message
    assert "++model.chat_arguments.enable_thinking=false" in message
    for name, more in (
        ("off", ["++model.chat_arguments.enable_thinking=false"]),
        ("unasked", ["stages=[mix,train]"]),
    ):
        built(name, "mix.on_bad_row=drop", tokenizer, *more)
    assert "<think>" not in "".join(learnt(RunDir(opening.parent / "runs" / "off"), opening).values())


def test_a_long_conversation_is_shortened_at_once(opening: Path, tmp_path: Path) -> None:
    messages = [Message(("user", "assistant")[i % 2], f"text {i}") for i in range(1200)]
    tokeniser = Tokeniser("tokenizer", AutoTokenizer.from_pretrained(opening), tmp_path)
    [lost] = tokeniser.fitting([Conversation("talks", "1", tuple(messages))], 150, "turns")
    assert isinstance(lost, int) and 1000 < lost < 1196
    kept = Conversation("talks", "1", tuple(messages[:-lost]))
    row = tokeniser._spool.get(to_json(kept).encode())
    assert row is not None and 100 < len(row.ids) <= 150
    longer = Conversation("talks", "1", tuple(messages[: 1200 - lost + 2]))
    assert tokeniser.fitting([longer], 150, "turns") == [2] and tokeniser.fitting([kept], 150, "turns") == [0]
    assert tokeniser.fitting([longer], 5, "turns") == [None]


def test_arguments_make_other_tokens_and_the_day_does_not_unless_it_is_shown(tokenizer: Path) -> None:
    known = AutoTokenizer.from_pretrained(tokenizer)
    plain, later = ChatSettings(), ChatSettings({}, "2025-02-03")
    assert markup_digest("tokenizer", known, plain) == markup_digest("tokenizer", known, later)
    off = ChatSettings({"enable_thinking": False})
    assert markup_digest("tokenizer", known, plain) != markup_digest("tokenizer", known, off)
    assert markup_digest("tulu", known, plain) == markup_digest("tulu", known, later)
    known.chat_template = "{{ strftime_now('%d') }}" + TEMPLATE
    assert markup_digest("tokenizer", known, plain) != markup_digest("tokenizer", known, later)


def test_our_own_formats_have_no_place_for_a_thought(
    built, tokenizer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = built("one", "model.chat=tulu", whole=True)
    card = json.loads(run.mix_card.read_text())
    assert card["without_thought"] == {"rows": 1, "first": ["talks/3"]}
    assert (
        "1 rows are trained without their thoughts, for which model.chat=tulu has no place" in capsys.readouterr().out
    )
    [ids] = [one for one in read_jsonl(run.mix, Conversation) if one.id == "3"]
    assert ids.messages[-1].thought == "It names one."
    known = AutoTokenizer.from_pretrained(tokenizer)
    bare = [Message(message.role, message.content) for message in ids.messages]
    assert training_ids("tulu", ids.messages, known) == training_ids("tulu", bare, known)


def test_thoughts_of_rows(tmp_path: Path) -> None:
    for name in ("thought", "reasoning_content", "thinking", "reasoning"):
        turns = [{"role": "user", "content": "a", name: "no"}, {"role": "assistant", "content": "b", name: "hm"}]
        read = conversation_of({"dataset": "d", "id": "1", "messages": turns})
        assert read.messages == (Message("user", "a"), Message("assistant", "b", "hm"))
        with Spool(tmp_path / name) as spool:
            assert spool.read(spool.add(read)) == read
        assert '"thought": "hm"' in to_json(read) and to_json(read).count("thought") == 1
        for empty in (None, "", " \n"):
            turns[1][name] = empty
            assert conversation_of({"dataset": "d", "id": "1", "messages": turns}).messages[1].thought is None
        for other in (["hm"], {"effort": "low"}, False, 3):
            turns[1][name] = other
            assert conversation_of({"dataset": "d", "id": "1", "messages": turns}).messages[1].thought is None
        turns[1][name] = "h\0m"
        with pytest.raises(BadRow, match="the thought of the assistant has a NUL character"):
            conversation_of({"dataset": "d", "id": "1", "messages": turns})
    turns[1] |= {"thought": "", "reasoning": {"effort": "low"}, "reasoning_content": "real"}
    assert conversation_of({"dataset": "d", "id": "1", "messages": turns}).messages[1].thought == "real"


def test_what_is_no_text_is_no_thought_and_counted(tmp_path: Path) -> None:
    other = row(1, "Which genes?", "TP53.")
    other["messages"][1]["reasoning"] = {"effort": "low"}
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(one) + "\n" for one in (ROWS[0], other)))
    tally = MixTally()
    assert len(list(read_conversations("tulu", SourceConfig(path=str(source)), "error", tally))) == 2
    assert tally.card()["read_with_other_thoughts"] == {"rows": 1, "first": [f"{source}:2"]}
    assert "read_with_other_thoughts" not in MixTally().card()


def test_rows_are_counted_by_what_the_template_says(tokenizer: Path, tmp_path: Path) -> None:
    known = AutoTokenizer.from_pretrained(tokenizer)
    known.chat_template = "{% if messages[0].role == 'system' %}{{ raise_exception('No system') }}{% endif %}" + (
        "{% if messages[0].content == 'a' %}{{ raise_exception('No a') }}{% endif %}"
        "{{ raise_exception('No ' ~ messages[0].content) }}"
    )
    tokeniser = Tokeniser("tokenizer", known, tmp_path, on_bad_row="drop")
    end = Message("assistant", "b")
    rows = [(Message("system", "s"), Message("user", "q"), end), (Message("user", "a"), end)]
    rows += [(Message("user", f"{i}"), end) for i in range(30)]
    why = tokeniser.fitting([Conversation("d", str(i), row) for i, row in enumerate(rows)], 100, "drop")
    said = [str(reason).rpartition(" (")[2].rstrip(")") for reason in why]
    assert said[:3] == ["No system", "No a", "No 0"] and len(set(said)) == 21 and said[-1] == "for other reasons"
