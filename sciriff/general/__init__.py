"""General abilities beside science: lm-eval brings tasks, examples and metrics, the engines of predict answer.

requests.py writes prompts before the predict stage, __main__.py scores the saved answers after it, and check.py looks
before a run starts whether both can.
"""
