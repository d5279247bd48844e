"""Answers grouped by what is wrong with them, counted by hand, and the examples that the card links."""

import json
from collections.abc import Callable
from typing import Any

from report_runs import write_predictions

from sciriff.config import Config
from sciriff.data.records import Prediction
from sciriff.data.saved_answers import SavedAnswer
from sciriff.report import error_kinds as kinds
from sciriff.report.answers import Answers, ShownAnswer
from sciriff.report.error_kinds import ErrorKind, error_kinds, quote_tables
from sciriff.report.page import content, filled
from sciriff.run.run_dir import RunDir
from sciriff.tasks import HELD_OUT
from sciriff.tasks.own import own_task
from sciriff.tasks.task import Task

TASKS = {task.short_name: task for task in HELD_OUT}
PROMPT = "Read it.\n\nDrug x lowers pain. Mice were calm in 3 trials. Pooling is a method for parsing."


def given(task: Task, *answers: tuple[Any, Any], prompt: str = PROMPT, **others: Any) -> Answers:
    """Answers and references to a task; what is no text is written as JSON."""
    rows = []
    for number, pair in enumerate(answers):
        text, reference = (part if isinstance(part, str) else json.dumps(part) for part in pair)
        scored = task.score(text, reference)
        saved = SavedAnswer(f"{task.name}:{number}", prompt, text, reference, "", **others)
        rows.append(ShownAnswer(saved, task.matches(text, reference), scored.unreadable))
    return Answers(task, rows)


def counted(answers: Answers) -> dict[str, tuple[int | None, int]]:
    """Kind -> (items, answers)."""
    return {kind.name: (kind.items, kind.answers) for kind in error_kinds(answers)}


def test_unreadable_answers_by_why() -> None:
    task, reference = TASKS["scierc"], {"Task": ["parsing"]}
    texts = ["", "I’m sorry, but I can't.", "As an AI, I do not.", "null", "[1]", "Some words", '{"Task": ["par']
    assert counted(given(task, *((text, reference) for text in texts))) == {
        kinds.REFUSED: (None, 2),
        kinds.NOTHING: (None, 1),
        kinds.PLAIN_NULL: (None, 1),
        kinds.FORM: (None, 1),
        kinds.NO_JSON: (None, 2),
    }
    assert counted(given(task, ('{"Task": ["par', reference), finish_reason="length")) == {kinds.CUT: (None, 1)}
    assert counted(given(task, ("", reference), finish_reason="skipped")) == {kinds.SKIPPED: (None, 1)}
    assert counted(given(task, ("{}", {}), finish_reason="content_filter")) == {kinds.REFUSED: (None, 1)}
    assert counted(given(task, (reference, reference))) == {}


def test_texts_that_are_compared_whole() -> None:
    texts = ["", "Unfortunately, I cannot do this.", "We cannot say that pain fell.", "A summary."]
    found = given(TASKS["mup"], *((text, "A summary.") for text in texts))
    assert counted(found) == {kinds.REFUSED: (None, 1), kinds.NOTHING: (None, 1)}
    assert quote_tables(found) == []


def test_entities() -> None:
    answer = {"Task": ["pooling", "Drug X", "tagging"], "Toy": ["mice"]}
    task, pair = TASKS["scierc"], (answer, {"Method": ["pooling"], "Task": ["parsing"]})
    assert counted(given(task, pair, pair)) == {
        "missed": (2, 2),
        "wrong type": (2, 2),
        kinds.TYPE_UNKNOWN: (2, 2),
        "spurious": (4, 2),  # drug x and mice, which the prompt has
        kinds.NOT_THERE: (2, 2),
    }
    [kind] = [kind for kind in error_kinds(given(task, pair)) if kind.name == kinds.NOT_THERE]
    assert [example.text for example in kind.examples] == ["tagging"]
    cut = counted(given(task, pair, truncated_tokens=9))
    assert (cut["spurious"], kinds.NOT_THERE in cut) == ((3, 1), False), "it may have been in what was cut"
    assert kinds.NOT_THERE not in counted(given(task, pair, prompt=""))


def test_labels() -> None:
    found = given(TASKS["multicite"], (["uses", "mood"], ["background"]), (["uses"], ["uses", "background"]))
    assert counted(found) == {"missed": (2, 2), kinds.LABEL_UNKNOWN: (1, 1), "spurious": (1, 1)}


