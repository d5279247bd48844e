"""The training tasks of the sample: an instruction, an invented document, and the answer in the task's own format."""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from tools.sample import documents
from tools.sample.documents import DECREASED, EFFECTS, INCREASED, UNCHANGED
from tools.sample.vocabulary import Lexicon

Example = tuple[str, str]
"""Input and output."""
Maker = Callable[[random.Random, Lexicon], Example]


def compact(answer: Any) -> str:
    """One line of JSON."""
    return json.dumps(answer, ensure_ascii=False)


def quoted(names: Sequence[str]) -> str:
    """The names in double quotes, separated by commas."""
    return ", ".join(f'"{name}"' for name in names)


BIOMEDICAL_TYPES = ("CellLine", "Chemical", "Disease", "Gene", "Species", "Variant")
SCIERC_TYPES = ("Task", "Method", "Metric", "Material", "OtherScientificTerm", "Generic")


def entity_answer(abstract: documents.Abstract, types: Sequence[str]) -> dict[str, list[str]]:
    """Every type with its entities, in order of first mention."""
    return {kind: list(abstract.entities.get(kind, [])) for kind in types}


def ner(*types: str) -> Maker:
    """Named entities of the types in a biomedical abstract; where none are given, each row asks for a few at random."""

    def make(rng: random.Random, lexicon: Lexicon) -> Example:
        abstract = documents.biomedical(rng, lexicon)
        asked = types or sorted(rng.sample(BIOMEDICAL_TYPES, rng.randint(3, 5)))
        instruction = rng.choice(
            (
                "List the entities of these types: {}. Answer with a JSON object.",
                "Find all entities of the types {} in the text. Answer with a JSON object of lists.",
            )
        ).format(quoted(asked))
        return f"{instruction}\n\nText: {abstract.text}\n\nEntities:", compact(entity_answer(abstract, asked))

    return make


def scierc_re(rng: random.Random, lexicon: Lexicon) -> Example:
    abstract = documents.machine_learning(rng, lexicon)
    instruction = (
        f"Find all entities of the types {quoted(SCIERC_TYPES)}, and one relation between two of them. "
        "Answer with a JSON object of lists."
    )
    answer: dict[str, Any] = entity_answer(abstract, SCIERC_TYPES)
    answer["Relation"] = abstract.relations[:1]
    return f"{instruction}\n\nText: {abstract.text}\n\nEntities:", compact(answer)


def chemprot_re(rng: random.Random, lexicon: Lexicon) -> Example:
    writer = documents.Writer(rng, lexicon)
    verbs = (("blocks", "inhibitor"), ("activates", "activator"), ("is broken down by", "substrate"))
    sentences, pairs = [], []
    for verb, relation in rng.sample(verbs, 2):
        chemical, gene = writer.new("Chemical"), writer.new("Gene")
        sentences.append(f"{chemical} {verb} {gene} in {rng.choice(lexicon['Species'])}.")
        pairs.append([chemical, gene, relation])
    instruction = "Extract the chemical-gene relations as [chemical, gene, relation]. Answer with a JSON array."
    return f"{instruction}\n\nText: {' '.join(sentences)}\n\nRelations:", compact(pairs)


def findings(rng: random.Random) -> list[str]:
    """The effects that a trial had: one or two."""
    return [rng.choice(EFFECTS) for _ in range(rng.randint(1, 2))]


def findings_answer(trial: documents.Trial) -> list[list[str]]:
    """[intervention, comparator, outcome, effect, evidence] of each finding."""
    return [[f.intervention, f.comparator, f.outcome, f.effect, f.sentence] for f in trial.findings]


def drug_combo_re(rng: random.Random, lexicon: Lexicon) -> Example:
    drug = rng.choice(lexicon["Chemical"])
    comparator = rng.choice((drug, drug, "placebo", "control"))
    trial = documents.trial(rng, lexicon, findings(rng), comparator)
    instruction = (
        f"Extract the {len(trial.findings)} finding(s) on the drugs as [drug, compared with, outcome, effect, "
        "evidence]. Answer with a JSON array."
    )
    return f"{instruction}\n\nText: {trial.text}\n\nFindings:", compact(findings_answer(trial))


def pico_ner(rng: random.Random, lexicon: Lexicon) -> Example:
    trial = documents.trial(rng, lexicon, findings(rng))
    types = ("Condition", "Intervention", "Comparator", "Outcome")
    outcomes = [finding.outcome for finding in trial.findings]
    answer = dict(zip(types, ([trial.disease], [trial.drug], [trial.comparator], outcomes), strict=True))
    instruction = f"List the entities of these types: {quoted(types)}. Answer with a JSON object."
    return f"{instruction}\n\nText: {trial.text}\n\nEntities:", compact(answer)


