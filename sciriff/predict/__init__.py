"""Let the model answer the held-out tasks: `python -m sciriff.predict RUN_DIR`.

`prompts` turns instances into token ids, `replicas` runs several engines side by side, and `saved_rows` keeps every
finished answer on disk, so that a killed stage resumes. `over_api` has a server answer instead, and `paid_answers`
keeps every answer that was paid for. `general_places` appends the prompts of the general tasks, whose answers
`general_answers` keeps.
"""
