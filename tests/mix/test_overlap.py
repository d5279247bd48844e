"""Planted leaks are found, and texts that only share an instruction or turns of phrase are not."""

import json
import random
from pathlib import Path

import pytest

from sciriff.config import SAMPLE, EvalConfig, SourceConfig
from sciriff.data.instances import read_instances
from sciriff.data.records import Conversation, Instance
from sciriff.mix.overlap import GRAM, LEAST_SHORT, OverlapIndex
from sciriff.mix.overlap_check import MOST_PAIRS, OverlapCheck, overlap_check
from sciriff.mix.sources import read_conversations
from sciriff.mix.tally import MixTally
from sciriff.run.json_lines import Message

CLAIMS = (
    "You are shown a claim and an abstract. Say whether the abstract supports it, contradicts it or gives too little "
    "information, in a JSON object with the fields verdict and evidence. Copy at most {} sentences into the evidence "
    "word for word, and write nothing beside the object.\n\nClaim: {}\n\nAbstract:\n{}"
)
CITATIONS = (
    "Why is the work between the two marks cited? Answer with a JSON array of intents and nothing else.\n\nText: {}"
)
CHANCE = random.Random(7)
WORDS = ["".join(CHANCE.choices("abcdefghiklmnoprstuvw", k=CHANCE.randint(3, 9))) for _ in range(3000)]


def text(words: int) -> str:
    return " ".join(CHANCE.choices(WORDS, k=words))


