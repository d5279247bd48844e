"""Push files to a repository of the Hugging Face hub, in one commit, by huggingface_hub's own functions.

create_commit asks the hub which files it has, uploads the others (over Xet, or LFS without it) and commits all at once,
so a branch never holds half a model. After a cut, a large file that arrived whole is not sent again, over Xet not even
the parts of one that did not; files that stand in the branch already are in no second commit. upload_folder would send
a commit again whose answer was lost, and take what a folder happens to hold.
"""

import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sciriff.config import PublishConfig, Target
from sciriff.publish.pushed_files import WEIGHTS, Item
from sciriff.publish.record import Pushed
from sciriff.run.messages import say
from sciriff.run.user_error import UserError
from sciriff.run.visible import shortened, visible_line

PAUSES = (2.0, 10.0, 30.0, 60.0)
"""Seconds before another attempt, after a cut connection or an error of the server's."""
PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Statuses after which the same request may succeed."""
LONGEST = 300
ADDRESS = re.compile(r"(https?://)(?:[^/\s@]*@)?([^/\s?'\"]+)[^\s'\"]*")
LOGIN = (
    "set HF_TOKEN, or log in once with `hf auth login` (a token that may write: https://huggingface.co/settings/tokens)"
)


class Incomplete(Exception):
    """The hub does not have what was committed, or not in full."""


def api(token: str | None = None, endpoint: str | None = None) -> Any:
    """The hub of HF_ENDPOINT, with the token of HF_TOKEN or of the hub's own login. UserError without any."""
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.utils import disable_progress_bars, logging

    disable_progress_bars()  # they would fill the log
    logging.set_verbosity_error()  # its warnings have the signed addresses of uploads

    token = token or get_token()
    if token is None:
        raise UserError(f"publish=hub: there is no token of the Hugging Face hub: {LOGIN}")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise UserError("publish=hub: HF_HUB_OFFLINE forbids to ask the hub; unset it, or publish later from elsewhere")
    return HfApi(endpoint, token=token)


def push(
    hub: Any,
    target: Target,
    settings: PublishConfig,
    items: Sequence[Item],
    message: str,
    pauses: Iterable[float] = PAUSES,
) -> Pushed:
    """Push all items, and go on after cut connections. UserError with the reason where that is of no use."""
    waits = iter(pauses)
    while True:
        try:
            return _attempt(hub, target, settings, items, message)
        except UserError:
            raise
        except failures() as error:
            pause = next(waits, None)
            if not passes(error) or pause is None:
                raise UserError(f"{target.repo}: {reason(error)}; what the hub has of it is not sent again") from None
            say(f"{target.repo}: {reason(error)}; trying again in {pause:.0f} s")
            time.sleep(pause)


def _attempt(hub: Any, target: Target, settings: PublishConfig, items: Sequence[Item], message: str) -> Pushed:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    where = {"repo_id": target.repo, "repo_type": target.kind}
    private = prepare(hub, target, settings)
    branch = settings.revision or "main"
    ours = {item.name for item in items}
    there = hub.list_repo_files(**where, revision=branch)
    stale = [name for name in there if name not in ours and WEIGHTS[target.what].fullmatch(name)]
    additions = [
        CommitOperationAdd(item.name, str(item.content) if isinstance(item.content, Path) else item.content)
        for item in items
    ]
    if stale:
        say(f"{target.repo}: removes {', '.join(map(visible_line, stale))}, of an earlier push; its history keeps them")
    removals = [CommitOperationDelete(name) for name in stale]
    done = hub.create_commit(**where, operations=[*additions, *removals], commit_message=message, revision=branch)
    _compare(hub, where, branch, additions)
    return {
        "what": target.what,
        "repo": target.repo,
        "kind": target.kind,
        "revision": branch,
        "private": private,
        "commit": done.oid,
        "url": f"{hub.endpoint}/{'datasets/' if target.kind == 'dataset' else ''}{target.repo}",
        "files": {item.name: item.size for item in items},
    }


def prepare(hub: Any, target: Target, settings: PublishConfig) -> bool:
    """Make the repository and the branch where they are missing, and return whether the repository is private."""
    where = {"repo_id": target.repo, "repo_type": target.kind}
    info = found(hub, target)
    if info is None:
        hub.create_repo(**where, private=settings.private, exist_ok=True)
        info = hub.repo_info(**where)
    refuse_public(target, settings, info)
    if settings.revision is not None:
        hub.create_branch(**where, branch=settings.revision, exist_ok=True)
    return bool(info.private)


def found(hub: Any, target: Target) -> Any:
    """What the hub says of the repository; None if there is none that this token may see."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return hub.repo_info(repo_id=target.repo, repo_type=target.kind)
    except RepositoryNotFoundError as error:
        if error.response is not None and error.response.status_code == 401:
            raise UserError(f"publish=hub: the hub does not know this token: {LOGIN}") from None
        return None


def refuse_public(target: Target, settings: PublishConfig, info: Any) -> None:
    """UserError where everybody would see what is meant to be private."""
    if settings.private and not info.private:
        raise UserError(
            f"publish.private=true, and the {target.kind} repository {target.repo} is public: choose another "
            "publish.repo, or say publish.private=false"
        )


def _compare(hub: Any, where: dict[str, str], branch: str, additions: Sequence[Any]) -> None:
    """Incomplete unless the branch has every file with its size and digest."""
    names = [addition.path_in_repo for addition in additions]
    there = {file.path: file for file in hub.get_paths_info(**where, paths=names, revision=branch)}
    for addition in additions:
        file, wanted = there.get(addition.path_in_repo), addition.upload_info
        if file is None or file.size != wanted.size or not _same(file, addition):
            raise Incomplete(f"{addition.path_in_repo} is not in {branch} as it was sent")


def _same(file: Any, addition: Any) -> bool:
    if file.lfs is not None:
        same: bool = file.lfs.sha256 == addition.upload_info.sha256.hex()
        return same
    with addition.as_file() as opened:  # the hub keeps it in git, so it is small
        content = opened.read()
    return bool(file.blob_id == hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest())


def failures() -> tuple[type[BaseException], ...]:
    """What huggingface_hub raises and what it sends with: requests, httpx or httpx2, depending on its version. Around
    them, and from Xet, there is RuntimeError."""
    from huggingface_hub.errors import HfHubHTTPError

    of_transport = [kind for kind in HfHubHTTPError.__mro__ if kind.__name__ in ("HTTPError", "RequestException")]
    return (OSError, RuntimeError, ValueError, Incomplete, *of_transport)


def passes(error: BaseException) -> bool:
    """Whether another attempt may succeed: a cut connection and a busy server pass, a refusal does not."""
    for one in _causes(error):
        response = getattr(one, "response", None)
        if response is not None:
            return response.status_code in PASSING
        if isinstance(one, ValueError | FileNotFoundError | PermissionError):
            return False
    return True


def reason(error: BaseException) -> str:
    """One line on a failure, without the addresses of uploads, which are signed for whoever has them."""
    *_, last = _causes(error)
    response = getattr(last, "response", None)
    text = getattr(last, "server_message", None) or next(iter(str(last).strip().splitlines()), "")
    text = ADDRESS.sub(r"\1\2", " ".join(text.split()))
    status = f"the hub answered {response.status_code}" if response is not None else type(last).__name__
    return shortened(visible_line(f"{status}: {text}" if text else status), LONGEST)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from, up to one that has an answer of the server."""
    one: BaseException | None = error
    for _ in range(10):
        if one is None:
            return
        yield one
        if getattr(one, "response", None) is not None:
            return
        one = one.__cause__
