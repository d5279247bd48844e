"""What a run would do and need, before anything starts: `make` computes it, `lines` formats it."""

from sciriff.driver.plan.printed_plan import lines
from sciriff.driver.plan.run_plan import Plan, make

__all__ = ["Plan", "lines", "make"]
