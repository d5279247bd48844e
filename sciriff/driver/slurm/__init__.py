"""A sweep as a Slurm job array: submit it, follow it, and find it again with the same command."""
