"""A sweep as an array in Slurm: submitted once, followed as long as somebody looks, found again by its command."""
