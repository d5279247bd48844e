"""The judge stage: a model rates the answers of the two tasks that no formula can score.

access.py says what a configured judge needs and costs, prompts.py what it is asked (the wording is in the .txt files),
recorded.py reads responses that were saved before. `python -m sciriff.judge RUN_DIR` is the stage.
"""
