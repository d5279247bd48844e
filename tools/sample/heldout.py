"""The nine held-out tasks of the sample, in their real answer formats and with instructions of our own wording."""

import random

from tools.sample import documents
from tools.sample.science import (
    BIOMEDICAL_TYPES,
    SCIERC_TYPES,
    Example,
    Maker,
    citation_labels,
    claim,
    compact,
    entity_answer,
    excerpts,
    findings,
    findings_answer,
    json_lines,
    question_about_paper,
    quoted,
)
from tools.sample.vocabulary import Lexicon


def bioasq_list(rng: random.Random, lexicon: Lexicon) -> Example:
    kind = rng.choice(("Gene", "Chemical"))
    wanted, others = rng.randint(2, 3), rng.randint(0, 2)
    text, disease, names = excerpts(rng, lexicon, *((wanted, others) if kind == "Gene" else (others, wanted)))
    question = f"Which genes are linked to {disease}?" if kind == "Gene" else f"Which drugs treat {disease}?"
    instruction = "Use the excerpts to answer the question. Give all names in a JSON array."
    return f"{instruction}\n\nContext: {text}\n\nQuestion: {question}\n\nAnswer:", compact(names[kind])


def biored(rng: random.Random, lexicon: Lexicon) -> Example:
    abstract = documents.biomedical(rng, lexicon)
    instruction = (
        f"List all entities of these six types: {quoted(BIOMEDICAL_TYPES)}. Answer with a JSON object of lists."
    )
    return f"{instruction}\n\nText: {abstract.text}\n\nEntities:", compact(entity_answer(abstract, BIOMEDICAL_TYPES))


def scierc(rng: random.Random, lexicon: Lexicon) -> Example:
    abstract = documents.machine_learning(rng, lexicon)
    instruction = f"List all entities of these six types: {quoted(SCIERC_TYPES)}. Answer with a JSON object of lists."
    return f"{instruction}\n\nText: {abstract.text}\n\nEntities:", compact(entity_answer(abstract, SCIERC_TYPES))


def discomat(rng: random.Random, lexicon: Lexicon) -> Example:
    kind, unit = "Glass_Compound_Amount", rng.choice(("mol", "wt"))
    table = documents.table(rng, lexicon, ("Sample", "material"), ("Oxide", "constituent"), kind, unit)
    instruction = (
        f"Describe all numeric cells of the table, one JSON object per line: value, type ({kind}), constituent, "
        f"unit ({unit}), material."
    )
    return f"{instruction}\n\n{table.text}\n\nCaption: Glasses, amounts in {unit}.\n\nCells:", json_lines(table)


def evidence_inference(rng: random.Random, lexicon: Lexicon) -> Example:
    trial = documents.trial(rng, lexicon, findings(rng))
    instruction = (
        f"Extract the {len(trial.findings)} finding(s) of the trial as [intervention, comparator, outcome, effect, "
        "evidence]. Write a JSON array."
    )
    return f"{instruction}\n\nText: {trial.text}\n\nFindings:", compact(findings_answer(trial))


def multicite(rng: random.Random, lexicon: Lexicon) -> Example:
    labels = citation_labels(rng)
    names = ", ".join(documents.CITING)
    instruction = f"Choose the intents of the citation in <cite>...</cite> from {names}. Write a JSON array of labels."
    return f"{instruction}\n\nText: {documents.citing(rng, lexicon, labels)}\n\nLabels:", compact(labels)


def mup(rng: random.Random, lexicon: Lexicon) -> Example:
    paper = documents.paper(rng, lexicon)
    body, summary = " ".join(paper.paragraphs), " ".join(paper.paragraphs[:2])
    return f"Sum this paper up in two sentences.\n\nTitle: {paper.title}\n\nBody: {body}\n\nSummary:", summary


def qasper(rng: random.Random, lexicon: Lexicon) -> Example:
    text, answer = question_about_paper(rng, lexicon)
    instruction = (
        'Read the paper and answer the question. Write a JSON object: "answer", and "evidence", a list of paragraphs.'
    )
    return f"{instruction}\n\n{text}\n\nAnswer and evidence:", compact(answer)


def scifact(rng: random.Random, lexicon: Lexicon) -> Example:
    text, sentences, answer = claim(rng, lexicon)
    instruction = (
        "Compare the claim with the abstract. Write a JSON object: verdict (SUPPORT, CONTRADICT or NEI) and evidence, "
        "a list of sentences."
    )
    body = "\n".join(sentences)
    return f"{instruction}\n\nClaim: {text}\n\nAbstract:\n{body}\n\nVerdict and evidence:", compact(answer)


HELD_OUT: tuple[tuple[str, int, Maker], ...] = (
    ("bioasq_list_qa", 20, bioasq_list),
    ("biored_ner", 20, biored),
    ("discomat_te", 20, discomat),
    ("evidence_inference", 20, evidence_inference),
    ("multicite_intent_classification", 24, multicite),
    ("mup_single_document_summarization", 18, mup),
    ("qasper_abstractive_qa", 20, qasper),
    ("scierc_ner", 20, scierc),
    ("scifact_entailment", 20, scifact),
)
"""Task, rows, maker."""
