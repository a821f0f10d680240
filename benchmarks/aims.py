"""What Titans are to show, and whether a suite's lines show it.

    for aim in aims(groups(lines)):
        print(aim.title, aim.verdict, aim.why)

A verdict is computed from means over seeds. Where a model or a length that the
aim speaks of has no score, it is not measured, whatever the others say.
"""

from typing import NamedTuple

from benchmarks.variants import BASELINES
from benchmarks.variants import MODELS
from benchmarks.variants import TITANS

REACHED, MISSED, NOT_MEASURED = "reached", "missed", "not measured"
# The levels of needles, and the prose of each: one that has few numbers.
LEVELS = {"passkey": None, "number": "novels", "uuid": "novels"}
FOUND, NOT_FOUND = 0.95, 0.5
BETTER = 1.25
# Titans and their variants.
OURS = tuple(name for name, one in MODELS.items() if one.mixer in TITANS)


class Aim(NamedTuple):
    title: str
    verdict: str
    why: str


class Missing(Exception):
    """A score that an aim needs and the lines do not have."""


def aims(found):
    """The four aims, from a list of `Group`."""
    return [
        judged(title, check, found)
        for title, check in (
            (
                "Needle, 16 training lengths: at least 95 % for one of "
                f"{', '.join(TITANS)} or a variant of theirs on all three "
                "levels, below 50 % for mamba-2 and window",
                needle,
            ),
            (
                "Language modelling: perplexity below the transformer's and "
                "mamba-2's at every length, by a gap in bits per byte that "
                "is larger at the end of the longest row than at the end of "
                "the training length",
                perplexity,
            ),
            (
                "Facts in novels: 25 % more right answers than the best "
                "baseline, over the lengths beyond training's",
                facts,
            ),
            (
                "Long documents: 25 % more right answers than the best "
                "baseline, over the lengths beyond training's, to each of "
                "the questions about addresses that were asked",
                documents,
            ),
        )
    ]


def judged(title, check, found):
    try:
        reached, why = check(found)
    except Missing as missing:
        return Aim(title, NOT_MEASURED, f"No score of {missing}")
    return Aim(title, REACHED if reached else MISSED, why)


def chosen(found, task, names, also=(), **options):
    """`{model: group}` of the one experiment with a task and its options.

    All of `names` must be there, and one of `OURS` at least; those of `also`
    may.
    """
    models = {}
    for group in found:
        of = group.configuration
        if of["task"] != task or group.model not in (*OURS, *names, *also):
            continue
        has = of["options"]
        if all(has.get(name) == value for name, value in options.items()):
            if not _stands_apart(group):
                models.setdefault(group.model, group)
    given = [str(value) for value in options.values() if value is not None]
    what = ", ".join([task, *given])
    missing = [name for name in names if name not in models]
    if not any(name in models for name in OURS):
        missing.insert(0, " or ".join(TITANS))
    if missing:
        raise Missing(f"{', '.join(missing)} on {what}")
    return models


def _stands_apart(group):
    """Ablations, and what was trained with states carried on."""
    carried = "carried" in group.configuration
    return carried or group.experiment.endswith("ablations")


def mean(group, metric, length):
    value = group.mean(metric, length)
    if value is None:
        raise Missing(f"{group.model} on {group.experiment} at {length:,}")
    return value


def sixteenfold(group, needed):
    of = "exact_match", 16 * group.configuration["length"]
    return mean(group, *of) if needed else group.mean(*of)


def needle(found):
    shares = {}
    for level, prose in LEVELS.items():
        models = chosen(
            found,
            "needle",
            ("mamba-2", "window"),
            also=("transformer",),
            level=level,
            prose=prose,
        )
        for name, group in models.items():
            share = sixteenfold(group, needed=name != "transformer")
            shares.setdefault(name, []).append(share)
    titans = [name for name in OURS if len(shares.get(name, ())) == len(LEVELS)]
    if not titans:
        raise Missing(f"one of {' or '.join(TITANS)} on all levels of needle")
    best = max(titans, key=lambda name: min(shares[name]))
    others = {name: shares[name] for name in ("mamba-2", "window")}
    reached = min(shares[best]) >= FOUND and all(
        value < NOT_FOUND for values in others.values() for value in values
    )
    shown = {best: shares[best], **others}
    # Full attention has all of the text before it: shown beside, no rival.
    full = shares.get("transformer", ())
    if len(full) == len(LEVELS) and None not in full:
        shown["transformer"] = full
    return reached, "; ".join(
        f"{name} " + ", ".join(f"{100 * value:.1f} %" for value in values)
        for name, values in shown.items()
    ) + f" ({', '.join(LEVELS)})"


