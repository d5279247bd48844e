"""A real Slurm with two nodes, n1 and n2, on this one machine: everything in one folder, gone when the test ends.

It reads no file of the machine's own Slurm, and has ports, a key and a munge socket of its own, so several may run at
once, and under any user.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sciriff.run.parent_death import die_with_parent

NODES = ("n1", "n2")
CPUS = 2
START_WITHIN = 60.0
"""Seconds that a daemon has to answer."""

SETTINGS: dict[str, object] = {
    "AuthType": "auth/munge",
    "ProctrackType": "proctrack/linuxproc",
    "TaskPlugin": "task/none",
    "SelectType": "select/cons_tres",
    "SelectTypeParameters": "CR_CPU",
    "SlurmdParameters": "config_overrides",  # the nodes have the CPUs that we say
    "MpiDefault": "none",
    "ReturnToService": 2,
    "SlurmdTimeout": 30,
    "KillWait": 20,
    "JobRequeue": 1,
    "OverTimeLimit": 0,
    "SchedulerParameters": "batch_sched_delay=0,sched_interval=2,bf_interval=2",
}
"""Of slurm.conf, in Slurm's own names; a test changes them by `SlurmCluster(folder, KillWait=5)`."""

CREDENTIALS_LAST = 10
"""Seconds (cred_expire); a requeued job waits as long before it starts again."""

ENDED = frozenset(
    ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "PREEMPTED")
)


