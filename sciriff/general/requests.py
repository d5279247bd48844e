"""Write the prompts of the general tasks for the stage that answers: `python -m sciriff.general.requests RUN`."""
