"""How large the networks are that a chain stands for, so that it is timed as within one of them.

What a block takes depends on how much else has run since: the more, the further away are its
weights and the pages that they lie on. A row that only large networks have is therefore timed among
more than one of small networks (docs/METHOD.md has the figures).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from profiler.statistics import median
from profiler.tables.interpolation import Interpolation
from profiler.tables.plan import Chain

# The weights of EfficientFormer-L1, 12.3 million: a network where nothing is known of networks.
NETWORK_BYTES = 49_000_000


def within(
    chains: Mapping[str, Chain], networks: Sequence[Sequence[str]], sizes_bytes: Mapping[str, int]
) -> dict[str, int]:
    """The bytes of the network within which each chain is to be timed, by the chain's name.

    `networks` are the rows of networks drawn at random, `sizes_bytes` those of known rows. Where a
    format has no sizes of single rows, all are timed within networks of NETWORK_BYTES.
    """
    typical = _typical(networks, sizes_bytes)
    middle = median(list(typical.values())) if typical else float(NETWORK_BYTES)
    found = {}
    for name, chain in chains.items():
        if chain.inside:
            known = [typical[k] for k in set(chain.counted) if k in typical]
            found[name] = rounded(median(known) if known else middle)
    return found


def rounded(size_bytes: float) -> int:
    """A power of the square root of two, so that builds that draw other networks share rounds."""
    return round(2 ** (round(2 * math.log2(max(1.0, size_bytes))) / 2))


def _typical(networks: Iterable[Sequence[str]], sizes_bytes: Mapping[str, int]) -> dict[str, float]:
    """The middle size of the networks in which a row occurs, by row."""
    known = Interpolation({k: float(max(1, v)) for k, v in sizes_bytes.items()})
    cache: dict[str, float] = {}

    def size(key: str) -> float:
        if key not in cache:
            cache[key] = float(sizes_bytes.get(key) or known.at(key) or 0.0)
        return cache[key]

    if not sizes_bytes:
        return {}
    found: dict[str, list[float]] = {}
    for rows in networks:
        total = sum(size(k) for k in rows)
        for key in set(rows):
            found.setdefault(key, []).append(total)
    return {k: median(v) for k, v in found.items()}
