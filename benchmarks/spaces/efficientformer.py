"""EfficientFormer's search space (Li et al. 2022, section 4.2): widths, depths, MB3D suffix.

An architecture is written `48-96-224-448/3-2-6-4/1`: four widths, four depths, and how many of
the last blocks are MB3D. A row of the table is a key such as `mb4d/56/48` (family, resolution,
channels); an architecture reads the rows in the order in which its blocks follow one another.

The envelope is that of the three released networks, widths in steps of 16 (the step that the
paper's search takes). MB3D may reach from the fourth stage into the third, as in the paper's
supernet; tokens are then folded back before the last embedding.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from profiler.errors import BadArchitecture, UnknownName
from profiler.types import Workload

DESCRIPTION = "EfficientFormer (V1): widths, depths and the number of MB3D blocks"
STEP = 16
RESOLUTIONS = (56, 28, 14, 7)
WIDTHS = ((16, 96), (32, 192), (64, 384), (128, 768))
DEPTHS = ((1, 6), (1, 6), (1, 18), (1, 8))
MAX_MB3D = 8
# Pairs of these widths span the embeddings; the released networks' own pairs are among them. The
# others are multiples of 32: convolutions to odd multiples of 16 are slower than their neighbours
# on many engines, and a bad base to interpolate from.
KNOTS = (
    (16, 32, 48, 64, 96),
    (32, 64, 96, 128, 192),
    (64, 128, 224, 320, 384),
    (128, 256, 448, 512, 768),
)
NAMED = {
    "l1": "48-96-224-448/3-2-6-4/1",
    "l3": "64-128-320-512/4-4-12-6/4",
    "l7": "96-192-384-768/6-6-18-8/8",
}
FAMILIES = (
    "stem",
    "embedding",
    "embedding_from_tokens",
    "mb4d",
    "flat",
    "mb3d",
    "head",
    "anchor",
    "nothing",
)
PATTERN = re.compile(r"(\d+)-(\d+)-(\d+)-(\d+)/(\d+)-(\d+)-(\d+)-(\d+)/(\d+)")


@dataclass(frozen=True, slots=True)
class Architecture:
    """One network of the space."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    mb3d: int

    def __str__(self) -> str:
        widths, depths = ("-".join(map(str, v)) for v in (self.widths, self.depths))
        return f"{widths}/{depths}/{self.mb3d}"


@dataclass(frozen=True, slots=True)
class Chain:
    """Blocks to measure in a row. `scaffold` names the constant part of its latency: chains that
    share it differ only by the rows in `counted`. A `cold` chain is timed with caches emptied, as
    a network's own weights would empty them; chains without weights to speak of are not."""

    blocks: tuple[str, ...]
    scaffold: str
    counted: tuple[str, ...]
    cold: bool = True


@dataclass(frozen=True, slots=True)
class Grid:
    """Which widths of each stage are measured; `knots` span the pairs of embeddings."""

    widths: tuple[tuple[int, ...], ...]
    knots: tuple[tuple[int, ...], ...]
    tokens_in_third_stage: bool = True


def parse(text: str) -> Architecture:
    """An architecture from its name or its written form. Raises BadArchitecture."""
    written = NAMED.get(text.lower().removeprefix("efficientformer_"), text)
    match = PATTERN.fullmatch(written.strip())
    if not match:
        raise BadArchitecture(
            f"{text!r} is not an architecture of efficientformer: write "
            f"widths/depths/MB3D as in {NAMED['l1']}, or one of {', '.join(NAMED)}"
        )
    numbers = [int(v) for v in match.groups()]
    architecture = Architecture(tuple(numbers[:4]), tuple(numbers[4:8]), numbers[8])
    _validate(architecture)
    return architecture


def _validate(architecture: Architecture) -> None:
    for stage in range(4):
        width, depth = architecture.widths[stage], architecture.depths[stage]
        low, high = WIDTHS[stage]
        if width % STEP or not low <= width <= high:
            raise BadArchitecture(
                f"{architecture}: width {width} of stage {stage + 1} is not a multiple of {STEP} "
                f"from {low} to {high}"
            )
        low, high = DEPTHS[stage]
        if not low <= depth <= high:
            raise BadArchitecture(
                f"{architecture}: depth {depth} of stage {stage + 1} is not from {low} to {high}"
            )
    limit = min(MAX_MB3D, architecture.depths[2] + architecture.depths[3])
    if not 1 <= architecture.mb3d <= limit:
        raise BadArchitecture(
            f"{architecture}: {architecture.mb3d} MB3D blocks, this depth takes 1 to {limit}"
        )


