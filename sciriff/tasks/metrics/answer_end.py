"""Take the end-of-text marker off an answer, for engines that leave it in."""

END_MARKERS = ("</s>", "<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>")
"""What the model families write after an answer: Llama-2 and Tulu, Qwen, Llama-3 (two), GPT."""
REFERENCE_STRIPS = "</s>"


def without_end_marker(answer: str) -> str:
    """The answer without the one marker that it ends with, if it does."""
    for marker in END_MARKERS:
        if answer.endswith(marker):
            return answer.removesuffix(marker)
    return answer


def stripped_as_reference(answer: str) -> str:
    """With a trap of the reference: any of the four CHARACTERS < / s > goes from both ends, the s of `results` too."""
    return answer.strip(REFERENCE_STRIPS)
