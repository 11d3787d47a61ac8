"""Names are hostile: characters that print as nothing, or turn the reading direction, are shown as escapes."""

from __future__ import annotations


def visible(text: str) -> str:
    """The text with such characters as `\\u202e`; line breaks and tabs stay."""
    if text.isprintable():
        return text
    return "".join(
        each if each in "\n\t" or each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def shortened(text: str, most: int) -> str:
    """The text, its middle left out where it is longer than `most` characters."""
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    return f"{text[: most - 1 - half]}…{text[len(text) - half :]}"
