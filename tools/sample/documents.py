"""Write short invented abstracts together with the facts in them: entities, findings, relations, table cells."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from tools.sample.vocabulary import Lexicon

BIOMEDICAL = (
    "{Gene} was raised in {Species} with {Disease}.",
    "We gave {Chemical} to {n} {Species} for {n} days.",
    "{Chemical} lowered {Gene} in {CellLine} cells.",
    "The {Variant} variant of {Gene} was found in {n} {Species}.",
    "{Disease} is often treated with {Chemical}.",
    "Loss of {Gene} made {CellLine} cells resistant to {Chemical}.",
    "{Chemical} binds {Gene} and slows {Disease}.",
    "Carriers of {Variant} had a more severe {Disease}.",
    "In {CellLine} cells {Gene} was silent.",
    "{Species} that lacked {Gene} developed {Disease}.",
    "A single dose of {Chemical} protected {Species} from {Disease}.",
    "{Variant} makes {Gene} unstable in {CellLine} cells.",
)

MACHINE_LEARNING = (
    ("We propose {Method}, a new {Generic} for {Task}.", "Used-for", "Method", "Task"),
    ("{Method} is trained on {Material} with {OtherScientificTerm}.", "Feature-of", "Material", "Method"),
    ("On {Material} our {Generic} improves {Metric} by {n} points.", "Evaluate-for", "Metric", "Material"),
    ("{Method} handles {OtherScientificTerm} better than {Method}.", "Compare", "Method", "Method"),
    ("The {Generic} extends {Method} to {Task}.", "Used-for", "Method", "Task"),
    ("We use {Material} to test {Task}.", "Evaluate-for", "Material", "Task"),
    ("{Metric} on {Material} falls without {OtherScientificTerm}.", "Evaluate-for", "Metric", "Material"),
    ("{Task} is hard because of {OtherScientificTerm}.", "Feature-of", "OtherScientificTerm", "Task"),
    ("We combine {Method} with {Method} for {Task}.", "Conjunction", "Method", "Method"),
)


@dataclass
class Writer:
    """Fills templates for one document and remembers what it wrote, in the order of first mention."""

    rng: random.Random
    lexicon: Lexicon
    reuse: float = 0.3
    """How often a place is filled with a name that came before, where there is one."""
    seen: dict[str, list[str]] = field(default_factory=dict)

    def new(self, kind: str) -> str:
        """A name that this document does not have yet."""
        seen = self.seen.setdefault(kind, [])
        name = self.rng.choice([name for name in self.lexicon[kind] if name not in seen])
        seen.append(name)
        return name

    def fill(self, template: str) -> tuple[str, list[tuple[str, str]]]:
        """The sentence, and (type, name) of what stands in it. A name may be one that came before."""
        used: list[tuple[str, str]] = []

        def replace(match: re.Match[str]) -> str:
            kind = match[1]
            if kind == "n":
                return str(self.rng.randint(11, 99))
            old = [name for name in self.seen.get(kind, []) if (kind, name) not in used]
            name = self.rng.choice(old) if old and self.rng.random() < self.reuse else self.new(kind)
            used.append((kind, name))
            return name

        sentence = re.sub(r"\{(\w+)\}", replace, template)
        return sentence[0].upper() + sentence[1:], used


@dataclass(frozen=True)
class Abstract:
    """A text, its entities by type in order of first mention, and its relations (head, relation, tail)."""

    text: str
    entities: dict[str, list[str]]
    relations: list[list[str]] = field(default_factory=list)


def biomedical(rng: random.Random, lexicon: Lexicon, sentences: int = 3) -> Abstract:
    """An abstract of molecular biology."""
    writer = Writer(rng, lexicon)
    text = " ".join(writer.fill(template)[0] for template in rng.sample(BIOMEDICAL, sentences))
    return Abstract(text, writer.seen)


def machine_learning(rng: random.Random, lexicon: Lexicon, sentences: int = 3) -> Abstract:
    """An abstract of computer science, with a relation per sentence."""
    writer = Writer(rng, lexicon)
    text, relations = [], []
    for template, relation, head, tail in rng.sample(MACHINE_LEARNING, sentences):
        sentence, used = writer.fill(template)
        text.append(sentence)
        heads = [name for kind, name in used if kind == head]
        tails = [name for kind, name in used if kind == tail and name not in heads[:1]]
        relations.append([heads[0], relation, tails[0]])
    return Abstract(" ".join(text), writer.seen, relations)


@dataclass(frozen=True)
class Finding:
    """What a trial says of one outcome."""

    intervention: str
    comparator: str
    outcome: str
    effect: str
    sentence: str


@dataclass(frozen=True)
class Trial:
    """The abstract of a clinical trial, sentence by sentence, and its findings: none where it is only planned."""

    disease: str
    drug: str
    comparator: str
    sentences: list[str]
    findings: list[Finding]

    @property
    def text(self) -> str:
        return " ".join(self.sentences)


INCREASED, DECREASED, UNCHANGED = "significantly increased", "significantly decreased", "no significant difference"
EFFECTS = (INCREASED, DECREASED, UNCHANGED)
CHANGE = (
    "In the {drug} group {outcome} were {effect} compared with the {comparator} group.",
    "Compared with the {comparator} group, {outcome} were {effect} in the {drug} group.",
)
NO_CHANGE = (
    "There was {effect} in {outcome} between the {drug} group and the {comparator} group.",
    "Between the {drug} group and the {comparator} group there was {effect} in {outcome}.",
)
DESIGNS = (
    "We randomised {n} patients with {disease} to {drug} or {comparator}.",
    "In this trial {n} patients with {disease} received {drug} or {comparator}.",
)
REMARKS = (
    "{drug} was well tolerated by {n} % of the patients.",
    "Side effects of {drug} were mild.",
    "Larger trials of {drug} are needed.",
)
PLANS = (
    "The results of this trial are not known yet.",
    "Recruitment is planned for the next {n} months.",
    "We only describe the protocol of the trial.",
)


def trial(rng: random.Random, lexicon: Lexicon, effects: Sequence[str], comparator: str | None = None) -> Trial:
    """A clinical trial of one drug with these effects, each on another outcome; `comparator` may be another drug."""
    writer = Writer(rng, lexicon, seen={"Chemical": [comparator]} if comparator else {})
    disease, drug = writer.new("Disease"), writer.new("Chemical")
    other = comparator or writer.new("Comparator")

    def write(template: str, **words: str) -> str:
        sentence = template.format(n=rng.randint(21, 99), drug=drug, comparator=other, disease=disease, **words)
        return sentence[0].upper() + sentence[1:]

    findings = []
    for effect in effects:
        outcome = writer.new("Outcome")
        sentence = write(rng.choice(NO_CHANGE if effect == UNCHANGED else CHANGE), outcome=outcome, effect=effect)
        findings.append(Finding(f"{drug} group", f"{other} group", outcome, effect, sentence))
    last = write(rng.choice(REMARKS if findings else PLANS))
    sentences = [write(rng.choice(DESIGNS)), *(finding.sentence for finding in findings), last]
    return Trial(disease, drug, other, sentences, findings)


CITING = {
    "Background": (
        "{Task} has been studied before <cite>({Author})</cite>.",
        "Much is known about {Task} <cite>({Author})</cite>.",
        "Early work on {Task} goes back to <cite>({Author})</cite>.",
    ),
    "Motivation": (
        "The errors reported in <cite>({Author})</cite> motivate our study of {Task}.",
        "We are inspired by the open problems in <cite>({Author})</cite>.",
    ),
    "Uses": (
        "We use {Material} from <cite>({Author})</cite>.",
        "We use the code of {Method} <cite>({Author})</cite>.",
        "Our features come from {Method} as released by <cite>({Author})</cite>.",
    ),
    "Extends": (
        "We extend {Method} <cite>({Author})</cite> to {Task}.",
        "Our {Generic} builds on {Method} <cite>({Author})</cite> and extends it.",
    ),
    "Similarities": (
        "Similar to <cite>({Author})</cite>, we train on {Material}.",
        "Our results on {Material} agree with <cite>({Author})</cite>.",
    ),
    "Differences": (
        "Unlike <cite>({Author})</cite>, we do not need {OtherScientificTerm}.",
        "In contrast to {Method} <cite>({Author})</cite>, our {Generic} is small.",
    ),
    "FutureWork": (
        "In future work we will add {Method} <cite>({Author})</cite>.",
        "Later we plan to test {Task} as in <cite>({Author})</cite>.",
    ),
}
AROUND = (
    "{Task} needs {OtherScientificTerm}.",
    "We report {Metric} on {Material}.",
    "The {Generic} is simple.",
    "All runs use {Material}.",
)


def citing(rng: random.Random, lexicon: Lexicon, labels: Sequence[str]) -> str:
    """A paragraph that cites one work for the reasons `labels`, one sentence each."""
    writer = Writer(rng, lexicon)
    author = writer.new("Author")
    cited = [rng.choice(CITING[label]).replace("{Author}", author) for label in labels]
    before, after = rng.sample(AROUND, 2)
    return " ".join(writer.fill(template)[0] for template in (before, *cited, after))


@dataclass(frozen=True)
class Table:
    """A table as text, and its cells as the JSON objects that describe them."""

    text: str
    cells: list[dict[str, str]]


def table(
    rng: random.Random, lexicon: Lexicon, rows: tuple[str, str], columns: tuple[str, str], cell_type: str, unit: str
) -> Table:
    """A table of two by two amounts. `rows` and `columns` are (entity type, key in a cell's object)."""
    writer = Writer(rng, lexicon)
    heads = [writer.new(columns[0]) for _ in range(2)]
    lines, cells = [f"| {rows[1]} | {' | '.join(heads)} |"], []
    for _ in range(2):
        name = writer.new(rows[0])
        values = [str(rng.randint(11, 99)) for _ in heads]
        lines.append(f"| {name} | {' | '.join(values)} |")
        for head, value in zip(heads, values, strict=True):
            cells.append({"value": value, "type": cell_type, columns[1]: head, "unit": unit, rows[1]: name})
    return Table("\n".join(lines), cells)


@dataclass(frozen=True)
class Paper:
    """Three paragraphs of a paper and the questions that each of them answers: (question, answer, paragraph)."""

    title: str
    paragraphs: list[str]
    questions: list[tuple[str, str, str]]


PAPER = (
    (
        "Which dataset is used for training?",
        ("We train on {Material} with {n} thousand sentences.", "Training uses the {Material} data for {n} epochs."),
    ),
    (
        "Which baseline do the authors compare with?",
        (
            "As a baseline we run {Method} with its default settings.",
            "We compare with {Method}, the strongest baseline.",
        ),
    ),
    (
        "Which measure is reported?",
        ("We report {Metric} on {Material}.", "All tables show {Metric} on {Material}, averaged over {n} seeds."),
    ),
    (
        "Which task is studied?",
        ("This paper is about {Task}.", "We study {Task} in {n} languages."),
    ),
    (
        "What makes the problem hard?",
        (
            "The problem is hard because of {OtherScientificTerm} in {Material}.",
            "The main difficulty is {OtherScientificTerm} in {Material}.",
        ),
    ),
)


def paper(rng: random.Random, lexicon: Lexicon) -> Paper:
    """A short paper about one method."""
    writer = Writer(rng, lexicon, reuse=0)
    title = f"{writer.new('Method')}: a new {rng.choice(lexicon['Generic'])}"
    paragraphs, questions = [], []
    for question, templates in rng.sample(PAPER, 3):
        paragraph, used = writer.fill(rng.choice(templates))
        paragraphs.append(paragraph)
        questions.append((question, used[0][1], paragraph))
    return Paper(title, paragraphs, questions)
