"""Measure the start of the command line: CPU seconds of --cfg job and --help beside those of Python and Hydra alone.

python benchmarks/startup.py
"""

import resource
import subprocess
import sys
from pathlib import Path

from sciriff.run import machine

REPEATS = 5
GOALS = {"--cfg job": 0.7, "--help": 1.5}

COMMANDS = {
    "python, nothing": ["-c", "pass"],
    "python, import hydra": ["-c", "import hydra"],
    "--cfg job": ["-m", "sciriff.train", "--cfg", "job"],
    "--help": ["-m", "sciriff.train", "--help"],
    "dry_run=true": ["-m", "sciriff.train", "experiment=demo", "dry_run=true"],
}


def cpu_seconds(arguments: list[str]) -> float:
    """User and system time of one child process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the median of five runs of each command, its ratio to a bare `import hydra`, and the goal."""
    commit = machine.git_commit(Path(__file__).parents[1]) or "unknown"
    print(f"commit {commit}, median of {REPEATS}, CPU seconds")
    medians = {
        name: sorted(cpu_seconds(command) for _ in range(REPEATS))[REPEATS // 2] for name, command in COMMANDS.items()
    }
    for name, seconds in medians.items():
        goal = f"goal {GOALS[name]:.1f}" if name in GOALS else ""
        print(f"{name:<22}{seconds:6.2f}   {seconds / medians['python, import hydra']:5.1f} x hydra   {goal}")


if __name__ == "__main__":
    main()
