"""Let the model answer the held-out tasks: `python -m sciriff.predict RUN_DIR`.

`prompts` makes of the instances the token ids that training saw, `engines` has the model answer them, `replicas` has
several do so side by side, and `saved_rows` keeps every finished answer on disk, so that a killed stage goes on from
there.
`over_api` has a server answer the prompts' texts instead, and `paid_answers` keeps what it was paid for.
"""
