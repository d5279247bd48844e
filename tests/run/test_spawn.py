"""A child's command, log, progress, failure and death."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sciriff.run import spawn


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_log_begins_with_a_command_that_can_be_pasted(tmp_path: Path):
    log = tmp_path / "logs" / "child.log"
    command = python("import os; print(os.environ['GREETING'])")
    assert spawn.run("child", command, log, {"GREETING": "hello there"}) == ["hello there"]
    first, output = log.read_text().splitlines()
    assert output == "hello there"
    again = subprocess.run(first, shell=True, capture_output=True, text=True, check=True)
    assert again.stdout == "hello there\n"
    assert shlex.join(command) in first


def test_progress_is_kept_from_the_output_but_not_from_the_log(tmp_path: Path):
    log = tmp_path / "child.log"
    code = "print('[1/2] half'); print('a line'); print('[2/2] whole')"
    assert spawn.run("child", python(code), log) == ["a line"]
    assert "[1/2] half" in log.read_text()


def test_later_attempts_are_appended(tmp_path: Path):
    log = tmp_path / "child.log"
    spawn.run("child", python("print(1)"), log)
    spawn.run("child", python("print(2)"), log)
    assert [line for line in log.read_text().splitlines() if len(line) == 1] == ["1", "2"]


def test_failure_gives_the_childs_own_reason(tmp_path: Path):
    with pytest.raises(spawn.ChildFailed, match="exit status 3") as caught:
        spawn.run("child", python("print('noise'); print('error: no rows'); raise SystemExit(3)"), tmp_path / "log")
    assert caught.value.reason == "no rows"


def test_crash_gives_the_logs_tail(tmp_path: Path):
    with pytest.raises(spawn.ChildFailed) as caught:
        spawn.run("child", python("print('before'); 1 / 0"), tmp_path / "log")
    assert "ZeroDivisionError" in caught.value.reason


def test_a_killed_child_is_heard(tmp_path: Path):
    with pytest.raises(spawn.ChildFailed, match="SIGKILL"):
        spawn.run("child", python("import os; os.kill(os.getpid(), 9)"), tmp_path / "log")


DRIVER = """
import sys
from pathlib import Path
from sciriff.run import spawn
try:
    spawn.run("child", [sys.executable, "-c", sys.argv[1]], Path(sys.argv[2]), ask_to_stop=None)
except spawn.Stopped:
    print("stopped")
"""


def start_driver(tmp_path: Path, child: str) -> tuple["subprocess.Popen[str]", int]:
    """A driver with a child that writes its process id; returns both when the child is up."""
    pid_file = tmp_path / "pid"
    code = f"import os, time; from pathlib import Path; Path({str(pid_file)!r}).write_text(str(os.getpid())); {child}"
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, code, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
    )
    give_up_at = time.monotonic() + 30
    while not (pid_file.exists() and pid_file.read_text()):
        assert time.monotonic() < give_up_at, "the child did not start"
        time.sleep(0.05)
    return driver, int(pid_file.read_text())


def is_alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def wait_until_gone(pid: int) -> None:
    give_up_at = time.monotonic() + 10
    while is_alive(pid):
        assert time.monotonic() < give_up_at, f"process {pid} is still alive"
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_child_dies_with_a_killed_driver(tmp_path: Path):
    driver, child = start_driver(tmp_path, "time.sleep(100)")
    driver.kill()
    driver.wait()
    wait_until_gone(child)


@pytest.mark.parametrize("number", spawn.ASKS_TO_STOP)
def test_being_asked_to_stop_ends_the_child_and_is_told(tmp_path: Path, number: signal.Signals):
    driver, child = start_driver(tmp_path, "time.sleep(100)")
    os.kill(driver.pid, number)
    output, _ = driver.communicate(timeout=20)
    assert output == "stopped\n"
    wait_until_gone(child)


@pytest.mark.parametrize(("numbers", "killed"), [("USR1 USR1 TERM USR1", False), ("TERM TERM", True)])
def test_only_a_second_ctrl_c_or_sigterm_kills(tmp_path: Path, numbers: str, killed: bool):
    """Slurm sends SIGUSR1 ahead of SIGTERM: the child must still be allowed to write its checkpoint."""
    mark = tmp_path / "mark"
    patient = (
        f"import signal; signal.signal(signal.SIGTERM, lambda *_: None); time.sleep(2); Path({str(mark)!r}).touch()"
    )
    driver, child = start_driver(tmp_path, patient)
    time.sleep(0.3)
    for name in numbers.split():
        os.kill(driver.pid, signal.Signals[f"SIG{name}"])
        time.sleep(0.1)
    output, _ = driver.communicate(timeout=30)
    assert output == "stopped\n"
    wait_until_gone(child)
    assert mark.exists() != killed
