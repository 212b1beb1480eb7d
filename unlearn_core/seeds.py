"""Seeds for different purposes never collide, whatever numbers a person types."""

import hashlib


def derive(purpose: str, *parts: int | str) -> int:
    """A 48-bit seed that depends on the purpose ("original", "method", "retrained" …) and `parts`."""
    text = "/".join([purpose, *map(str, parts)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")
