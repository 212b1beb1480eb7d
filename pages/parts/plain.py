"""Text that a person typed or that came in a file, shown as it is."""

from __future__ import annotations

import re

JOINER = "\u2060"  # invisible; Streamlit finds emoji, icons and web addresses even where their marks are escaped


def plain(text: str) -> str:
    """`text` for places that Streamlit reads as markdown, so that nothing in it is."""
    escaped = re.sub(r"([\\\[\]()!<>*_`$:#~|&])", r"\\\1", " ".join(text.split()))
    return re.sub(r"(:(?=\S)|@|www)", rf"\1{JOINER}", escaped, flags=re.IGNORECASE)
