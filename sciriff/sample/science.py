"""The training tasks of the sample: an instruction, an invented document, and the answer in the task's own format."""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from sciriff.sample import documents
from sciriff.sample.vocabulary import Lexicon

Example = tuple[str, str]
"""Input and output."""
Maker = Callable[[random.Random, Lexicon], Example]


def compact(answer: Any) -> str:
    """One line of JSON."""
    return json.dumps(answer, ensure_ascii=False)


def quoted(names: Sequence[str]) -> str:
    """The names in double quotes, separated by commas."""
    return ", ".join(f'"{name}"' for name in names)


def entity_answer(abstract: documents.Abstract, types: Sequence[str]) -> dict[str, list[str]]:
    """Every type with its entities, in order of first mention."""
    return {kind: list(abstract.entities.get(kind, [])) for kind in types}


def ner(*types: str) -> Maker:
    """Named entities of the types in a biomedical abstract."""

    def make(rng: random.Random, lexicon: Lexicon) -> Example:
        abstract = documents.biomedical(rng, lexicon)
        instruction = rng.choice(
            (
                f"List the entities of these types: {quoted(types)}. Answer with a JSON object.",
                f"Find all {quoted(types)} entities. Answer with a JSON object of lists.",
            )
        )
        return f"{instruction}\n\nAbstract: {abstract.text}", compact(entity_answer(abstract, types))

    return make


SCIERC_TYPES = ("Task", "Method", "Metric", "Material", "OtherScientificTerm", "Generic")


def scierc_re(rng: random.Random, lexicon: Lexicon) -> Example:
    abstract = documents.machine_learning(rng, lexicon)
    instruction = (
        f"List the entities of these types: {quoted(SCIERC_TYPES)}, then the relations between them. "
        "Answer with a JSON object."
    )
    answer: dict[str, Any] = entity_answer(abstract, SCIERC_TYPES)
    return f"{instruction}\n\nAbstract: {abstract.text}", compact({**answer, "Relations": abstract.relations})


def chemprot_re(rng: random.Random, lexicon: Lexicon) -> Example:
    writer = documents.Writer(rng, lexicon)
    sentences, pairs = [], []
    for verb, relation in rng.sample((("blocks", "inhibitor"), ("activates", "activator"), ("is broken down by", "substrate")), 2):
        chemical, gene = writer.new("Chemical"), writer.new("Gene")
        sentences.append(f"{chemical} {verb} {gene} in {rng.choice(lexicon['Species'])}.")
        pairs.append([chemical, gene, relation, sentences[-1]])
    instruction = "Extract the chemical-gene relations as [chemical, gene, relation, evidence]. Answer with a JSON array."
    return f"{instruction}\n\nAbstract: {' '.join(sentences)}", compact(pairs)


def findings_answer(trial: documents.Trial) -> list[list[str]]:
    """[intervention, comparator, outcome, effect, evidence] of each finding."""
    return [[f.intervention, f.comparator, f.outcome, f.effect, f.sentence] for f in trial.findings]


def drug_combo_re(rng: random.Random, lexicon: Lexicon) -> Example:
    partner = rng.choice(lexicon["Chemical"])
    trial = documents.trial(rng, lexicon, rng.randint(1, 2), comparator=rng.choice((partner, f"{partner} alone")))
    instruction = (
        f"Extract the {len(trial.findings)} finding(s) on the two drugs as [drug, other drug, outcome, effect, evidence]. "
        "Answer with a JSON array."
    )
    return f"{instruction}\n\nAbstract: {trial.text}", compact(findings_answer(trial))


def pico_ner(rng: random.Random, lexicon: Lexicon) -> Example:
    trial = documents.trial(rng, lexicon, rng.randint(1, 2))
    types = ("Condition", "Intervention", "Comparator", "Outcome")
    answer = {
        "Condition": [trial.disease],
        "Intervention": [trial.drug],
        "Comparator": [trial.comparator],
        "Outcome": [finding.outcome for finding in trial.findings],
    }
    instruction = f"List the entities of these types: {quoted(types)}. Answer with a JSON object."
    return f"{instruction}\n\nAbstract: {trial.text}", compact(answer)


CLAIM_VERBS = {"significantly increased": "increases", "significantly decreased": "decreases"}