ABSTRACTS = [text(180) for _ in range(10)]
SENTENCES = [text(24) for _ in range(12)]
INSTANCES = [
    # three claims about each abstract
    Instance("scifact_entailment", f"scifact_entailment:v:{i}", CLAIMS.format(i + 2, text(9), ABSTRACTS[i // 3]), "{}")
    for i in range(30)
] + [
    Instance("multicite_intent_classification", f"multicite:v:{i}", CITATIONS.format(sentence), "[]")
    for i, sentence in enumerate(SENTENCES)
]


@pytest.fixture(scope="module")
def index() -> OverlapIndex:
    return OverlapIndex(INSTANCES)


def row(user: str, assistant: str = "Yes.", dataset: str = "flan") -> Conversation:
    return Conversation(dataset, "0", (Message("user", user), Message("assistant", assistant)))


def found(index: OverlapIndex, user: str, assistant: str = "Yes.") -> dict[str, tuple[str, int]]:
    [overlaps] = index.find([row(user, assistant)])
    return {overlap.instance: (overlap.kind, overlap.shared_words) for overlap in overlaps}


@pytest.mark.parametrize("number", [4, 33])
def test_a_whole_prompt_is_found_whatever_its_spaces_case_and_punctuation(index: OverlapIndex, number: int) -> None:
    instance = INSTANCES[number]
    words = len(instance.prompt.replace("-", " ").split())
    for same in (
        instance.prompt,
        instance.prompt.replace(" ", "\n\t "),
        instance.prompt.upper(),
        instance.prompt.replace(" ", " \u2014 ").replace("fi", "\ufb01").replace(".", "\u2026"),
    ):
        assert found(index, same)[instance.instance_id] == ("exact", words)
    assert found(index, f"Please answer this.\n{instance.prompt}")[instance.instance_id][0] == "text"


def test_a_document_is_found_under_another_instruction_and_question(index: OverlapIndex) -> None:
    overlaps = found(index, f"Sum up this abstract for a child.\n\n{ABSTRACTS[2]}\n\nIs it about mice?")
    assert set(overlaps) == {f"scifact_entailment:v:{i}" for i in (6, 7, 8)}
    assert {kind for kind, _ in overlaps.values()} == {"text"}
    assert all(180 <= words < 180 + GRAM for _, words in overlaps.values())


def test_a_document_is_found_inside_a_long_row_and_in_an_answer(index: OverlapIndex) -> None:
    overlaps = found(index, "Write me an essay.", f"{text(5000)} {ABSTRACTS[9]} {text(5000)}")
    assert set(overlaps) == {f"scifact_entailment:v:{i}" for i in (27, 28, 29)}


def test_a_lightly_edited_document_is_found(index: OverlapIndex) -> None:
    for number, abstract in enumerate(ABSTRACTS):
        words = [CHANCE.choice(WORDS) if CHANCE.random() < 0.08 else word for word in abstract.split()]
        assert f"scifact_entailment:v:{3 * number}" in found(index, f"Translate. {' '.join(words)}")


def test_a_short_document_is_found_by_half_of_it(index: OverlapIndex) -> None:
    words = SENTENCES[5].split()
    assert set(found(index, f"Go on: {' '.join(words[: LEAST_SHORT + 1])}")) == {"multicite:v:5"}
    assert not found(index, f"Go on: {' '.join(words[: LEAST_SHORT - 2])}")


def test_the_instruction_alone_is_no_overlap(index: OverlapIndex) -> None:
    rows = [row(CLAIMS.format(CHANCE.randint(0, 60), text(9), text(180))) for _ in range(300)]
    rows += [row(CITATIONS.format(text(24))) for _ in range(300)]
    assert not any(index.find(rows))


def test_turns_of_phrase_do_not_add_up(index: OverlapIndex) -> None:
    words = ABSTRACTS[0].split()
    phrases = [" ".join(words[start : start + GRAM + 2]) for start in (0, 60, 120)]
    assert not found(index, f" {text(40)} ".join(phrases))


def test_rows_of_numbers_are_no_coincidence() -> None:
    counting = " ".join(str(i % 10) for i in range(200))
    index = OverlapIndex([Instance("discomat_te", "d:v:0", f"| S | {counting} | {'0 ' * 100}", "")])
    assert not any(index.find([row(f"x = [{'0, ' * 300}]"), row("0 1 2 3 4 5 6 7 8 9 " * 30)]))
    table = " ".join(f"{CHANCE.uniform(0, 99):.2f}" for _ in range(60))
    index = OverlapIndex([Instance("discomat_te", "d:v:0", f"| glass | {table} |", "")])
    assert found(index, f"Read the table aloud: {table.replace(' ', ' | ')}")


def test_the_prompts_of_a_small_set_are_all_document() -> None:
    """Three prompts do not tell an instruction from an abstract that they share."""
    index = OverlapIndex(INSTANCES[:3])
    assert len(found(index, f"Sum up: {ABSTRACTS[0]}")) == 3


def test_texts_at_the_edges() -> None:
    assert OverlapIndex([]).find([row("some text")]) == [[]]
    index = OverlapIndex(
        [Instance("t", "t:v:0", "", ""), Instance("t", "t:v:1", "?!", ""), Instance("t", "t:v:2", "Why?", "")]
    )
    assert index.find([]) == []
    assert index.find([row("...", "!!!"), row("Why not", "x")]) == [[], []]
    assert [overlap.kind for overlap in index.find([row("why")])[0]] == ["exact"]
    assert found(OverlapIndex([Instance("t", "t:v:0", "\ud800 " + SENTENCES[0], "")]), SENTENCES[0])


def test_findings_do_not_depend_on_what_is_asked_with_them(index: OverlapIndex) -> None:
    rows = [row(instance.prompt) for instance in INSTANCES] + [row(text(300)) for _ in range(50)]
    CHANCE.shuffle(rows)
    assert index.find(rows) == [index.find([one])[0] for one in rows]


def test_what_is_said_of_a_check(index: OverlapIndex) -> None:
    check = OverlapCheck(index)
    rows = [Conversation("flan", str(i), (Message("user", f"Sum up: {ABSTRACTS[i]}"),)) for i in range(2)]
    assert check.overlapping([row("Hello."), *rows]) == [False, True, True]
    card = check.card()
    assert card["summary"] == "2 of 3 rows hold text of 6 of the 42 evaluation prompts"
    assert (card["checked"], card["against"], card["found"], card["more_pairs"]) == (3, 42, 2, 0)
    assert card["pairs"][0]["row"] == "flan/0" and card["pairs"][0]["kind"] == "text"
    assert all(0.9 < pair["share_of_prompt"] <= 1 for pair in card["pairs"]) and len(card["pairs"]) == 6
    check.overlapping([Conversation("flan", str(i), rows[0].messages) for i in range(2, MOST_PAIRS)])
    card = check.card()
    assert len(card["pairs"]) == MOST_PAIRS and card["more_pairs"] == 6 + 3 * (MOST_PAIRS - 2) - MOST_PAIRS
    assert json.loads(json.dumps(card)) == card


def test_the_sample_holds_no_text_of_its_own_prompts() -> None:
    check = overlap_check(EvalConfig(path=str(SAMPLE / "sciriff" / "validation.jsonl")))
    for name in ("sciriff/train.jsonl", "tulu.jsonl"):
        check.overlapping(list(read_conversations("x", SourceConfig(path=str(SAMPLE / name)), "error", MixTally())))
    assert check.checked > 1500 and not check.rows


SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared records")
def test_real_records() -> None:
    evaluation = EvalConfig(path=str(SHARED / "sciriff" / "validation.jsonl"))
    check = overlap_check(evaluation)
    for name in ("sciriff/train.jsonl", "tulu_v2_like.jsonl"):
        check.overlapping(list(read_conversations("x", SourceConfig(path=str(SHARED / name)), "drop", MixTally())))
    assert check.checked > 4000 and not check.rows
    instances = [instance for pool in read_instances(evaluation).values() for instance in pool]
    planted = [row(f"Say it in one sentence.\n\n{instance.prompt.rpartition(':')[2]}") for instance in instances]
    long = [len(instance.prompt.rpartition(":")[2].split()) > 2 * LEAST_SHORT for instance in instances]
    answers = check.overlapping(planted)
    assert sum(long) > 200
    assert [answer for answer, wanted in zip(answers, long, strict=True) if wanted] == [True] * sum(long)


def test_a_thought_is_text_of_a_row(index: OverlapIndex) -> None:
    messages = (Message("user", "Which?"), Message("assistant", "This.", INSTANCES[4].prompt))
    [overlaps] = index.find([Conversation("flan", "0", messages)])
    assert (overlaps[0].instance, overlaps[0].kind) == (INSTANCES[4].instance_id, "exact")
    thoughtless, thinking = row("Which?", "This."), Conversation("flan", "1", messages)
    assert [len(some) > 0 for some in index.find([thoughtless, thinking, thoughtless])] == [False, True, False]