VERBS = {INCREASED: "increases", DECREASED: "decreases"}


def claim(rng: random.Random, lexicon: Lexicon) -> tuple[str, list[str], dict[str, Any]]:
    """A claim, the sentences of an abstract, and {verdict, evidence}."""
    verdict = rng.choice(("SUPPORT", "SUPPORT", "CONTRADICT", "CONTRADICT", "NEI"))
    direction = rng.choice((INCREASED, DECREASED))
    effects = {"SUPPORT": [direction], "CONTRADICT": [UNCHANGED], "NEI": []}[verdict]
    trial = documents.trial(rng, lexicon, effects)
    outcome = trial.findings[0].outcome if trial.findings else rng.choice(lexicon["Outcome"])
    answer = {"verdict": verdict, "evidence": [finding.sentence for finding in trial.findings]}
    return f"{trial.drug} {VERBS[direction]} {outcome}.", trial.sentences, answer


def entailment(instruction: str) -> Maker:
    """Check a claim against an abstract and quote the evidence."""

    def make(rng: random.Random, lexicon: Lexicon) -> Example:
        text, sentences, answer = claim(rng, lexicon)
        body = "\n".join(sentences)
        return f"{instruction}\n\nClaim: {text}\n\nAbstract:\n{body}\n\nVerdict and evidence:", compact(answer)

    return make


def citation_labels(rng: random.Random) -> list[str]:
    """One or two intents; background is the most common one, as in real papers."""
    labels = list(documents.CITING)
    if rng.random() < 0.2:
        return sorted(rng.sample(labels, 2), key=labels.index)
    return [rng.choice([*labels, "Background", "Uses"])]


def acl_arc(rng: random.Random, lexicon: Lexicon) -> Example:
    labels = citation_labels(rng)
    names = ", ".join(documents.CITING)
    instruction = f"Why is the work in <cite>...</cite> cited? Labels: {names}. Answer with a JSON array of labels."
    return f"{instruction}\n\nText: {documents.citing(rng, lexicon, labels)}\n\nLabels:", compact(labels)


COARSE_INTENT = {"Background": "background", "Motivation": "background", "Uses": "method", "Extends": "method"}


def scicite(rng: random.Random, lexicon: Lexicon) -> Example:
    label = rng.choice(list(documents.CITING))
    instruction = "What is the citation in <cite>...</cite> for? Answer with one word: background, method or result."
    text = documents.citing(rng, lexicon, [label])
    return f"{instruction}\n\nText: {text}\n\nIntent:", COARSE_INTENT.get(label, "result")


LINKS = (
    "{gene} is linked to {disease}.",
    "Mutations of {gene} cause {disease}.",
    "In {disease}, {gene} is often lost.",
)
TREATMENTS = (
    "{drug} is approved for {disease}.",
    "{disease} responds to {drug}.",
    "{drug} slows {disease}.",
)


def excerpts(rng: random.Random, lexicon: Lexicon, genes: int, drugs: int) -> tuple[str, str, dict[str, list[str]]]:
    """Lines about one disease: its name, and the genes linked to it and the drugs that treat it in the lines' order."""
    writer = documents.Writer(rng, lexicon)
    disease = writer.new("Disease")
    order = ["Gene"] * genes + ["Chemical"] * drugs
    rng.shuffle(order)
    lines = []
    for kind in order:
        template, name = rng.choice(LINKS if kind == "Gene" else TREATMENTS), writer.new(kind)
        lines.append(template.format(gene=name, drug=name, disease=disease))
    return "\n".join(lines), disease, writer.seen


def bioasq_factoid(rng: random.Random, lexicon: Lexicon) -> Example:
    kind = rng.choice(("Gene", "Chemical"))
    wanted, others = rng.choice((1, 1, 2, 3)), rng.randint(0, 2)
    text, disease, names = excerpts(rng, lexicon, *((wanted, others) if kind == "Gene" else (others, wanted)))
    question = f"Which gene is linked to {disease}?" if kind == "Gene" else f"Which drug treats {disease}?"
    instruction = "Answer the question from the excerpts with a JSON array of names."
    return f"{instruction}\n\nContext: {text}\n\nQuestion: {question}\n\nAnswer:", compact(names[kind])


def bioasq_yesno(rng: random.Random, lexicon: Lexicon) -> Example:
    genes, drugs = rng.choice(((1, 2), (2, 0), (0, 2), (0, 1)))
    text, disease, _ = excerpts(rng, lexicon, genes, drugs)
    instruction = "Answer the question from the excerpts with yes or no."
    question = f"Is a gene linked to {disease}?"
    return f"{instruction}\n\nContext: {text}\n\nQuestion: {question}\n\nAnswer:", "yes" if genes else "no"


