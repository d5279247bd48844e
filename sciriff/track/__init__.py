"""Copy a run's metrics, scores and files to Weights & Biases, MLflow, Trackio or TensorBoard; nothing else does.

The run folder is the record and a tracker only a copy of it, so a failed or interrupted copy is made again from the
files. `copying` reads them and sends them to a sink, such as `wandb_sink`. During a run the driver starts
`python -m sciriff.track RUN_DIR --follow` as a child process.
"""
