"""The tables and the plot of `add_memory.py`."""

import numpy as np

from benchmarks.add_memory_setting import DENSE
from benchmarks.add_memory_setting import DISTANCES
from benchmarks.add_memory_setting import LAYERS
from benchmarks.add_memory_setting import LONG
from benchmarks.add_memory_setting import LORA_RANK
from benchmarks.add_memory_setting import REACH
from benchmarks.add_memory_setting import READ
from benchmarks.add_memory_setting import SHORT
from benchmarks.add_memory_setting import WIDTH
from benchmarks.add_memory_setting import WINDOW
from benchmarks.add_memory_setting import edges
from benchmarks.markdown import table


def report(results, command, path):
    """The table and the plot."""
    borders = edges()
    ranges = [
        f"{a:,} to {b:,}" for a, b in zip(borders, borders[1:], strict=False)
    ]
    rows = [
        "# A memory added to a trained model",
        "",
        f"`{command}`, {results[0]['backend']}",
        "",
        f"{LAYERS} layers of width {WIDTH}, windows of {WINDOW} tokens: no "
        f"token sees further than {REACH} back without a memory. Trained on "
        f"pieces of {SHORT} tokens, then frozen; LoRA of rank {LORA_RANK}, or "
        f"memories and gates, trained on pieces of {DENSE}, then {LONG:,}; all "
        f"read pieces of {READ:,}. One seed.",
        "",
        "Facts known of those asked for, by how many tokens before they were "
        "told:",
        "",
        *table(
            [
                "model",
                "weights",
                "trained",
                *(f"to {d:,}" for d in DISTANCES[1:]),
            ],
            [
                [
                    r["variant"],
                    f"{r['weights']:,}",
                    f"{r['trained']:,}",
                    *(f"{known} of {asked}" for known, asked in r["recall"]),
                ]
                for r in results
            ],
        ),
        "",
        "Perplexity on the text, by position:",
        "",
        *table(
            ["model", *ranges],
            [
                [r["variant"], *(f"{p:.1f}" for p in r["perplexity"])]
                for r in results
            ],
        ),
        "",
        "Before it is trained, the model with memories is the base: its "
        "largest difference in perplexity is "
        f"{_difference_at_first(results):.2g}.",
    ]
    path.with_suffix(".md").write_text("\n".join(rows) + "\n")
    plot(results, path.with_suffix(".png"))
    print("\n".join(rows))


def _difference_at_first(results):
    by_name = {r["variant"]: r for r in results}
    base, memory = by_name["base"], by_name["memory"]
    pairs = zip(base["perplexity"], memory["before"]["perplexity"], strict=True)
    return max(abs(a - b) for a, b in pairs)


def plot(results, path):
    import matplotlib.pyplot as plt

    plt.style.use("tableau-colorblind10")
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, 3.8), layout="constrained"
    )
    borders = edges()
    middle = [
        np.sqrt(max(a, WINDOW / 2) * b)
        for a, b in zip(borders, borders[1:], strict=False)
    ]
    styles = ("C2o-", "C1s--", "C0^-")
    for r, style in zip(results, styles, strict=True):
        shares = [known / max(1, asked) for known, asked in r["recall"]]
        left.plot(DISTANCES[1:], shares, style, label=r["variant"])
        right.plot(middle, r["perplexity"], style, label=r["variant"])
    left.axvline(REACH, color="grey", lw=0.8)
    left.annotate("the windows' reach", (REACH * 1.1, 0.5), fontsize=8)
    left.set(
        xlabel="tokens since it was told, at most",
        title="Facts recalled",
        ylim=(-0.04, 1.04),
    )
    right.axvline(LONG, color="grey", lw=0.8)
    right.annotate(
        "longest in training",
        (LONG * 0.9, right.get_ylim()[1]),
        fontsize=8,
        ha="right",
        va="top",
    )
    right.set(xlabel="tokens read before", title="Perplexity, text")
    left.legend(frameon=False)
    for axis in (left, right):
        axis.set_xscale("log")
        axis.set_xticks(DISTANCES[1:], DISTANCES[1:])
        axis.minorticks_off()
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
