"""Write the held-out tasks as task files of another harness: `python -m sciriff.export lm_eval FOLDER`.

`python -m sciriff.export parquet FILE RUN ...` writes the answers of finished runs as one table instead.
"""

import sys
from pathlib import Path
from typing import Any

from sciriff.export import inspect_tasks, lm_eval_tasks
from sciriff.export.exported import Exported, defaults, exported
from sciriff.export.folder import write_export
from sciriff.run.arguments import ArgumentParser
from sciriff.run.messages import say, show
from sciriff.run.user_error import UserError
from sciriff.stage import command

FORMATS = {"lm_eval": lm_eval_tasks, "inspect": inspect_tasks}
PARQUET = "parquet"


@command
def main() -> int:
    if sys.argv[1:2] == [PARQUET]:
        from sciriff.export import parquet_file  # it takes longer to load than --help may

        return parquet_file.main(sys.argv[2:])
    paper = defaults()
    usage = f"%(prog)s {{{','.join(FORMATS)}}} FOLDER [OPTION ...]\n       %(prog)s {PARQUET} FILE RUN ... [OPTION ...]"
    parser = ArgumentParser(prog="python -m sciriff.export", usage=usage, description=__doc__)
    formats = [*FORMATS, PARQUET]
    parser.add_argument("format", choices=formats, help=f"`{PARQUET} --help` has the options of tables")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="gets the files; new, or of an earlier export")
    source = f"({paper.source.hub})"
    parser.add_argument(
        "--data", metavar="PATH|OWNER/NAME", help=f"rows in SciRIFF's format, here or on a hub {source}"
    )
    parser.add_argument("--config", metavar="NAME", help=f"configuration of the hub's dataset ({paper.source.config})")
    parser.add_argument("--split", metavar="NAME", help=f"({paper.split})")
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="(all)")
    longest = f"longest answer, tokens ({paper.max_new_tokens})"
    parser.add_argument("--max-new-tokens", type=int, metavar="N", help=longest)
    given = parser.parse_args()
    if given.format == PARQUET:
        raise UserError(f"`{PARQUET}` comes first: python -m sciriff.export {PARQUET} FILE RUN ...")
    if given.max_new_tokens is not None and given.max_new_tokens < 1:
        raise UserError(f"--max-new-tokens {given.max_new_tokens} must be 1 or more")
    found = exported(given.data, given.config, given.split, given.tasks, given.max_new_tokens)
    harness: Any = FORMATS[given.format]
    write_export(given.folder, harness.files(found))
    for line in summary(found):
        say(line)
    show(harness.usage(given.folder))
    return 0


def summary(found: Exported) -> list[str]:
    """What was exported and what was not, a line each."""
    columns = sum(len(one.columns) for one in found.tasks)
    lines = [f"{len(found.tasks)} tasks with {columns} columns"]
    if found.left_out:
        lines.append(f"left out, since a judge rates them: {', '.join(found.left_out)}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
