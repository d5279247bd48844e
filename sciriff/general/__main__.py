"""Score the saved answers to the general tasks: lm-eval's metrics, replayed over rows. Needs no engine."""