class SlurmCluster:
    """`with SlurmCluster(folder, KillWait=5) as slurm:` has it running, `slurm.environment` is what commands need."""

    def __init__(self, folder: Path, **settings: object) -> None:
        for daemon in ("slurmctld", "slurmd", "munged", "sbatch"):
            if _where(daemon) is None:
                pytest.skip(f"no {daemon} on this machine: apt-get install slurm-wlm munge")
        self.folder = folder
        self.log_folder = folder / "log"
        self.settings = {**SETTINGS, **settings}
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))},
            "SLURM_CONF": str(folder / "slurm.conf"),
        }
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "SlurmCluster":
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop()

    def command(self, *words: str, check: bool = True, timeout: float = 60) -> str:
        """What one of Slurm's commands prints."""
        result = subprocess.run(
            words, env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=timeout, check=False
        )
        assert not check or result.returncode == 0, f"{' '.join(words)}: {result.stderr}{self.logs()}"
        return result.stdout

    def sbatch(self, *words: str, wrap: str | None = None, cwd: Path | None = None, **variables: str) -> int:
        """Submit `sbatch WORDS`, or `--wrap`, from `cwd` with some variables more; returns the job's number."""
        command = ["sbatch", "--parsable", *([f"--wrap={wrap}"] if wrap is not None else []), *words]
        result = subprocess.run(
            command,
            env={**self.environment, **variables},
            cwd=cwd or self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.returncode == 0, f"{' '.join(command)}: {result.stderr}{self.logs()}"
        return int(result.stdout.partition(";")[0])

    def job(self, job: int | str) -> dict[str, str]:
        """What `scontrol show job` says of it: JobState, Reason, Restarts, ExitCode, NodeList, StdOut ..."""
        return _facts(self.command("scontrol", "--oneliner", "show", "job", str(job)).splitlines()[0])

    def ends(self) -> list[dict[str, str]]:
        """Slurm's own record of each end of each job, a requeued one's first end too: StartTime, EndTime, ArrayJobId,
        ArrayTaskId ..."""
        return [_facts(line) for line in self._job_ends.read_text().splitlines()]

    def state(self, job: int | str) -> str:
        return self.job(job)["JobState"]

    def wait_for(self, job: int | str, states: str | frozenset[str] = ENDED, timeout: float = 120) -> str:
        """Wait until a job is in one of the states, by default the last ones, and return it. Fails at once when it has
        ended in another one."""
        wanted = frozenset([states]) if isinstance(states, str) else states
        give_up_at = time.monotonic() + timeout
        while (state := self.state(job)) not in wanted:
            late = time.monotonic() > give_up_at
            assert not late and state not in ENDED, f"job {job} is {state}\n{self.output(job)}\n{self.logs()}"
            time.sleep(0.2)
        return state

    def output(self, job: int | str) -> str:
        """What a batch job has printed so far."""
        path = Path(self.job(job).get("StdOut", "/dev/null"))
        return path.read_text(errors="replace") if path.is_file() else ""

    def wait_for_output(self, job: int | str, *texts: str, timeout: float = 120) -> str:
        """Wait until a batch job has printed all these texts; returns what it has printed."""
        give_up_at = time.monotonic() + timeout
        while not all(text in (printed := self.output(job)) for text in texts):
            late = time.monotonic() > give_up_at
            assert not late and self.state(job) not in ENDED, (
                f"job {job} is {self.state(job)}\n{printed}\n{self.logs()}"
            )
            time.sleep(0.2)
        return printed

    def logs(self, lines: int = 20) -> str:
        """The end of each daemon's log."""
        tails = []
        for log in sorted(self.log_folder.glob("*.log")):
            tail = log.read_text(errors="replace").splitlines()[-lines:]
            tails.append("\n".join([f"--- {log.name}", *tail]))
        return "\n".join(["", *tails])

    def start_node(self, node: str) -> None:
        """Start the slurmd of a node and wait until jobs may run there."""
        self._daemon(f"slurmd_{node}", [_where("slurmd"), "-D", "-N", node, "-f", self.environment["SLURM_CONF"]])
        self._until(lambda: self.node_state(node) in ("idle", "mixed", "allocated"), f"node {node} to be up")

    def stop_node(self, node: str, jobs_too: bool = True) -> None:
        """Kill the slurmd of a node and all that runs there, as a power cut would; else its slurmd alone."""
        self._end(f"slurmd_{node}", signal.SIGKILL)
        if jobs_too:
            _kill_all(self, node)

    def node_state(self, node: str) -> str:
        """idle, mixed, down* ...; empty while the controller does not answer."""
        lines = self.command("sinfo", "-h", "-N", "-n", node, "-o", "%T", check=False).split()
        return lines[0] if lines else ""  # there is a line for each of its partitions

    def _start(self) -> None:
        for name in ("state", "spool", "log", "pid"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        self._munge()
        self._write_conf()
        conf = self.environment["SLURM_CONF"]
        self._daemon("slurmctld", [_where("slurmctld"), "-D", "-i", "-f", conf])
        for node in NODES:
            self._daemon(f"slurmd_{node}", [_where("slurmd"), "-D", "-N", node, "-f", conf])
        self._until(lambda: all(self.node_state(node) == "idle" for node in NODES), "both nodes to be idle")

    @property
    def _job_ends(self) -> Path:
        return self.folder / "job_ends.txt"

    @property
    def _munge_socket(self) -> Path:
        return self.folder / "munge.socket"

    def _munge(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        command = [
            *(_where("munged"), "--foreground", "--force", f"--key-file={key}", f"--socket={self._munge_socket}"),
            *(f"--pid-file={self.folder}/pid/munged.pid", f"--seed-file={self.folder}/munge.seed"),
            f"--log-file={self.log_folder}/munged_own.log",
        ]
        self._daemon("munged", command)
        self._until(self._munge_socket.exists, "munged to answer")

    def _write_conf(self) -> None:
        host = socket.gethostname().partition(".")[0]
        user = pwd.getpwuid(os.geteuid()).pw_name
        ports = free_ports(1 + len(NODES))
        settings = {
            "ClusterName": f"test_{ports[0]}",
            "SlurmctldHost": f"{host}(127.0.0.1)",
            "SlurmctldPort": ports[0],
            "SlurmUser": user,
            "SlurmdUser": user,
            "AuthInfo": f"socket={self._munge_socket},cred_expire={CREDENTIALS_LAST}",
            "StateSaveLocation": f"{self.folder}/state",
            "SlurmdSpoolDir": f"{self.folder}/spool/%n",
            "SlurmctldPidFile": f"{self.folder}/pid/slurmctld.pid",
            "SlurmdPidFile": f"{self.folder}/pid/%n.pid",
            "JobCompType": "jobcomp/filetxt",
            "JobCompLoc": self._job_ends,
            **self.settings,
        }
        has = f"CPUs={CPUS} RealMemory=6000 State=UNKNOWN"
        nodes = [
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} {has}"
            for node, port in zip(NODES, ports[1:], strict=True)
        ]
        partition = f"PartitionName=main Nodes={','.join(NODES)} Default=YES MaxTime=INFINITE State=UP"
        lines = [*(f"{key}={value}" for key, value in settings.items()), *nodes, partition]
        (self.folder / "slurm.conf").write_text("\n".join(lines) + "\n")

    def _daemon(self, name: str, command: list[str | None]) -> None:
        with (self.log_folder / f"{name}.log").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                [word for word in command if word is not None],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        give_up_at = time.monotonic() + START_WITHIN
        while not condition():
            dead = [name for name, process in self._daemons.items() if process.poll() is not None]
            assert not dead, f"{', '.join(dead)} ended{self.logs()}"
            assert time.monotonic() < give_up_at, f"waited {START_WITHIN:.0f} s for {what}{self.logs()}"
            time.sleep(0.1)

    def _end(self, name: str, number: int = signal.SIGTERM) -> None:
        process = self._daemons.pop(name, None)
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _stop(self) -> None:
        """End the daemons, then every process of a job that still runs."""
        for name in list(reversed(self._daemons)):
            self._end(name, signal.SIGKILL if name.startswith("slurmd") else signal.SIGTERM)
        _kill_all(self)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    """One cluster for all tests of a file; import it there."""
    with SlurmCluster(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


def _facts(line: str) -> dict[str, str]:
    """KEY=VALUE of a line of Slurm's."""
    return dict(word.split("=", 1) for word in line.split() if "=" in word)


def _where(program: str) -> str | None:
    """Daemons are in /usr/sbin, which is not on everybody's path."""
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]))


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _kill_all(slurm: SlurmCluster, node: str | None = None) -> None:
    """SIGKILL to all processes of a cluster, or of one of its nodes, and to what they start meanwhile."""
    give_up_at = time.monotonic() + 10
    while found := processes_of(slurm, node):
        assert time.monotonic() < give_up_at, f"processes {found} cannot be killed"
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.1)


def processes_of(slurm: SlurmCluster, node: str | None = None) -> list[int]:
    """The processes of a cluster and of its jobs, or those of the jobs on one node, known by their environment."""
    marks = {f"SLURM_CONF={slurm.environment['SLURM_CONF']}".encode()}
    if node is not None:
        marks.add(f"SLURMD_NODENAME={node}".encode())
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if marks <= set(environment) and state != "Z":
            found.append(int(folder.name))
    return found
