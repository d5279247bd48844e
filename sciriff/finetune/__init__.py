"""Fine-tune the model on the tokenised mix: RUN/mix/tokens in, RUN/model and RUN/metrics.jsonl out."""
