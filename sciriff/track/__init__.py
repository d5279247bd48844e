"""Copy a run's metrics, scores and files to Weights & Biases or TensorBoard; no other package talks to either.

The run folder is the record and a tracker only a copy of it, so a failed or interrupted copy is made again from the
files. `copying` reads them and sends them to a sink: `wandb_sink` or `tensorboard_sink`. During a run the driver starts
`python -m sciriff.track RUN_DIR --follow` as a child process.
"""
