"""Answers that try to be read differently are scored by the reference code's rules, written once more in plain code.

The generator is seeded. ANSWERS of them are checked here; `python tests/tasks/test_adversarial_answers.py 100000`
checks more.
"""

import json
import random
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from sacrebleu.metrics import BLEU

from sciriff.tasks import HELD_OUT
from sciriff.tasks.metrics.text_overlap import bleu
from sciriff.tasks.task import Task

ANSWERS = 700
PLAIN = "the a An TNF-alpha p53 5 3.5 GeO2 mol% well- - Cells. é İ ß x,y &amp; &lt; <skipped> <b> NEI".split()
PIECES = [*PLAIN, "-\n", "--\n", "\n", "\t", "\u2028", "\x85", "\ufeff", "</s>", "s", "null", "NaN", "1e400", '\\"']
BRACKETS = [*"{}[]\"',:", "}]", "[{"]
ENDS = ["", "", "", "</s>", " </s>", "s", "-\n", "-\n\n", "- \n", "-\r\n", "-</s>\n", "\n", ">"]
LISTS = ("bioasq_list_qa", "multicite_intent_classification")
TYPES = {"biored_ner": ("Gene", "Disease", "Variant"), "scierc_ner": ("Task", "Method")}
TASKS = {task.name: task for task in HELD_OUT if task.name in (*LISTS, *TYPES, "discomat_te")}


def text(chance: random.Random, most: int) -> str:
    return chance.choice((" ", "", "\n")).join(chance.choices(PLAIN, k=chance.randint(0, most)))


def reference(name: str, chance: random.Random) -> Any:
    if name in LISTS:
        return [text(chance, 3) for _ in range(chance.randint(1, 4))]
    if name in TYPES:
        return {kind: [text(chance, 3) for _ in range(chance.randint(0, 3))] for kind in TYPES[name]}
    return text(chance, 25) or "x"


def anything(chance: random.Random, depth: int = 0) -> Any:
    """A JSON value of any type."""
    kind = chance.randrange(4 if depth > 2 else 6)
    if kind == 0:
        return text(chance, 4)
    if kind == 1:
        return chance.choice((0, -3, 10**20, True, False, None))
    if kind == 2:
        return chance.choice((0.5, 3.14159, 2.675, -0.0, 1e22, float("nan"), float("inf")))
    if kind == 3:
        return []
    if kind == 4:
        return [anything(chance, depth + 1) for _ in range(chance.randint(0, 3))]
    return {chance.choice(("Gene", "Task", "x", "")): anything(chance, depth + 1) for _ in range(chance.randint(0, 2))}


def changed(value: Any, chance: random.Random) -> Any:
    """The value with parts left out, repeated, nested or put in the place of others."""
    if chance.random() < 0.1:
        return anything(chance)
    if isinstance(value, list):
        kept = [changed(item, chance) if chance.random() < 0.3 else item for item in value if chance.random() > 0.1]
        return chance.choice((kept, kept, kept + kept[:1], [kept], [*kept, anything(chance, 1)]))
    if isinstance(value, dict):
        kept = {key: changed(item, chance) for key, item in value.items() if chance.random() > 0.1}
        return chance.choice((kept, kept, {**kept, "gene": anything(chance, 1)}))
    return chance.choice((value, value.upper(), f" {value}", value[:-1])) if isinstance(value, str) else value


def damaged(answer: str, chance: random.Random) -> str:
    """The text of an answer in prose, cut, doubled, with stray brackets or with another end."""
    cut = chance.randint(0, len(answer))
    depth = chance.randint(1, 290)
    shapes = [
        *[answer] * 6,
        f"Here it is: {answer} I hope this helps}}",
        f"```json\n{answer}\n```",
        answer[:cut],
        answer[:cut] + chance.choice(PIECES + BRACKETS) + answer[cut:],
        chance.choice(BRACKETS) * chance.randint(1, 3) + answer,
        f"{answer} {answer}",
        answer.replace('"', "'"),
        "[" * depth + answer + "]" * chance.choice((depth, depth, depth - 1)),
        " ".join(chance.choices(PIECES + BRACKETS, k=chance.randint(0, 12))),
        chance.choice(("", "null", '"null"', "NULL", " null ", "[]", "{}", "\ufeff[]", "0", '""')),
    ]
    return chance.choice(shapes) + chance.choice(ENDS)


def answers(count: int, seed: int) -> Iterator[tuple[Task, str, str]]:
    """(task, answer, reference) in turn."""
    chance = random.Random(seed)
    for number in range(count):
        task = [*TASKS.values()][number % len(TASKS)]
        expected = reference(task.name, chance)
        value = changed(expected, chance)
        if task.parse is None:
            yield task, damaged(str(value), chance), expected
        else:
            shown = json.dumps(value, ensure_ascii=chance.random() < 0.5, indent=chance.choice((None, None, 1)))
            yield task, damaged(shown, chance), json.dumps(expected)


