"""Tables and paragraphs in Markdown."""

import textwrap

WIDTH = 100


def table(head, lines, left=0):
    """Return a table with right-aligned columns, of which the first `left` are left-aligned."""
    rule = [":---"] * left + ["---:"] * (len(head) - left)
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in [head, rule, *lines])


def wrapped(parts):
    """Join the parts of a document; its paragraphs become lines of a width that can be read."""
    paragraphs = "\n\n".join(filter(None, parts)).split("\n\n")
    return "\n\n".join(map(_filled, paragraphs)) + "\n"


def _filled(paragraph):
    if paragraph.startswith(("|", "#", "!")):  # tables, titles and figures stay as they are
        return paragraph
    return textwrap.fill(
        paragraph,
        WIDTH,
        subsequent_indent="  " if paragraph.startswith("- ") else "",
        break_long_words=False,
        break_on_hyphens=False,
    )
