"""`python -m sciriff.recreate.page FOLDER` writes page.html into the folder of a build, to look at its rows."""

import sys
from pathlib import Path

from sciriff.recreate.examples import PER_SPLIT
from sciriff.recreate.page.content import page
from sciriff.recreate.template_file import SPLITS
from sciriff.run.arguments import ArgumentParser
from sciriff.run.messages import show
from sciriff.run.whole_file import write_whole
from sciriff.stage import command

PAGE = "page.html"
ROWS = 3
MOST_ROWS = PER_SPLIT * len(SPLITS)


@command
def main() -> int:
    parser = ArgumentParser(prog="python -m sciriff.recreate.page", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="recreate.out of a build")
    parser.add_argument(
        "--rows",
        type=int,
        choices=range(MOST_ROWS + 1),
        default=ROWS,
        metavar="N",
        help=f"rows of each task, as far as the build kept them, 0 to {MOST_ROWS} ({ROWS})",
    )
    arguments = parser.parse_args()
    write_whole(arguments.folder / PAGE, page(arguments.folder, arguments.rows).decode())
    show(arguments.folder / PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
