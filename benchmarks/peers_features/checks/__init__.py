"""What is asked of each package, by name and in this order.

A check is given the subject and an empty folder, and says what it saw.
"""

from benchmarks.peers_features.checks.keeping import across
from benchmarks.peers_features.checks.keeping import generation
from benchmarks.peers_features.checks.keeping import kept
from benchmarks.peers_features.checks.keeping import saving
from benchmarks.peers_features.checks.offers import contracts
from benchmarks.peers_features.checks.offers import names
from benchmarks.peers_features.checks.offers import networks
from benchmarks.peers_features.checks.offers import options
from benchmarks.peers_features.checks.offers import surprise
from benchmarks.peers_features.checks.reading import bounded
from benchmarks.peers_features.checks.reading import causality
from benchmarks.peers_features.checks.reading import padding
from benchmarks.peers_features.checks.reading import pieces
from benchmarks.peers_features.checks.reading import rows_apart
from benchmarks.peers_features.checks.training import gradients
from benchmarks.peers_features.checks.training import trained

CHECKS = (
    names,
    causality,
    rows_apart,
    padding,
    pieces,
    kept,
    across,
    surprise,
    generation,
    gradients,
    trained,
    bounded,
    saving,
    networks,
    options,
    contracts,
)