def widths(stage: int) -> tuple[int, ...]:
    """All widths of a stage (0 to 3)."""
    low, high = WIDTHS[stage]
    return tuple(range(low, high + 1, STEP))


def draw(
    generator: random.Random, count: int, largest: Architecture | None = None
) -> list[Architecture]:
    """Random architectures, uniform over widths, depths and MB3D blocks.

    `largest` bounds every width and depth from above, every depth by half of its own from
    below, and keeps MB3D within the fourth stage.
    """
    found: list[Architecture] = []
    while len(found) < count:
        chosen = []
        depths = []
        for stage in range(4):
            top = largest.widths[stage] if largest else WIDTHS[stage][1]
            chosen.append(generator.choice([w for w in widths(stage) if w <= top]))
            low, high = DEPTHS[stage]
            if largest:
                low, high = -(-largest.depths[stage] // 2), largest.depths[stage]
            depths.append(generator.randint(low, high))
        limit = depths[3] if largest else min(MAX_MB3D, depths[2] + depths[3])
        candidate = Architecture(tuple(chosen), tuple(depths), generator.randint(1, limit))
        if candidate not in found:
            found.append(candidate)
    return found


def rows(architecture: Architecture) -> tuple[str, ...]:
    """The keys of an architecture's blocks, in order, one for each occurrence."""
    _validate(architecture)
    chosen = architecture.widths
    blocks = [f"stem/{chosen[0]}"]
    first_mb3d = sum(architecture.depths) - architecture.mb3d
    done = 0
    for stage, resolution in enumerate(RESOLUTIONS):
        width = chosen[stage]
        if stage:
            tokens = done > first_mb3d
            family = "embedding_from_tokens" if tokens else "embedding"
            blocks.append(f"{family}/{resolution}/{chosen[stage - 1]}-{width}")
        in_tokens = False
        for _ in range(architecture.depths[stage]):
            if done >= first_mb3d:
                if not in_tokens:
                    blocks.append(f"flat/{resolution}/{width}")
                    in_tokens = True
                blocks.append(f"mb3d/{resolution**2}/{width}")
            else:
                blocks.append(f"mb4d/{resolution}/{width}")
            done += 1
    return (*blocks, f"head/{chosen[3]}")


def keys() -> list[str]:
    """Every row that some architecture of the space reads."""
    found = [f"stem/{w}" for w in widths(0)]
    for stage, resolution in enumerate(RESOLUTIONS):
        if stage:
            pairs = [(a, b) for a in widths(stage - 1) for b in widths(stage)]
            found += [f"embedding/{resolution}/{a}-{b}" for a, b in pairs]
            if stage == 3:
                found += [f"embedding_from_tokens/{resolution}/{a}-{b}" for a, b in pairs]
        found += [f"mb4d/{resolution}/{w}" for w in widths(stage)]
        if stage >= 2:
            found += [f"flat/{resolution}/{w}" for w in widths(stage)]
            found += [f"mb3d/{resolution**2}/{w}" for w in widths(stage)]
    return found + [f"head/{w}" for w in widths(3)]


def workload(key: str) -> Workload:
    """The block behind a key. Raises UnknownName on a key of another form."""
    family, *rest = key.split("/")
    builder = f"benchmarks.blocks.efficientformer:{family}"
    numbers = [int(v) for part in rest for v in part.split("-")]
    if family in ("stem", "head"):
        parameters = {"channels": numbers[0]}
    elif family in ("embedding", "embedding_from_tokens"):
        names = ("resolution", "channels_in", "channels_out")
        parameters = dict(zip(names, numbers, strict=True))
    elif family in ("mb4d", "flat", "anchor"):
        parameters = {"resolution": numbers[0], "channels": numbers[1]}
    elif family == "mb3d":
        parameters = {"tokens": numbers[0], "channels": numbers[1]}
    elif family == "nothing":
        parameters = {}
    else:
        raise UnknownName("block of efficientformer", family, FAMILIES)
    return Workload(builder, parameters, key)


def network(name: str) -> Workload | None:
    """The real network behind a released architecture, however it is written: timm's."""
    written = str(parse(name))
    short = next((n for n, text in NAMED.items() if text == written), None)
    if short is None:
        return None
    full = f"efficientformer_{short}"
    return Workload("benchmarks.models.timm:create", {"name": full, "batch": 1}, full)


def full_grid(every: int = 1) -> Grid:
    """Every width, or every so many of each stage and the knots."""
    chosen = tuple(tuple(sorted({*widths(s)[::every], *KNOTS[s]})) for s in range(4))
    return Grid(chosen, KNOTS)


def reduced_grid(largest: Architecture) -> Grid:
    """Widths up to those of a network, every one of narrow stages, every second of wide ones."""
    chosen, knots = [], []
    for stage in range(4):
        usable = [w for w in widths(stage) if w <= largest.widths[stage]]
        own = tuple(sorted({k for k in KNOTS[stage] if k in usable} | {usable[-1]}))
        step = 1 if stage < 2 else 2
        chosen.append(tuple(sorted({*usable[::-step], *own})))
        knots.append(own)
    return Grid(tuple(chosen), tuple(knots), tokens_in_third_stage=False)


def chains(grid: Grid) -> list[Chain]:
    """What to measure so that every row of the grid follows from differences.

    Blocks that keep their shape: one and four of them behind an anchor, the slope is the row.
    Blocks that change it: what a chain with them takes beyond one without.
    """
    found = [Chain(("nothing",), "overhead", (), cold=False)]
    for stage, resolution in enumerate(RESOLUTIONS):
        for width in grid.widths[stage]:
            found += _slope(("anchor",), "mb4d", resolution, resolution, width)
    third = 2 if grid.tokens_in_third_stage else 3
    for stage in range(third, 4):
        resolution = RESOLUTIONS[stage]
        for width in grid.widths[stage]:
            found += _slope(("anchor", "flat"), "mb3d", resolution, resolution**2, width)
    found += _ends(grid, third)
    for stage in range(1, 4):
        found += _embeddings(grid, stage)
    return found


def _slope(
    front: tuple[str, ...], family: str, resolution: int, size: int, width: int
) -> list[Chain]:
    opening = tuple(f"{f}/{resolution}/{width}" for f in front)
    block = f"{family}/{size}/{width}"
    scaffold = f"{'+'.join(front)}/{resolution}/{width}"
    return [Chain((*opening, *(block,) * k), scaffold, (block,) * k) for k in (1, 4)]


def _ends(grid: Grid, third: int) -> list[Chain]:
    found = []
    for width in grid.widths[0]:
        blocks = (f"stem/{width}", f"mb4d/56/{width}")
        found.append(Chain(blocks, "overhead", blocks, cold=False))
    for stage in range(third, 4):
        for width in grid.knots[stage]:
            place = f"{RESOLUTIONS[stage]}/{width}"
            anchor, flat = f"anchor/{place}", f"flat/{place}"
            found.append(Chain((anchor,), anchor + "/alone", (), cold=False))
            found.append(Chain((anchor, flat), anchor + "/alone", (flat,), cold=False))
    for width in grid.knots[3]:
        tail = (f"mb3d/49/{width}", f"head/{width}")
        front = (f"anchor/7/{width}", f"flat/7/{width}")
        found.append(Chain((*front, *tail), f"anchor+flat/7/{width}", tail))
    return found


def _embeddings(grid: Grid, stage: int) -> list[Chain]:
    found = []
    before, after = RESOLUTIONS[stage - 1], RESOLUTIONS[stage]
    for a in grid.knots[stage - 1]:
        for b in grid.knots[stage]:
            tail = (f"embedding/{after}/{a}-{b}", f"mb4d/{after}/{b}")
            counted = (f"mb4d/{before}/{a}", *tail)
            front = f"anchor/{before}/{a}"
            found.append(Chain((front, *counted), front, counted))
            # A row that few architectures read: every second knot spans it.
            sparse = a in grid.knots[2][::2] and b in grid.knots[3][::2]
            if stage == 3 and grid.tokens_in_third_stage and sparse:
                tail = (f"embedding_from_tokens/{after}/{a}-{b}", f"mb4d/{after}/{b}")
                counted = (f"mb3d/{before**2}/{a}", *tail)
                front = f"{before}/{a}"
                blocks = (f"anchor/{front}", f"flat/{front}", *counted)
                found.append(Chain(blocks, f"anchor+flat/{front}", counted))
    return found
