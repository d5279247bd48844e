"""The room that a prompt has beside what follows it."""

from sciriff.run.user_error import UserError


def room_for_prompt(context: int, max_new_tokens: int, thinking: int = 0) -> int:
    """Tokens left for a prompt. UserError if thought and answer leave none."""
    room = context - max_new_tokens - thinking
    if room < 1:
        keys = f"eval.max_new_tokens={max_new_tokens}"
        keys += f" and eval.thinking_tokens={thinking} leave" if thinking else " leaves"
        raise UserError(f"{keys} no room for a prompt: the model takes {context} tokens in all")
    return room
