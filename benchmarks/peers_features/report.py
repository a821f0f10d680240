"""The table and the notes around it, from the raw lines."""

import json

from benchmarks.markdown import table
from benchmarks.peers_features.rows import ROWS
from benchmarks.peers_features.rows import cell

NOTES = """\
Tiny models with random weights, in float32: width 32, two heads, chunks of 16,
sequences of 48 tokens but where others are named.

- Later tokens are changed, and neighbours in the batch, and the largest change
  of what stands before or beside them is compared with rounding.
- Padding: 16 tokens that are masked, in front of 48, amid them and behind
  them, against the 48 alone. The memory alone is asked, and so for pieces
  (of 16; of 20, 1, 1 and 26), the file, gradients and Adam.
- A cache: 8 tokens behind each of four prompts of 5 to 41 tokens, one at a
  time, against all of the text at once. Percents are of the largest logit.
- A step of Adam: `torch.optim.Adam`, or Keras'. Heads that start alike are
  `per_head_learned_parameters=False`; what failed without is in the raw lines.
- A model in a file: saved and loaded by the package's own means; does it give
  the same outputs?
- Without a GPU, flash-linear-attention's kernels are interpreted, which those
  that train do not bear.
"""


def report(output):
    with open(output + ".jsonl", encoding="utf-8") as file:
        _, *lines = (json.loads(line) for line in file)
    tried, untried = {}, []
    for line in lines:
        if "not tried" in line:
            untried.append(f"- {line['name']}: {line['not tried']}.")
        else:
            tried.setdefault(line["name"], []).append(line)
    text = [
        "# What other packages for the same do",
        "",
        "`python -m benchmarks.peers_features`",
        "",
        *NOTES.splitlines(),
        "",
        *table(
            ["", *tried],
            [[row, *(cell(row, e) for e in tried.values())] for row in ROWS],
            rule="---",
        ),
        "",
        *untried,
        *("- " + tried_with(name, tried[name]) for name in tried),
    ]
    with open(output + ".md", "w", encoding="utf-8") as file:
        file.write("\n".join(text) + "\n")
    print("\n".join(text))


def tried_with(name, entries):
    """Which versions a package was tried with."""
    found = {"Python": entries[0]["python"]}
    for seen in entries:
        found |= seen["with"]
    return f"{name}: " + ", ".join(f"{n} {v}" for n, v in found.items())
