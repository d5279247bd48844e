"""Write the embedded sample: `python -m tools.sample.generate [FOLDER]`, in the checkout. Same code, same bytes."""

import random
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sciriff.config import SAMPLE
from sciriff.run.json_lines import dumps, read_json_objects, write_jsonl
from sciriff.tasks.catalogue import catalogue
from tools.sample.corpora import write_corpora
from tools.sample.general import conversations
from tools.sample.heldout import HELD_OUT
from tools.sample.own import write_own
from tools.sample.science import TRAINING, Maker
from tools.sample.vocabulary import Lexicon, lexicons

SEED = 2406
VOCABULARY = 2048
CONTEXT = 1024
# A lower-case word takes the blank before it along, as in the GPT family; a capital or a digit does not. So a name is
# the same tokens after a blank and after a quotation mark, and a small model can copy it into JSON.
WORDS = r" ?\p{Ll}+|\p{Lu}+\p{Ll}*|\p{N}+| ?[^\s\p{L}\p{N}]+(?:\s+[^\s\p{L}\p{N}]+)*|\s+"
BOS, EOS, PAD = "<s>", "</s>", "<pad>"


def output_context(answer: str) -> str:
    """SciRIFF's word for the shape of an answer."""
    if answer[0] in "[{":
        return "json"
    return "sentence" if " " in answer else "label"


def science_rows(tasks: Sequence[tuple[str, int, Maker]], split: str, lexicon: Lexicon) -> list[dict[str, Any]]:
    """Rows in SciRIFF's format, task by task."""
    rows = []
    for task, count, make in tasks:
        entry = catalogue()[task]
        rng = random.Random(f"{SEED}:{split}:{task}")
        seen: set[str] = set()
        while len(seen) < count:
            prompt, answer = make(rng, lexicon)
            if prompt in seen:
                continue
            rows.append(
                {
                    "input": prompt,
                    "output": answer,
                    "metadata": {
                        "domains": list(entry.domains),
                        "input_context": "structured" if task.endswith("_te") else "paragraph",
                        "source_type": "single_source",
                        "task_family": entry.family,
                        "output_context": "jsonlines" if task.endswith("_te") else output_context(answer),
                    },
                    "_instance_id": f"{task}:{split}:{len(seen)}",
                }
            )
            seen.add(prompt)
    return rows


def write_tokenizer(folder: Path, texts: Iterable[str]) -> None:
    """A byte-level BPE tokenizer of `VOCABULARY` entries, as a Hugging Face folder.

    Like Llama's it puts one BOS in front of a text, and no EOS behind it, where special tokens are asked for.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8", newline="\n")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": PAD,
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(dumps(config) + "\n", encoding="utf-8", newline="\n")


def training_texts(folder: Path) -> Iterable[str]:
    """Every text that training can see: the tokenizer learns from these alone."""
    for _, row in read_json_objects(folder / "sciriff" / "train.jsonl"):
        yield f"<|user|>\n{row['input']}\n<|assistant|>\n{row['output']}\n"
    for _, row in read_json_objects(folder / "tulu.jsonl"):
        if not row["dataset"].startswith("science"):
            yield "".join(f"<|{message['role']}|>\n{message['content']}\n" for message in row["messages"])


def generate(folder: Path) -> None:
    """Write every file of the sample under `folder`."""
    train, heldout = lexicons(SEED)
    write_jsonl(folder / "sciriff" / "train.jsonl", science_rows(TRAINING, "train", train))
    write_jsonl(folder / "sciriff" / "validation.jsonl", science_rows(HELD_OUT, "validation", heldout))
    write_jsonl(folder / "tulu.jsonl", conversations(SEED, train))
    write_tokenizer(folder / "tokenizer", training_texts(folder))
    write_own(folder / "own", SEED, train)
    write_corpora(folder / "recreate" / "raw", SEED, train, heldout)


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLE)
