"""Strip the end-of-text marker from an answer, for engines that leave it in."""

END_MARKERS = ("</s>", "<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>")
"""End-of-text markers of Llama-2 and Tulu, Qwen, Llama-3 (two) and GPT."""


def without_end(answer: str, parity: bool) -> str:
    """The answer without its end: stripped as in the reference code for `parity`, else without its end marker."""
    return stripped_as_reference(answer) if parity else without_end_marker(answer)


def end_differs(answer: str) -> bool:
    """Whether the two ways to strip leave different answers."""
    return stripped_as_reference(answer) != without_end_marker(answer)


def without_end_marker(answer: str) -> str:
    """Strip one end marker, if the answer ends with one."""
    return next((answer.removesuffix(marker) for marker in END_MARKERS if answer.endswith(marker)), answer)


def stripped_as_reference(answer: str) -> str:
    """Strip like the reference code: any of the CHARACTERS <, /, s, > at both ends, so `results` loses its last s."""
    return answer.strip("</s>")
