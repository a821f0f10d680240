"""Tables as lines of Markdown."""


def table(head, rows):
    """Lines of a table; all columns but the first to the right.

    Args:
        head: The columns' names.
        rows: Lists of as many cells.

    Returns:
        A list of lines.
    """
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]
