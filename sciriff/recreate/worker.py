"""Build one task in a process of its own, with a memory limit: `python -m sciriff.recreate.worker FOLDER`.

The folder has the request; the rows, or the line that says why there are none, are written beside it. A template can
loop where no signal of Python's arrives, so the process says which row it is at, and the parent kills it.
"""

import contextlib
import mmap
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from sciriff.recreate.source import NotAtHand
from sciriff.recreate.task_build import build
from sciriff.recreate.task_request import TaskRequest
from sciriff.run.parent_death import die_with_parent
from sciriff.run.typed_json import read_json
from sciriff.run.user_error import UserError

REQUEST, ERROR, AT = "request.json", "error.txt", "at"
AT_BYTES = 512
NOT_AT_HAND = 3
"""Exit status where the hub does not have the data, or is out of reach."""
GIGABYTE = 10**9


def main() -> int:
    die_with_parent()
    folder = Path(sys.argv[1])
    request = read_json(folder / REQUEST, TaskRequest, "a request", "start `python -m sciriff.recreate`")
    limit_memory(float(sys.argv[2]) * GIGABYTE)
    try:
        with telling_where(folder / AT) as at:
            build(request, at)
    except NotAtHand as error:
        (folder / ERROR).write_text(str(error), encoding="utf-8", errors="replace")
        return NOT_AT_HAND
    except UserError as error:
        (folder / ERROR).write_text(str(error), encoding="utf-8", errors="replace")
        return 2
    except (OSError, MemoryError) as error:
        limit_memory(None)  # for the line, as what filled it may still be held
        where = f"{request.file}: {place_of(folder / AT)[1] or 'the start'}"
        memory = f" needs more than recreate.memory_gb={sys.argv[2]} gigabytes"
        line = f"{where}: {error}" if isinstance(error, OSError) else where + memory
        (folder / ERROR).write_text(line, encoding="utf-8", errors="replace")
        return 2
    return 0


def limit_memory(size: float | None) -> None:
    """Have the kernel refuse this process more bytes of data, None for no limit; shared libraries and files do not
    count."""
    if sys.platform == "linux":
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        limits = [limit for limit in (size, most) if limit not in (None, resource.RLIM_INFINITY)]
        resource.setrlimit(resource.RLIMIT_DATA, (int(min(limits, default=resource.RLIM_INFINITY)), most))


@contextlib.contextmanager
def telling_where(path: Path) -> Iterator[Callable[[str], None]]:
    """Yield a function that notes a place in a file which the parent reads: its count, and its name."""
    path.write_bytes(bytes(AT_BYTES))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), AT_BYTES) as shared:
        count = 0

        def at(place: str) -> None:
            nonlocal count
            count += 1
            name = place.encode(errors="replace")[: AT_BYTES - 8]
            shared[:] = count.to_bytes(8) + name + bytes(AT_BYTES - 8 - len(name))

        yield at


def place_of(path: Path) -> tuple[int, str]:
    """Read (count, name) of the place where a worker is."""
    content = path.read_bytes() if path.is_file() else bytes(AT_BYTES)
    return int.from_bytes(content[:8]), content[8:].rstrip(b"\0").decode(errors="replace")


if __name__ == "__main__":
    sys.exit(main())
