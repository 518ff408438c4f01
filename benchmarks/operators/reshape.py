"""Round trips between maps and tokens (EfficientFormer, section 3), at each stage of its L1.

All alternatives are two products of equal size with GELU between them; they differ in where the
features are a map, and where tokens.
"""

from __future__ import annotations

from benchmarks.operators import axes
from benchmarks.operators._units import around, normalized, on_map, on_tokens, to_map, to_tokens
from profiler.types import Model

# Width and side of the stages of EfficientFormer-L1.
STAGES = {1: (48, 56), 2: (96, 28), 3: (224, 14), 4: (448, 7)}


@axes(stage=(1, 2, 3, 4))
def consistent_map(stage: int) -> Model:
    """A map all along: 1x1 convolutions with norm. (1, C, r, r) to the same, float32."""
    from torch import nn

    channels, side = STAGES[stage]
    layers = (normalized(channels, channels), nn.GELU(), normalized(channels, channels))
    return on_map(nn.Sequential(*layers), channels, side)


@axes(stage=(1, 2, 3, 4))
def consistent_tokens(stage: int) -> Model:
    """Tokens all along: linear layers. (1, r*r, C) to the same, float32."""
    from torch import nn

    channels, side = STAGES[stage]
    layers = (nn.Linear(channels, channels), nn.GELU(), nn.Linear(channels, channels))
    return on_tokens(nn.Sequential(*layers), channels, side**2)


@axes(stage=(1, 2, 3, 4))
def round_trip(stage: int) -> Model:
    """A map that becomes tokens for the second product, and a map again: no compiler can skip it.

    (1, C, r, r) to the same, float32.
    """
    from torch import nn

    channels, side = STAGES[stage]
    before = (normalized(channels, channels), nn.GELU())
    there_and_back = (to_tokens(), nn.Linear(channels, channels), to_map(side))
    return on_map(nn.Sequential(*before, *there_and_back), channels, side)


@axes(stage=(1, 2, 3, 4))
def idle_round_trip(stage: int) -> Model:
    """A map that becomes tokens and a map again, nothing in between: a compiler could skip it."""
    from torch import nn

    channels, side = STAGES[stage]
    before = (normalized(channels, channels), nn.GELU())
    trip = nn.Sequential(to_tokens(), to_map(side))
    return on_map(around(trip, before, [normalized(channels, channels)]), channels, side)
