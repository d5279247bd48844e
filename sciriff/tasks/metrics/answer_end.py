"""Strip the end-of-text marker from an answer, for engines that leave it in."""

END_MARKERS = ("</s>", "<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>")
"""End-of-text markers of Llama-2 and Tulu, Qwen, Llama-3 (two) and GPT."""
REFERENCE_STRIPS = "</s>"


def without_end_marker(answer: str) -> str:
    """Strip one end marker, if the answer ends with one."""
    for marker in END_MARKERS:
        if answer.endswith(marker):
            return answer.removesuffix(marker)
    return answer


def stripped_as_reference(answer: str) -> str:
    """Strip like the reference code: any of the CHARACTERS <, /, s, > at both ends, so `results` loses its last s."""
    return answer.strip(REFERENCE_STRIPS)
