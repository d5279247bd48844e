"""What the driver tells the stages that it starts, for tests that start one in its place."""

from sciriff.config.trust import DIGEST, digest_of
from sciriff.run.run_dir import RunDir


def told(run: RunDir) -> dict[str, str]:
    """Environment variables that make a stage take the whole config of the run folder."""
    return {DIGEST: digest_of(run.config.read_bytes())}
