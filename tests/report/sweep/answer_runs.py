"""Three runs whose answers to the same instances differ in every way that the pages tell apart, one of them hostile."""

import json
from collections.abc import Sequence

from sweep_runs import Runs

from sciriff.data.records import Prediction
from sciriff.results.comparison import compare
from sciriff.results.finished_runs import read_run, with_own_names
from sciriff.results.seeds import Group
from sciriff.run.run_dir import RunDir

NER, MUP, CLAIMS = "biored_ner", "mup_single_document_summarization", "scifact_entailment"
HARM = (
    "</script><script>window.ran=1</script><img src=x onerror='window.ran=2'><svg onload='window.ran=3'>"
    "{{7*7}} ${7*7} \u202eevil\u2066 \ud800 \x00\x1b[31m"
)
SEEN = "</script><script>window.ran=1</script><img src=x"
WORST = f"worst{'-of-all' * 20}"
"""A name that is wider than a phone."""
RARE = "the zebrafish assay"


def _ner(*genes: str) -> str:
    return json.dumps({"Gene": list(genes), "Disease": ["asthma"]})


def baseline_rows() -> list[Prediction]:
    """Twelve entities, eight summaries, and what means harm."""
    rows = []
    for n in range(12):
        given = "I cannot say." if n == 11 else _ner(f"gene {n}", "p53") if n % 2 else _ner("p53")
        prompt = f"Find the entities.\nPaper {n // 2} on mice.\nQuestion {n}"
        rows.append(Prediction(NER, f"{NER}:{n}", prompt, given, _ner(f"gene {n}", "p53"), "stop"))
    for n in range(8):
        due = f"The paper of group {n} shows that pooled messages help, and it says why in three sentences."
        prompt = f"Summarise.\nPaper {n} on graphs." + (f"\nIt is about {RARE}." if n == 5 else "")
        rows.append(
            Prediction(MUP, f"{MUP}:{n}", prompt, f"They say that pooled messages help group {n}.", due, "stop")
        )
    rows.append(Prediction(NER, "__proto__", HARM, HARM, _ner("p53", HARM), "stop"))
    rows.append(Prediction(NER, HARM, "x", "a" * 1_000_000, _ner("p53"), "stop"))
    return rows


def changed_rows() -> list[Prediction]:
    """Better on even entities, worse on the first odd one, other words in each summary; one instance is left out."""
    rows = []
    for row in baseline_rows():
        number = int(row.instance_id.rpartition(":")[2]) if row.instance_id.rpartition(":")[2].isdigit() else -1
        answer = row.prediction
        if row.task == NER and number >= 0:
            answer = row.reference if number % 2 == 0 else _ner("rash") if number == 1 else answer
        if row.task == MUP:
            answer = f"They say that pooled signals help group {number} a lot."
        if number != 7 or row.task != MUP:
            rows.append(Prediction(row.task, row.instance_id, row.prompt, answer, row.reference, row.finish_reason))
    return rows


def worst_rows() -> list[Prediction]:
    return [
        Prediction(row.task, row.instance_id, row.prompt + "\nThink.", "[]", row.reference, "length")
        for row in baseline_rows()
    ]


def three(runs: Runs) -> list[RunDir]:
    """The baseline, the changed run, and one without a readable answer."""
    return [
        runs.answered("before", baseline_rows()),
        runs.answered("after", changed_rows(), "mix.per_task=5"),
        runs.answered(WORST, worst_rows(), "mix.per_task=20"),
    ]


def groups_of(folders: Sequence[RunDir]) -> list[Group]:
    """A group of its own for each run."""
    return [Group((run,)) for run in with_own_names([read_run(folder.root) for folder in folders])]


def compared_page(folders: Sequence[RunDir], **options: object) -> bytes:
    """The page of these runs."""
    from sciriff.report.sweep import sweep_page

    groups = groups_of(folders)
    comparisons = [compare(groups[0], group, 100) for group in groups[1:]]
    return sweep_page.render("compared", groups, 100, compared=comparisons, **options)  # type: ignore[arg-type]
