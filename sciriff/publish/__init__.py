"""Push a finished run to the Hugging Face hub: model, adapter or mix, with their cards and scores.

`pushed_files` says which files of a folder go there, `cards` writes their README.md, `leaks` looks through both for
secrets and places of this machine, `hub` uploads by huggingface_hub's own functions, and `check` asks before the run
whether that will work.
"""
