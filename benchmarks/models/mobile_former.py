"""Mobile-Former, 26M to 508M, with random weights (Chen et al. 2022, arXiv 2108.05895).

A convolutional network (Mobile) beside a transformer of three to six learnt tokens (Former). In
every block the tokens read the map (Mobile -> Former), attend to each other, set the dynamic ReLUs
of the block's convolutions by their first token, and are written back to the map (Former ->
Mobile). Neither bridge projects the map: it is key and value of the one, query of the other.

Sizes, head counts, the gate of the bridge to the tokens and the form of the dynamic ReLU are those
of the released code (github.com/AAboys/MobileFormer, mobile_former.py and dna_blocks.py);
stochastic depth and dropout, which do nothing at inference, are left out.

    variant  parameters (published)   multiply-adds   with normalisation (published)
    26m       3.233 M (3.2)             23.6 M          26.0 M (26)
    52m       3.469 M (3.5)             49.3 M          51.8 M (52)
    96m       4.585 M (4.6)             92.0 M          96.3 M (96)
    151m      7.596 M (7.6)            146.2 M         152.0 M (151)
    214m      9.426 M (9.4)            208.4 M         215.3 M (214)
    294m     11.423 M (11.4)           286.7 M         295.4 M (294)
    508m     13.977 M (14.0)           498.5 M         510.6 M (508)

Published: the table in the released README; the operations are also the paper's names of the
networks. Multiply-adds of convolutions, linear layers and matrix products alone fall short of the
published figures, by 2 % (508m) to 9 % (26m); with normalisation and pooling counted as fvcore
counts them (a multiply-add is one operation) all seven are within 0.7 %.
"""

from __future__ import annotations

from benchmarks.models import _variants
from benchmarks.models._mobile_former import Down, Lite, Plain, Variant, network
from profiler.types import Model

_TINY = (
    (Plain(12, 3),),
    (Down(24), Plain(24, 3)),
    (Down(48), Plain(48, 4), Plain(64, 6)),
    (Down(96), Plain(96, 6)),
)
VARIANTS = {
    "mobile_former_26m": Variant(
        stem=8,
        lite=Lite(3, 12, 2),
        stages=_TINY,
        tokens=3,
        width=128,
        features=1024,
        groups=4,
    ),
    "mobile_former_52m": Variant(
        stem=8,
        lite=Lite(3, 12, 2),
        stages=_TINY,
        tokens=3,
        width=128,
        features=1024,
    ),
    "mobile_former_96m": Variant(
        stem=12,
        lite=Lite(2, 12, 1),
        stages=(
            (Down(16),),
            (Down(32), Plain(32, 3)),
            (Down(64), Plain(64, 4), Plain(88, 6)),
            (Down(128), Plain(128, 6)),
        ),
        tokens=4,
        width=128,
        features=1280,
    ),
    "mobile_former_151m": Variant(
        stem=12,
        lite=Lite(2, 12, 1),
        stages=(
            (Down(16), Plain(16, 3)),
            (Down(32), Plain(32, 3)),
            (Down(64), Plain(64, 4), Plain(88, 6), Plain(88, 6)),
            (Down(128), Plain(128, 6), Plain(128, 6)),
        ),
        tokens=6,
        width=192,
        features=1280,
    ),
    "mobile_former_214m": Variant(
        stem=12,
        lite=Lite(2, 12, 1),
        stages=(
            (Down(20), Plain(20, 3)),
            (Down(40), Plain(40, 4)),
            (Down(80), Plain(80, 4), Plain(112, 6), Plain(112, 6)),
            (Down(160), Plain(160, 6), Plain(160, 6)),
        ),
        tokens=6,
        width=192,
        features=1600,
    ),
    "mobile_former_294m": Variant(
        stem=16,
        lite=Lite(2, 16, 1),
        stages=(
            (Down(24), Plain(24, 4)),
            (Down(48), Plain(48, 4)),
            (Down(96), Plain(96, 4), Plain(128, 6), Plain(128, 6)),
            (Down(192), Plain(192, 6), Plain(192, 6)),
        ),
        tokens=6,
        width=192,
        features=1920,
    ),
    "mobile_former_508m": Variant(
        stem=24,
        lite=Lite(2, 24, 1),
        stages=(
            (Down(40), Plain(40, 3)),
            (Down(72), Plain(72, 3)),
            (Down(128), Plain(128, 4), Plain(176, 6), Plain(176, 6)),
            (Down(240), Plain(240, 6), Plain(240, 6)),
        ),
        tokens=6,
        width=192,
        features=1920,
    ),
}


def names() -> list[str]:
    """The variants, the smallest first."""
    return list(VARIANTS)


def create(name: str, batch: int = 1) -> Model:
    """One of `names()`: input (batch, 3, 224, 224), output (batch, 1000), float32."""
    return _variants.create(VARIANTS, network, name, batch)