def pubmedqa(rng: random.Random, lexicon: Lexicon) -> Example:
    trial = documents.trial(rng, lexicon, findings(rng)[:1])
    finding = trial.findings[0]
    question = f"Does {trial.drug} change {finding.outcome}?"
    answer = "no" if finding.effect == UNCHANGED else "yes"
    instruction = "Answer the question from the abstract with yes or no."
    return f"{instruction}\n\nText: {trial.text}\n\nQuestion: {question}\n\nAnswer:", answer


def json_lines(table: documents.Table) -> str:
    """One JSON object per cell and line."""
    return "\n".join(compact(cell) for cell in table.cells)


def chemtables(rng: random.Random, lexicon: Lexicon) -> Example:
    kind = rng.choice(("Salt", "Buffer", "Solvent", "Electrolyte")) + "_Amount"
    unit = rng.choice(("mol", "wt", "mM"))
    table = documents.table(rng, lexicon, ("Sample", "material"), ("Constituent", "constituent"), kind, unit)
    instruction = (
        f"Describe every numeric cell, one JSON object per line: value, type ({kind}), constituent, unit ({unit}), "
        "material."
    )
    return f"{instruction}\n\n{table.text}\n\nCaption: Composition in {unit}.\n\nCells:", json_lines(table)


def mltables(rng: random.Random, lexicon: Lexicon) -> Example:
    table = documents.table(rng, lexicon, ("Method", "model"), ("Material", "dataset"), "Result", "%")
    instruction = (
        "Describe every numeric cell, one JSON object per line: value, type (Result), dataset, unit (%), model."
    )
    return f"{instruction}\n\n{table.text}\n\nCaption: Results of the models.\n\nCells:", json_lines(table)


def question_about_paper(rng: random.Random, lexicon: Lexicon) -> tuple[str, dict[str, Any]]:
    """A paper with a question below it, and {answer, evidence}."""
    paper = documents.paper(rng, lexicon)
    question, answer, evidence = rng.choice(paper.questions)
    body = "\n".join([paper.title, *paper.paragraphs])
    return f"Paper:\n{body}\n\nQuestion: {question}", {"answer": answer, "evidence": [evidence]}


def qasper_extractive(rng: random.Random, lexicon: Lexicon) -> Example:
    text, answer = question_about_paper(rng, lexicon)
    instruction = 'Answer the question about the paper with a JSON object with the keys "answer" and "evidence".'
    return f"{instruction}\n\n{text}\n\nAnswer and evidence:", compact(answer)


def qasa(rng: random.Random, lexicon: Lexicon) -> Example:
    text, answer = question_about_paper(rng, lexicon)
    return f"Answer the question about the paper in one sentence.\n\n{text}\n\nAnswer:", answer["evidence"][0]


def scitldr(rng: random.Random, lexicon: Lexicon) -> Example:
    paper = documents.paper(rng, lexicon)
    body = " ".join(paper.paragraphs)
    return (
        f"Summarise the paper in one sentence.\n\nTitle: {paper.title}\n\nBody: {body}\n\nSummary:",
        paper.paragraphs[0],
    )


JSON_VERDICT = "Answer with a JSON object: verdict (SUPPORT, CONTRADICT or NEI) and evidence."

TRAINING: tuple[tuple[str, int, Maker], ...] = (
    ("acl_arc_intent_classification", 120, acl_arc),
    ("scicite_classification", 32, scicite),
    ("bioasq_factoid_qa", 120, bioasq_factoid),
    ("bioasq_yesno_qa", 32, bioasq_yesno),
    ("pubmedqa_qa", 32, pubmedqa),
    ("cdr_ner", 60, ner("Chemical", "Disease")),
    ("gnormplus_ner", 50, ner("Gene", "Species")),
    ("genia_ner", 50, ner("CellLine", "Gene")),
    ("nlmgene_ner", 50, ner("Gene", "Variant")),
    ("medmentions_ner", 140, ner()),
    ("pico_ner", 40, pico_ner),
    ("chemprot_re", 40, chemprot_re),
    ("drug_combo_extraction_re", 120, drug_combo_re),
    ("scierc_re", 110, scierc_re),
    ("healthver_entailment", 80, entailment(f"Does the abstract support the claim? {JSON_VERDICT}")),
    ("covidfact_entailment", 80, entailment(f"Check the claim against the abstract. {JSON_VERDICT}")),
    ("chemtables_te", 80, chemtables),
    ("mltables_te", 32, mltables),
    ("qasper_extractive_qa", 100, qasper_extractive),
    ("qasa_abstractive_qa", 32, qasa),
    ("scitldr_aic", 32, scitldr),
)
"""Task, rows, maker."""
