"""Answer several runs one after the other in one interpreter: to load vLLM takes longer than most of what is tried.

`python vllm_process.py CASES.json`, with a list of {"folder", "config", "environment"}. A line of JSON says how each
ended: the message that the stage would have shown as its error, or null. The rows of that moment are copied beside the
config. This is no test; test_vllm.py starts it.
"""

import json
import os
import sys
from pathlib import Path

from vllm.v1.sample.logits_processor import LogitsProcessor

from sciriff.config import load
from sciriff.predict.__main__ import main
from sciriff.run.run_dir import RunDir
from sciriff.run.user_error import UserError

ENDED = "ended "
"""How the line begins that says so."""
FAILS = "FAILS_WHILE_THIS_EXISTS"
"""The variable that names a file."""
STEPS = 150


class FailsOnce(LogitsProcessor):
    """vLLM's own way to have other code in each step: it raises in the middle of generation, and never again."""

    def __init__(self, vllm_config: object, device: object, is_pin_memory: bool) -> None:
        self.steps = 0

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: object) -> None:
        pass

    def apply(self, logits):
        self.steps += 1
        flag = Path(os.environ.get(FAILS, "/nowhere"))
        if self.steps > STEPS and flag.exists():
            flag.unlink()
            raise RuntimeError("a kernel has failed\nand says much more about it")
        return logits


if __name__ == "__main__":
    for case in json.loads(Path(sys.argv[1]).read_text()):
        os.environ.update(case["environment"])
        said = None
        try:
            main(load(Path(case["config"])), RunDir(Path(case["folder"])))
        except (UserError, OSError) as error:
            said = str(error)
        rows = RunDir(Path(case["folder"])).predictions / "scierc_ner.jsonl"
        Path(case["config"]).with_suffix(".jsonl").write_bytes(rows.read_bytes() if rows.exists() else b"")
        print(ENDED + json.dumps(said), flush=True)
