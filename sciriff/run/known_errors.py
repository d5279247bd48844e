"""Errors of other packages that are known by their text alone, and the versions in which each was seen."""

OPTUNA_STOPPED_A_STUDY = "Study.stop"
"""RuntimeError of hydra-optuna-sweeper 1.3 after the last job of a grid has failed; all other jobs have ended then."""
