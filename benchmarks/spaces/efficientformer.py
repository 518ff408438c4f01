"""EfficientFormer's search space (Li et al. 2022, section 4.2): widths, depths, MB3D suffix.

An architecture is written `48-96-224-448/3-2-6-4/1`: four widths, four depths, and how many of
the last blocks are MB3D. The envelope is that of the three released networks, widths in steps of
16 (the step that the paper's search takes). MB3D may reach from the fourth stage into the third,
as in the paper's supernet; tokens are then folded back before the last embedding.
"""

from __future__ import annotations

from collections.abc import Mapping

from profiler.errors import UnknownName
from profiler.spaces import Block, Part, Space, Value
from profiler.types import Workload

DESCRIPTION = "EfficientFormer (V1): widths, depths and the number of MB3D blocks"
RESOLUTIONS = (56, 28, 14, 7)
NAMED = {
    "l1": "48-96-224-448/3-2-6-4/1",
    "l3": "64-128-320-512/4-4-12-6/4",
    "l7": "96-192-384-768/6-6-18-8/8",
}
FAMILIES = ("stem", "embedding", "embedding_from_tokens", "mb4d", "flat", "mb3d", "head")
BLOCKS = "benchmarks.blocks.efficientformer"


def _stem(width: int) -> list[str]:
    return [f"stem/{width}"]


def _early(stage: int) -> Part:
    place = RESOLUTIONS[stage]

    def rows(width: int, depth: int) -> list[str]:
        return [f"mb4d/{place}/{width}"] * depth

    return Part((f"widths{stage + 1}", f"depths{stage + 1}"), rows)


def _embedding(stage: int) -> Part:
    place = RESOLUTIONS[stage]

    def rows(before: int, after: int) -> list[str]:
        return [f"embedding/{place}/{before}-{after}"]

    return Part((f"widths{stage}", f"widths{stage + 1}"), rows)


def _third(width: int, depth: int, later: int, mb3d: int) -> list[str]:
    return _mixed(2, width, depth, max(0, mb3d - later))


def _last_embedding(before: int, after: int, later: int, mb3d: int) -> list[str]:
    family = "embedding_from_tokens" if mb3d > later else "embedding"
    return [f"{family}/7/{before}-{after}"]


def _fourth(width: int, depth: int, mb3d: int) -> list[str]:
    return _mixed(3, width, depth, min(mb3d, depth))


def _mixed(stage: int, width: int, depth: int, mb3d: int) -> list[str]:
    place = RESOLUTIONS[stage]
    if mb3d > depth:
        return []
    tokens = [f"flat/{place}/{width}"] + [f"mb3d/{place**2}/{width}"] * mb3d
    return [f"mb4d/{place}/{width}"] * (depth - mb3d) + (tokens if mb3d else [])


def _head(width: int) -> list[str]:
    return [f"head/{width}"]


def _fault(values: Mapping[str, Value]) -> str | None:
    limit = values["depths3"] + values["depths4"]
    if values["mb3d"] > limit:
        return f"mb3d is {values['mb3d']}, these depths take at most {limit}"
    return None


def block(key: str) -> Block:
    """The block behind a row. Raises UnknownName on a key of another form."""
    family, *rest = key.split("/")
    numbers = [int(v) for part in rest for v in part.split("-")] if family in FAMILIES else []
    if family == "stem" and len(numbers) == 1:
        (width,) = numbers
        return _block(key, {"channels": width}, (3, 224, 224), (width, 56, 56))
    if family == "head" and len(numbers) == 1:
        (width,) = numbers
        return _block(key, {"channels": width}, (49, width), (1000,))
    if family in ("embedding", "embedding_from_tokens") and len(numbers) == 3:
        place, before, after = numbers
        names = {"resolution": place, "channels_in": before, "channels_out": after}
        from_map = family == "embedding"
        takes = (before, 2 * place, 2 * place) if from_map else (4 * place**2, before)
        return _block(key, names, takes, (after, place, place))
    if family in ("mb4d", "flat") and len(numbers) == 2:
        place, width = numbers
        shape = (width, place, place)
        gives = shape if family == "mb4d" else (place**2, width)
        return _block(key, {"resolution": place, "channels": width}, shape, gives)
    if family == "mb3d" and len(numbers) == 2:
        tokens, width = numbers
        return _block(key, {"tokens": tokens, "channels": width}, (tokens, width), (tokens, width))
    raise UnknownName("block of efficientformer", key, FAMILIES)


def _block(
    key: str, parameters: Mapping[str, int], takes: tuple[int, ...], gives: tuple[int, ...]
) -> Block:
    workload = Workload(f"{BLOCKS}:{key.partition('/')[0]}", parameters, key)
    return Block(workload, (takes,), (gives,))


def network(text: str) -> Workload | None:
    """The real network behind a released architecture, however it is written: timm's."""
    written = SPACE.text(SPACE.parse(text))
    short = next((n for n, named in NAMED.items() if named == written), None)
    if short is None:
        return None
    full = f"efficientformer_{short}"
    return Workload("benchmarks.models.timm:create", {"name": full, "batch": 1}, full)


SPACE = Space(
    name="efficientformer",
    groups={
        "widths": (
            range(16, 97, 16),
            range(32, 193, 16),
            range(64, 385, 16),
            range(128, 769, 16),
        ),
        "depths": (range(1, 7), range(1, 7), range(1, 19), range(1, 9)),
        "mb3d": (range(1, 9),),
    },
    parts=(
        Part(("widths1",), _stem),
        _early(0),
        _embedding(1),
        _early(1),
        _embedding(2),
        Part(("widths3", "depths3", "depths4", "mb3d"), _third),
        Part(("widths3", "widths4", "depths4", "mb3d"), _last_embedding),
        Part(("widths4", "depths4", "mb3d"), _fourth),
        Part(("widths4",), _head),
    ),
    block=block,
    fault=_fault,
    named=NAMED,
    network=network,
)