def test_claims_and_their_evidence() -> None:
    def claim(verdict: str, *evidence: str) -> dict[str, Any]:
        return {"verdict": verdict, "evidence": list(evidence)}

    right = claim("SUPPORT", "Drug x lowers pain.")
    found = given(
        TASKS["scifact"],
        (right, right),
        (claim("CONTRADICT", "drug X lowers pain", "Mice were calm in 3 trials.", "Pigs fly."), right),
        (claim("maybe", "..."), claim("CONTRADICT")),
        ({"verdict": "SUPPORT", "confidence": 1}, right),
        ("no object", right),
    )
    assert counted(found) == {
        kinds.NO_JSON: (None, 1),
        kinds.FIELD_MISSING: (None, 1),
        kinds.FIELD_UNKNOWN: (None, 1),
        "missed evidence": (2, 2),
        "spurious evidence": (4, 2),
        "wrong verdict": (1, 1),
        kinds.LABEL_UNKNOWN: (1, 1),
        kinds.UNSUPPORTED: (1, 1),
    }
    [table] = quote_tables(found)
    assert table.columns == ("quotes", "in the prompt", "not in the prompt", "not known")
    assert table.rows == (("answers", (4, 3, 1, 0)), ("references", (4, 4, 0, 0)))
    [cut] = quote_tables(given(TASKS["scifact"], (claim("SUPPORT", "Pigs fly."), right), truncated_tokens=1))
    assert cut.rows == (("answers", (1, 0, 0, 1)), ("references", (1, 1, 0, 0)))


def test_questions_and_their_evidence() -> None:
    found = given(
        TASKS["qasper"],
        (
            {"answer": "x", "evidence": ["Drug x lowers pain. Mice were calm", "No such words."]},
            {"answer": "x", "evidence": ["Mice"]},
        ),
        ({"answer": None, "evidence": "Pigs fly."}, {"answer": "x", "evidence": None}),
        ({"answer": "x"}, {"answer": "x", "evidence": []}),
    )
    assert counted(found) == {
        kinds.FIELD_MISSING: (None, 1),
        kinds.UNSUPPORTED: (2, 2),
        "missed answer": (1, 1),
        "missed evidence": (1, 1),
        "spurious evidence": (1, 1),
    }
    [table] = quote_tables(found)
    assert table.rows == (("answers", (3, 1, 2, 0)), ("references", (1, 1, 0, 0)))


def test_findings() -> None:
    right = ["drug x", "nothing", "pain", "lower", "Drug x lowers pain."]
    found = given(
        TASKS["evidence_inference"],
        ([right, ["a", "b", "c", "d", "Pigs fly."], ["too", "short"]], [right]),
        ([[*right[:2], "mood", "higher", "Drug x lowers pain."]], [right]),
    )
    assert counted(found) == {
        kinds.TUPLE_LENGTH: (None, 1),
        "spurious": (1, 1),
        "partly right": (1, 1),
        kinds.UNSUPPORTED: (1, 1),
    }
    assert quote_tables(found)[0].rows[0] == ("answers", (3, 2, 1, 0))


def test_tasks_of_one_s_own() -> None:
    relation = own_task("mine", "tuple_f1")
    assert counted(given(relation, ([["a", "b"]], [["c", "d"]]))) == {"missed": (1, 1), "spurious": (1, 1)}
    assert quote_tables(given(relation, ([["a", "b"]], [["c", "d"]]))) == []
    assert counted(given(own_task("mine", "label_accuracy"), ("yes", "no"))) == {}


def test_examples_link_to_the_answer_and_are_short() -> None:
    task = TASKS["scierc"]
    answers = given(task, *[({"Task": [f"{n} " + "long " * 99]}, {"Task": ["parsing"]}) for n in range(5)], sample=2)
    [_, kind] = error_kinds(answers)
    assert [example.name for example in kind.examples] == ["0 (2)", "1 (2)", "2 (2)"]
    assert kind.examples[1].link == f"#prediction={task.name}/{task.name}%3A1&sample=2"
    assert [len(example.text) for example in kind.examples] == [61] * 3
    assert all(isinstance(kind, ErrorKind) for kind in error_kinds(answers))


def test_the_card_shows_them(make_run: Callable[..., tuple[Config, RunDir]]) -> None:
    config, run = make_run("one", {"scierc_ner/f1": 0.5})
    hostile = "</td><script>\x1b[31m"
    rows = [
        Prediction("scierc_ner", f"{hostile}/&{n}", PROMPT, json.dumps({"Task": [hostile]}), '{"Task": ["parsing"]}')
        for n in range(3)
    ]
    write_predictions(run, rows)
    page = filled(content(config, run)).decode()
    block = page[page.index("Errors by kind") :]
    block = block[: block.index("</details>")]
    assert kinds.NOT_THERE in block and "missed" in block
    assert 'href="#prediction=scierc_ner/%3C%2Ftd%3E%3Cscript%3E' in block and "<script>" not in block
