"""Make a process die with its parent, so that a killed run leaves nothing behind."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent() -> None:
    """Ask the kernel for a SIGKILL when the parent dies (Linux). torchrun starts ranks in sessions of their own, and
    without this they outlive it. A parent that died before the call is noticed by its number."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
