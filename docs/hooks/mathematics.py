"""Formulas as MathML, which browsers set themselves: no script, no network."""

import html
import re

import latex2mathml.converter

# What pymdownx.arithmatex has marked: \(in a line\) or \[on its own\].
MARKED = re.compile(
    r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL
)


def on_page_content(content, **kwargs):
    """MkDocs calls this with each page's HTML."""
    return MARKED.sub(mathml, content)


def mathml(marked):
    tag, bracket, tex = marked.groups()
    display = "inline" if bracket == "(" else "block"
    formula = latex2mathml.converter.convert(
        html.unescape(tex), display=display
    )
    if "&amp;" in formula or "\\" in formula:
        raise ValueError(f"No MathML of the formula {tex!r}: {formula}")
    return f'<{tag} class="arithmatex">{formula}</{tag}>'