def claim(rng: random.Random, lexicon: Lexicon) -> tuple[str, list[str], dict[str, Any]]:
    """A claim, the sentences of an abstract, and {verdict, evidence}."""
    trial = documents.trial(rng, lexicon, 2)
    finding = rng.choice(trial.findings)
    verdict = rng.choice(("SUPPORT", "CONTRADICT", "NEI"))
    outcome, evidence = finding.outcome, [finding.sentence]
    if verdict == "NEI":
        outcome, evidence = trial.unmeasured, []
        verb = rng.choice(("increases", "decreases"))
    elif finding.effect in CLAIM_VERBS:
        verdict = "SUPPORT"
        verb = CLAIM_VERBS[finding.effect]
    else:
        verdict = "CONTRADICT"
        verb = rng.choice(("increases", "decreases"))
    return f"{trial.drug} {verb} {outcome}.", trial.sentences, {"verdict": verdict, "evidence": evidence}


def entailment(*instructions: str) -> Maker:
    """Check a claim against an abstract and quote the evidence."""

    def make(rng: random.Random, lexicon: Lexicon) -> Example:
        text, sentences, answer = claim(rng, lexicon)
        return f"{rng.choice(instructions)}\n\nClaim: {text}\n\nAbstract:\n" + "\n".join(sentences), compact(answer)

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
    return f"{instruction}\n\nText: {documents.citing(rng, lexicon, labels)}", compact(labels)


def scicite(rng: random.Random, lexicon: Lexicon) -> Example:
    label = rng.choice(list(documents.CITING))
    short = {"Background": "background", "Motivation": "background", "Uses": "method", "Extends": "method"}.get(label, "result")
    instruction = "What is the citation in <cite>...</cite> for? Answer with one word: background, method or result."
    return f"{instruction}\n\nText: {documents.citing(rng, lexicon, [label])}", short


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


def excerpts(rng: random.Random, lexicon: Lexicon, genes: int, drugs: int) -> tuple[str, documents.Writer]:
    """Lines about one disease: so many genes linked to it, so many drugs that treat it."""
    writer = documents.Writer(rng, lexicon)
    disease = writer.new("Disease")
    lines = [rng.choice(LINKS).format(gene=writer.new("Gene"), disease=disease) for _ in range(genes)]
    lines += [rng.choice(TREATMENTS).format(drug=writer.new("Chemical"), disease=disease) for _ in range(drugs)]
    order = list(range(len(lines)))
    rng.shuffle(order)
    # The answer lists names in the order of the text.
    writer.seen["Gene"] = [writer.seen["Gene"][i] for i in order if i < genes]
    writer.seen["Chemical"] = [writer.seen["Chemical"][i - genes] for i in order if i >= genes]
    return "\n".join(lines[i] for i in order), writer


def bioasq_factoid(rng: random.Random, lexicon: Lexicon) -> Example:
    kind = rng.choice(("Gene", "Chemical"))
    counts = {"Gene": rng.randint(1, 3), "Chemical": rng.randint(1, 3)}
    counts[kind] = rng.choice((1, 1, 2))
    text, writer = excerpts(rng, lexicon, counts["Gene"], counts["Chemical"])
    disease = writer.seen["Disease"][0]
    question = f"Which gene is linked to {disease}?" if kind == "Gene" else f"Which drug treats {disease}?"
    instruction = "Answer the question from the excerpts with a JSON array."
    return f"{instruction}\n\nContext: {text}\n\nQuestion: {question}", compact(writer.seen[kind])


def bioasq_yesno(rng: random.Random, lexicon: Lexicon) -> Example:
    text, writer = excerpts(rng, lexicon, rng.randint(1, 2), rng.randint(1, 2))
    yes = rng.random() < 0.5
    gene = rng.choice(writer.seen["Gene"]) if yes else writer.new("Gene")
    instruction = "Answer the question from the excerpts with yes or no."
    question = f"Is {gene} linked to {writer.seen['Disease'][0]}?"
    return f"{instruction}\n\nContext: {text}\n\nQuestion: {question}", "yes" if yes else "no"