def perplexity(found):
    names = "transformer", "mamba-2"
    models = chosen(found, "modelling", names, prose=None)
    baselines = [models.pop(name) for name in names]
    checked = {
        name: [_ahead(group, baseline) for baseline in baselines]
        for name, group in models.items()
    }
    lengths = baselines[0].lengths
    best = max(
        checked,
        key=lambda name: (
            sum(map(sum, checked[name])),
            -mean(models[name], "perplexity", lengths[-1]),
        ),
    )
    parts = []
    for baseline, (below, grows) in zip(baselines, checked[best]):
        at = [_gap(models[best], baseline, end) for end in _ends(baseline)]
        parts.append(
            f"{best} {'below' if below else 'not below'} {baseline.model} at "
            f"{lengths[0]:,} to {lengths[-1]:,} tokens, gap "
            f"{'grows' if grows else 'does not grow'}: {at[0]:+.3f} to "
            f"{at[1]:+.3f} bits per byte"
        )
    return all(map(all, checked[best])), "; ".join(parts)


def _ahead(group, baseline):
    """Whether the perplexity is below, and whether the gap grows."""
    below = all(
        mean(group, "perplexity", length) < mean(baseline, "perplexity", length)
        for length in baseline.lengths
    )
    early, late = (_gap(group, baseline, end) for end in _ends(baseline))
    return below, late > max(early, 0.0)


def _ends(group):
    """The octaves of position that end the training length and the row."""
    length, longest = group.lengths[0], group.lengths[-1]
    return octave_before(length), octave_before(longest)


def octave_before(length):
    """The greatest power of two below a length."""
    return 1 << ((length - 1).bit_length() - 1)


def _gap(group, baseline, octave):
    """Bits per byte that the baseline needs more, at a range of positions."""
    of = ("bits_per_byte_by_position", octave)
    longest = baseline.lengths[-1]
    return mean(baseline, of, longest) - mean(group, of, longest)


def facts(found):
    return _all_ahead(
        (
            f"{number} fact{'s' * (number > 1)}",
            _answering(found, "stories", prose="novels", num_facts=number),
        )
        for number in (1, 2, 3)
    )


def documents(found):
    asked = {
        group.configuration["options"]["question"]
        for group in found
        if group.configuration["task"] == "addresses"
    }
    if not asked:
        raise Missing("any question about addresses")
    return _all_ahead(
        (question, _answering(found, "addresses", question=question))
        for question in sorted(asked)
    )


def _answering(found, task, **options):
    names = "transformer", "mamba-2"
    return chosen(found, task, names, also=BASELINES, **options)


def _all_ahead(experiments):
    """Whether the best of ours is `BETTER` beyond the training length.

    Args:
        experiments: Pairs of a name and `{model: group}`.
    """
    parts, reached = [], True
    for what, models in experiments:
        beyond = {
            name: sum(scores) / len(scores)
            for name, group in models.items()
            if (
                scores := [
                    mean(group, "exact_match", length)
                    for length in group.lengths[1:]
                ]
            )
        }
        ours, theirs = (
            max((n for n in names if n in beyond), key=beyond.get)
            for names in (OURS, BASELINES)
        )
        reached &= beyond[ours] > 0 and beyond[ours] >= BETTER * beyond[theirs]
        parts.append(
            f"{what}: {ours} {100 * beyond[ours]:.1f} %, {theirs} "
            f"{100 * beyond[theirs]:.1f} %"
        )
    return reached, "; ".join(parts)
