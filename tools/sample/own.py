"""Three sources of one's own for the sample, each in another form and format: a table of questions with column names of
its own, chats as ShareGPT has them, and instructions with an input as Alpaca has them."""

import csv
import gzip
import io
import random
from pathlib import Path

from sciriff.run.json_lines import dumps
from tools.sample.general import PEOPLE, PLACES, WEEK
from tools.sample.vocabulary import Lexicon

ROWS = {"quiz": 300, "chats": 200, "notes": 300}
UNITS = (("g", "mg", 1000), ("m", "mm", 1000), ("l", "ml", 1000), ("h", "min", 60), ("min", "s", 60))


def quiz_row(rng: random.Random, _: Lexicon) -> tuple[str, str, str]:
    """(question, answer, language)"""
    large, small, factor = rng.choice(UNITS)
    count = rng.randint(2, 90)
    german = rng.random() < 0.2
    question = f"Wie viele {small} sind {count} {large}?" if german else f"How many {small} are {count} {large}?"
    return question, f"{count * factor} {small}", "de" if german else "en"


def chat_row(rng: random.Random, lexicon: Lexicon) -> dict:
    person, place, day = rng.choice(PEOPLE), rng.choice(PLACES), rng.choice(WEEK)
    drug = rng.choice(lexicon["Chemical"])
    turns = [
        ("human", f"{person} left the {drug} at the {place} on {day}. Where is it?"),
        ("gpt", f"At the {place}."),
    ]
    if rng.random() < 0.5:
        turns += [("human", "And since when?"), ("gpt", f"Since {day}.")]
    return {"conversations": [{"from": speaker, "value": text} for speaker, text in turns]}


def note_row(rng: random.Random, lexicon: Lexicon) -> dict:
    drug, disease = rng.choice(lexicon["Chemical"]), rng.choice(lexicon["Disease"])
    patients = rng.randint(12, 90)
    instruction, output = rng.choice(
        (
            ("Name the drug in the note.", drug),
            ("Name the disease in the note.", disease),
            ("How many patients does the note count?", str(patients)),
        )
    )
    note = f"{patients} patients with {disease} were given {drug} and seen again after {rng.randint(2, 30)} days."
    return {"instruction": instruction, "input": note, "output": output}


def write_own(folder: Path, seed: int, lexicon: Lexicon) -> None:
    """Write quiz.csv, chats.jsonl.gz and notes.parquet into a folder."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    chance = {name: random.Random(f"{seed}:own:{name}") for name in ROWS}
    table = io.StringIO()
    lines = csv.writer(table, lineterminator="\n")
    lines.writerow(("question", "answer", "language"))
    lines.writerows(quiz_row(chance["quiz"], lexicon) for _ in range(ROWS["quiz"]))
    (folder / "quiz.csv").write_text(table.getvalue(), encoding="utf-8", newline="\n")
    chats = "".join(dumps(chat_row(chance["chats"], lexicon)) + "\n" for _ in range(ROWS["chats"]))
    (folder / "chats.jsonl.gz").write_bytes(gzip.compress(chats.encode(), mtime=0))
    notes = [note_row(chance["notes"], lexicon) for _ in range(ROWS["notes"])]
    pq.write_table(pa.Table.from_pylist(notes), folder / "notes.parquet")
