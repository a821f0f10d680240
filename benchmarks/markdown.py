"""Tables as lines of Markdown."""


def table(head, rows, rule="---:"):
    """Lines of a table; all columns but the first to the right.

    Args:
        head: The columns' names.
        rows: Lists of as many cells.
        rule: Of all columns but the first; "---" for words, not numbers.

    Returns:
        A list of lines.
    """
    lines = [head, ["---", *[rule] * (len(head) - 1)], *rows]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]
