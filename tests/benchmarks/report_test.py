"""Tables hold what the lines say, and plots are drawn of it."""

import json

import pytest

from benchmarks import report_plots
from benchmarks import report_tables
from benchmarks.report import described
from benchmarks.report import report
from benchmarks.results_of import groups
from benchmarks.variants import ABLATIONS
from benchmarks.variants import BEST
from benchmarks.variants import MODELS
from benchmarks.variants import PAYING
from tests.benchmarks.made_up import experiment
from tests.benchmarks.made_up import found
from tests.benchmarks.made_up import line

VARIANT = "LMM, matrix memory"
RECALL = experiment("recall", "recall", {"pairs": 2}, MODELS, times=(1, 4))
ABLATED = experiment(
    "recall, ablations", "recall", {"pairs": 2}, MODELS, times=(1, 4)
)
NEEDLE = experiment(
    "needle, uuid", "needle", {"level": "uuid"}, MODELS, times=(1, 16)
)
TEXT = experiment("addresses", "modelling", {}, MODELS, times=(1, 16))


def lines():
    yield line(RECALL, "window", {16: found(0.25), 64: found(0.125)})
    for seed, share in enumerate((0.5, 0.75, 1.0)):
        yield line(RECALL, "LMM", {16: found(share), 64: found(0.5)}, seed)
    yield line(
        RECALL, "LMM", {16: found(0.0)}, 3, not_run={"64": "needs > 9 GiB"}
    )
    yield line(RECALL, "LMM", {}, 4, failed="ended with status -9")
    diverged = line(RECALL, "MAC", {}, diverged=6)
    del diverged["scores"]
    yield diverged
    for model, share in (("LMM", 0.75), (VARIANT, 0.5)):
        yield line(ABLATED, model, {16: found(share), 64: found(0.25)})
    depth = {"exact_match_by_depth": {"0": 0.0, "50": 1.0, "100": 0.5}}
    for model in ("MAG", "window"):
        scores = {16: found(1.0, **depth), 256: found(0.5, **depth)}
        yield line(NEEDLE, model, scores)
        bits = {"bits_per_byte": 2.5, "perplexity": 6.0}
        split = {"bits_per_byte_by_position": {"8": 3.0, "64": 2.25, "256": 0}}
        yield line(TEXT, model, {16: bits | split, 256: bits | split})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def text(folder):
    made = []
    for one in lines():
        if "failed" in one:
            del one["scores"]
        made.append(json.dumps(one))
    (folder / "quick.jsonl").write_text("\n".join(made))
    return report("quick", folder).read_text()


def row(text, title, name):
    """The cells of a row, of the table under a title."""
    part = text.split(f"\n## {title}\n")[1].split("\n## ")[0]
    (found,) = [
        row for row in part.splitlines() if row.startswith(f"| {name} |")
    ][:1]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_a_training_that_carries_states_on_is_said_to():
    of = experiment("r", "recall", {}, ("LMM",), carried=(1, 2))
    (group,) = groups([line(of, "LMM", {16: found(1.0)})])
    assert "2 rows of 16, 32 tokens, fewer of the longer" in described(group)


def test_means_spreads_and_counts(text):
    name, short, long, seeds, weights, speed, peak = row(text, "recall", "LMM")
    assert short == "56.2 \u00b1 42.7"  # 0, 1/2, 3/4 and 1
    assert long == "50.0 \u00b1 0.0"
    assert seeds == "4, 1 failed"
    assert (weights, peak) == ("1,001", "3")
    assert speed == "1.00"  # 2 steps of 2 rows of 16 tokens in 0.064 s
    assert row(text, "recall", "window")[1:4] == ["25.0", "12.5", "1"]
    missing = "\u2013"
    assert row(text, "recall", "MAC")[1:4] == [
        missing,
        missing,
        "0, 1 not finite",
    ]


def test_what_was_not_measured_says_why(text):
    part = text.split("## Not measured")[1]
    assert "recall, LMM, seed 3, at 64 tokens: needs > 9 GiB" in part
    assert "recall, LMM, seed 4: ended with status -9" in part
    assert "recall, MAC, seed 0: loss not finite by step 6" in part


def test_ablations_are_differences_to_their_base(text):
    assert row(text, "Ablations", r"**LMM**")[1:3] == ["75.0", "25.0"]
    assert row(text, "Ablations", VARIANT)[1:3] == ["50.0 (-25)", "25.0 (+0)"]


def test_splits_are_those_of_the_longest_rows(text):
    assert "| exact match by depth, at 256 | 0 | 50 | 100 |" in text
    # What would be the last is a single token of each row.
    assert "| bits per byte by position, at 256 | 8 | 64 |" in text
    assert row(text, "addresses", "MAG")[1:3] == ["2.500", "2.500"]


@pytest.mark.parametrize("classes", [16, 17])
def test_a_split_of_too_many_is_no_table(classes):
    split = {"exact_match_by_class": dict.fromkeys(map(str, range(classes)), 1)}
    one = line(RECALL, "LMM", {16: found(1.0, **split)})
    table = report_tables.by_group(groups([one]), "exact_match_by_class")
    assert len(table) == (3 if classes == 16 else 0)


def test_aims_are_in_the_report(text):
    part = text.split("## Aims")[1].split("\n## ")[0]
    assert part.count("- **not measured**: ") == 4


def test_plots_are_written(text, folder):
    plots = {path.stem for path in folder.glob("*.png")}
    assert plots == {
        "quick_recall",
        "quick_needle_uuid",
        "quick_needle_uuid_depth",
        "quick_addresses",
        "quick_addresses_position",
    }
    for name in plots:
        assert f"]({name}.png)" in text


def test_every_model_has_a_look_of_its_own():
    main = set(MODELS) - set(ABLATIONS) | {BEST, PAYING}
    assert set(report_plots.LOOKS) == main
    looks = list(report_plots.LOOKS.values())
    for of in zip(*looks):
        assert len(set(of)) == len(looks)


def test_without_lines_it_says_what_to_run(tmp_path):
    with pytest.raises(SystemExit, match="benchmarks.run --suite full"):
        report("full", tmp_path)
