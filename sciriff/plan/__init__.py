"""What a run would do and need, before anything starts: `make` computes it, `lines` says it."""

from sciriff.plan.page import lines
from sciriff.plan.run_plan import Plan, make

__all__ = ["Plan", "lines", "make"]
