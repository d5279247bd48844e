"""Fine-tune language models on SciRIFF and Tulu-V2, and score them on the nine held-out SciRIFF tasks."""

__version__ = "0.1.0"
