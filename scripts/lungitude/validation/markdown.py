"""Tables in Markdown."""


def table(head, lines, left=0):
    """Return a table with right-aligned columns, of which the first `left` are left-aligned."""
    rule = [":---"] * left + ["---:"] * (len(head) - left)
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in [head, rule, *lines])