def pubmedqa(rng: random.Random, lexicon: Lexicon) -> Example:
    trial = documents.trial(rng, lexicon, 1)
    effect = trial.findings[0].effect
    instruction = "Answer the question from the abstract with yes or no."
    question = f"Does {trial.drug} change {trial.findings[0].outcome}?"
    return f"{instruction}\n\nAbstract: {trial.text}\n\nQuestion: {question}", "no" if effect.startswith("no") else "yes"


def json_lines(table: documents.Table) -> str:
    """One JSON object per cell and line."""
    return "\n".join(compact(cell) for cell in table.cells)


def chemtables(rng: random.Random, lexicon: Lexicon) -> Example:
    table = documents.table(rng, lexicon, "Salt_Amount", "mM", "Sample", "Salt", "Buffer", ("constituent", "unit", "material"))
    instruction = (
        "Describe every numeric cell, one JSON object per line with the keys value, type (Salt_Amount), constituent, "
        "unit (mM) and material."
    )
    return f"{instruction}\n\n{table.text}\n\nCaption: Composition of the buffers.", json_lines(table)


def mltables(rng: random.Random, lexicon: Lexicon) -> Example:
    table = documents.table(rng, lexicon, "Result", "%", "Method", "Material", "Model", ("dataset", "unit", "model"))
    instruction = (
        "Describe every numeric cell, one JSON object per line with the keys value, type (Result), dataset, unit (%) and model."
    )
    return f"{instruction}\n\n{table.text}\n\nCaption: Results of the models.", json_lines(table)


def qasper_extractive(rng: random.Random, lexicon: Lexicon) -> Example:
    paper = documents.paper(rng, lexicon)
    question, answer, evidence = rng.choice(paper.questions)
    instruction = 'Answer the question about the paper. Answer with a JSON object with the keys "answer" and "evidence".'
    body = "\n".join([paper.title, *paper.paragraphs])
    return f"{instruction}\n\nPaper:\n{body}\n\nQuestion: {question}", compact({"answer": answer, "evidence": [evidence]})


def qasa(rng: random.Random, lexicon: Lexicon) -> Example:
    paper = documents.paper(rng, lexicon)
    question, _, evidence = rng.choice(paper.questions)
    body = "\n".join([paper.title, *paper.paragraphs])
    return f"Answer the question about the paper in one sentence.\n\nPaper:\n{body}\n\nQuestion: {question}", evidence


def scitldr(rng: random.Random, lexicon: Lexicon) -> Example:
    paper = documents.paper(rng, lexicon)
    return (
        f"Summarise the paper in one sentence.\n\nTitle: {paper.title}\n\nBody: {' '.join(paper.paragraphs)}",
        paper.paragraphs[0],
    )


TRAINING: tuple[tuple[str, int, Maker], ...] = (
    ("acl_arc_intent_classification", 80, acl_arc),
    ("scicite_classification", 30, scicite),
    ("bioasq_factoid_qa", 80, bioasq_factoid),
    ("bioasq_yesno_qa", 30, bioasq_yesno),
    ("pubmedqa_qa", 30, pubmedqa),
    ("cdr_ner", 60, ner("Chemical", "Disease")),
    ("gnormplus_ner", 50, ner("Gene", "Species")),
    ("genia_ner", 50, ner("Gene", "CellLine")),
    ("nlmgene_ner", 50, ner("Gene", "Variant")),
    ("medmentions_ner", 60, ner("Chemical", "Disease", "Species", "Variant")),
    ("pico_ner", 40, pico_ner),
    ("chemprot_re", 40, chemprot_re),
    ("drug_combo_extraction_re", 80, drug_combo_re),
    ("scierc_re", 80, scierc_re),
    (
        "healthver_entailment",
        60,
        entailment(
            "Does the abstract support the claim? Answer with a JSON object: verdict (SUPPORT, CONTRADICT or NEI) and evidence."
        ),
    ),
    (
        "covidfact_entailment",
        60,
        entailment(
            "Check the claim against the abstract. Answer with a JSON object: verdict (SUPPORT, CONTRADICT or NEI) and evidence."
        ),
    ),
    ("chemtables_te", 50, chemtables),
    ("mltables_te", 40, mltables),
    ("qasper_extractive_qa", 80, qasper_extractive),
    ("qasa_abstractive_qa", 30, qasa),
    ("scitldr_aic", 30, scitldr),
)
"""Task, rows, maker."""
