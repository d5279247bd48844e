"""Copy a run's metrics, scores and files to Weights & Biases or TensorBoard; no other package talks to either.

The run folder is the record and a tracker is a copy of it, so a copy that failed or was cut short is made again from
the files. `copying` reads them, and a sink takes what was read: `wandb_sink` or `tensorboard_sink`. The driver has a
child for it, `python -m sciriff.track RUN_DIR --follow`.
"""
