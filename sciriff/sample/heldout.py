"""The nine held-out tasks of the sample, in their real answer formats and with instructions of our own wording."""

import random

from sciriff.sample import documents
from sciriff.sample.science import (
    SCIERC_TYPES,
    Example,
    Maker,
    citation_labels,
    claim,
    compact,
    entity_answer,
    excerpts,
    findings_answer,
    json_lines,
    quoted,
)
from sciriff.sample.vocabulary import Lexicon

BIORED_TYPES = ("CellLine", "Chemical", "Disease", "Gene", "Species", "Variant")


def bioasq_list(rng: random.Random, lexicon: Lexicon) -> Example:
    kind = rng.choice(("Gene", "Chemical"))
    counts = {"Gene": rng.randint(1, 2), "Chemical": rng.randint(1, 2)}
    counts[kind] = rng.randint(2, 3)
    text, writer = excerpts(rng, lexicon, counts["Gene"], counts["Chemical"])
    disease = writer.seen["Disease"][0]
    question = f"Which genes are linked to {disease}?" if kind == "Gene" else f"Which drugs treat {disease}?"
    instruction = "Use the excerpts to answer the question. Answer with a JSON array of all the names."
    return f"{instruction}\n\nContext: {text}\n\nQuestion: {question}", compact(writer.seen[kind])


def biored(rng: random.Random, lexicon: Lexicon) -> Example:
    abstract = documents.biomedical(rng, lexicon)
    instruction = f"List all entities of these six types: {quoted(BIORED_TYPES)}. Answer with a JSON object of lists."
    return f"{instruction}\n\nAbstract: {abstract.text}", compact(entity_answer(abstract, BIORED_TYPES))


def scierc(rng: random.Random, lexicon: Lexicon) -> Example:
    abstract = documents.machine_learning(rng, lexicon)
    instruction = f"List all entities of these six types: {quoted(SCIERC_TYPES)}. Answer with a JSON object of lists."
    return f"{instruction}\n\nAbstract: {abstract.text}", compact(entity_answer(abstract, SCIERC_TYPES))


def discomat(rng: random.Random, lexicon: Lexicon) -> Example:
    table = documents.table(
        rng, lexicon, "Glass_Compound_Amount", "mol", "Sample", "Oxide", "Glass", ("constituent", "unit", "material")
    )
    instruction = (
        "Describe all numeric cells, one JSON object per line with the keys value, type (Glass_Compound_Amount), "
        "constituent, unit (mol) and material."
    )
    return f"{instruction}\n\n{table.text}\n\nCaption: Composition of the glasses in mol %.", json_lines(table)


def evidence_inference(rng: random.Random, lexicon: Lexicon) -> Example:
    trial = documents.trial(rng, lexicon, rng.randint(1, 2))
    instruction = (
        f"Extract the {len(trial.findings)} finding(s) of the trial as [intervention, comparator, outcome, effect, "
        "evidence]. The effect is significantly increased, significantly decreased or no significant difference. "
        "Answer with a JSON array."
    )
    return f"{instruction}\n\nAbstract: {trial.text}", compact(findings_answer(trial))


def multicite(rng: random.Random, lexicon: Lexicon) -> Example:
    labels = citation_labels(rng)
    names = ", ".join(documents.CITING)
    instruction = f"Choose the intents of the citation in <cite>...</cite> from: {names}. Answer with a JSON array."
    return f"{instruction}\n\nText: {documents.citing(rng, lexicon, labels)}", compact(labels)


def mup(rng: random.Random, lexicon: Lexicon) -> Example:
    paper = documents.paper(rng, lexicon)
    body = " ".join(paper.paragraphs)
    summary = " ".join(paper.paragraphs[:2])
    return f"Write a summary of this paper in two sentences.\n\nTitle: {paper.title}\n\nBody: {body}", summary


def qasper(rng: random.Random, lexicon: Lexicon) -> Example:
    paper = documents.paper(rng, lexicon)
    question, answer, evidence = rng.choice(paper.questions)
    instruction = 'Read the paper and answer the question with a JSON object: "answer" and "evidence", a list of paragraphs.'
    body = "\n".join([paper.title, *paper.paragraphs])
    return f"{instruction}\n\nPaper:\n{body}\n\nQuestion: {question}", compact({"answer": answer, "evidence": [evidence]})


def scifact(rng: random.Random, lexicon: Lexicon) -> Example:
    text, sentences, answer = claim(rng, lexicon)
    instruction = (
        "Read the claim and the abstract. Answer with a JSON object: verdict (SUPPORT, CONTRADICT or NEI) and evidence, a "
        "list of sentences."
    )
    return f"{instruction}\n\nClaim: {text}\n\nAbstract:\n" + "\n".join(sentences), compact(answer)


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
