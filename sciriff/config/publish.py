"""publish: what of a finished run goes to the Hugging Face hub, and where."""

import re
from dataclasses import dataclass

from sciriff.config.roles import setting
from sciriff.run.user_error import UserError

REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9_][A-Za-z0-9._-]*")
LONGEST = 96
"""Characters of a name that the hub takes."""
ADAPTER = "-adapter"
"""Ends the name of the adapter's repository where the model goes to one of its own."""


@dataclass(frozen=True)
class Target:
    """A repository and what goes there."""

    what: str
    """model, adapter or mix."""
    repo: str
    kind: str
    """model or dataset: the hub has both under the same name."""


@dataclass
class PublishConfig:
    to: str = setting("none", choices=("none", "hub"), runs_or_sends=True)
    """hub: push what this run has made once all of its stages are done. The token is that of HF_TOKEN or of
    `hf auth login`; there is no key for it."""
    repo: str | None = setting(None, runs_or_sends=True)
    """USER/NAME or ORGANISATION/NAME, made where it is missing. In a sweep with the run's name in it:
    'publish.repo=USER/${name}'."""
    what: list[str] = setting(factory=lambda: ["model"], choices=("model", "adapter", "mix"), runs_or_sends=True)
    """model and adapter are model repositories; where both are pushed, the adapter's is NAME-adapter. The mix is the
    dataset repository NAME."""
    private: bool = setting(True, runs_or_sends=True)
    """Whether a repository that is made is private. One that is there stays as it is, and a public one is refused while
    this is true."""
    revision: str | None = setting(None, runs_or_sends=True)
    """Branch that is pushed to, made where it is missing; null is main."""
    message: str | None = setting(None, runs_or_sends=True)
    """First line of the commit; null names the run."""

    def __post_init__(self) -> None:
        if self.to == "none" and self.repo is not None:
            raise UserError(
                f"publish.repo={self.repo} is where publish=hub pushes to, and publish=none pushes nothing: add "
                "publish=hub, or say publish.repo=null"
            )
        if self.to == "none":
            return
        if self.repo is None:
            raise UserError("publish=hub needs to know where: give publish.repo=USER/NAME")
        if not self.what or len(set(self.what)) < len(self.what):
            raise UserError(f"publish.what=[{','.join(self.what)}] must name some of model, adapter and mix once")
        for target in self.targets:
            name = target.repo.rpartition("/")[2]
            if not REPOSITORY.fullmatch(target.repo) or len(name) > LONGEST or _ends_badly(target.repo):
                raise UserError(
                    f"publish.repo={self.repo}: the hub takes USER/NAME, each of letters, digits, -, _ and ., without "
                    f"-- and .., not ending in -, . or .git, with at most {LONGEST} characters in NAME ({name} has "
                    f"{len(name)})"
                )
        if self.revision is not None and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._/-]*", self.revision):
            raise UserError(f"publish.revision={self.revision} is no branch: use letters, digits, -, _, . and /")
        if self.message is not None and (not self.message.strip() or "\n" in self.message):
            raise UserError("publish.message must be one line that is not empty; leave it out, and it names the run")

    @property
    def targets(self) -> list[Target]:
        """The repositories that are pushed to, in the order of `what`."""
        if self.to == "none" or self.repo is None:
            return []
        both = "model" in self.what
        return [
            Target(
                what,
                self.repo + (ADAPTER if what == "adapter" and both else ""),
                "dataset" if what == "mix" else "model",
            )
            for what in self.what
        ]


def _ends_badly(repo: str) -> bool:
    words = repo.split("/")
    return any("--" in word or ".." in word or word.endswith(("-", ".", ".git")) for word in words)