def read(answer: str, opener: str, closer: str) -> tuple[str, Any]:
    """Status and value, character by character."""
    try:
        value = json.loads(answer)
    except json.JSONDecodeError:
        depth, start = 0, -1
        for place, character in enumerate(answer):
            if character == opener:
                start = place if depth == 0 else start
                depth += 1
            elif character == closer:
                depth -= 1
                if depth == 0 and start >= 0:
                    try:
                        return "extract_success", json.loads(answer[start : place + 1])
                    except json.JSONDecodeError:
                        start = -1
        return "extract_failure", None
    return ("null_json", None) if value in (None, "null") else ("valid_json", value)


def flat(value: Any) -> list[Any]:
    return [inner for item in value for inner in flat(item)] if isinstance(value, list) else [value]


def entry(item: Any) -> str:
    if isinstance(item, list):
        return " ".join(flat(item))
    if isinstance(item, dict):
        raise TypeError
    if isinstance(item, float):
        return str(round(item, 2))
    return "" if item is None else item.strip().lower() if isinstance(item, str) else str(item)


def listed(value: Any) -> set[str]:
    try:
        return {entry(item) for item in value}
    except TypeError:
        return {""}


def mentions(value: Any) -> set[tuple[str, str]]:
    """TypeError or AttributeError where the reference code ends in an error."""
    return {(entry(item), kind) for kind, items in value.items() for given in items for item in flat(given)}


class Unstripped(BLEU):
    """sacrebleu as the reference code uses its tokenizer: on texts whose end was not stripped."""

    def _preprocess_segment(self, sent: str) -> str:
        return self.tokenizer(sent)


PACKAGE = Unstripped(tokenize="13a", smooth_method="none")


def check(task: Task, answer: str, expected: str) -> bool:
    """Compare one answer's numbers; whether the reference code scores it at all."""
    scored = task.score(answer, expected, parity=True)
    stripped = answer.strip("</s>")
    package = PACKAGE.corpus_score([stripped], [[expected]]).score / 100
    assert bleu.scores(scored.bleu)["bleu"] == pytest.approx(package, abs=1e-12), (task.name, answer, expected)
    if task.parse is None:
        return True
    status, value = read(stripped, *("[]" if task.name in LISTS else "{}"))
    assert scored.status == status, (task.name, answer)
    value = task.empty if value is None else value
    rule: Any = listed if task.name in LISTS else mentions
    try:
        found, wanted = rule(value), rule(json.loads(expected))
    except (TypeError, AttributeError):
        return False
    numbers = dict(zip(task.fields, task.vector(scored), strict=True))
    typed = "" if task.name in LISTS else "typed_"
    counts = [numbers[f"{typed}{name}"] for name in ("correct", "preds", "refs")]
    assert counts == [len(found & wanted), len(found), len(wanted)], (task.name, answer, expected)
    return True


def test_adversarial_answers_are_scored_by_the_rules():
    scored = sum(check(*row) for row in answers(ANSWERS, seed=1))
    assert ANSWERS * 0.85 < scored < ANSWERS, (
        "most are scored, and some are of a kind that the reference code crashes on"
    )


@pytest.mark.parametrize(
    ("depth", "status"), [(299, "valid_json"), (301, "extract_failure"), (100_000, "extract_failure")]
)
def test_deep_nesting_ends_at_our_own_limit(depth: int, status: str):
    """The reference code reads nearly 1,000 levels and crashes on more: a listed difference."""
    answer = "[" * depth + '"a"' + "]" * depth
    scored = TASKS["bioasq_list_qa"].score(answer, '["a"]', parity=True)
    assert scored.status == status
    assert scored.unreadable == (None if status == "valid_json" else "no_json")


def test_where_nothing_was_parsed_the_scores_of_parsed_answers_are_0():
    """NaN in the reference code (a listed difference), but JSON has none."""
    task = next(task for task in HELD_OUT if task.name == "qasper_abstractive_qa")
    details = task.details([task.score("nothing", '{"answer": "x", "evidence": []}', parity=True)])
    assert {name: details[name] for name in ("all_f1_answer_parsed", "all_rouge1_parsed")} == dict.fromkeys(
        ("all_f1_answer_parsed", "all_rouge1_parsed"), 0
    )


if __name__ == "__main__":
    wanted = int(sys.argv[1])
    print(
        f"{sum(check(*row) for row in answers(wanted, seed=2)):,} of {wanted:,} answers are scored by both, and alike"
    )
