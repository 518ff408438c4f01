"""A consumer of once-for-all's and ProxylessNAS' tables finds our rows by its own names."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

from benchmarks.spaces.mobilenet import SPACE, STRIDES
from profiler.tables import exchange
from profiler.tables.formats import _mobile, hw_nas_bench, once_for_all, proxylessnas
from tests.synthetic_tables import ON, entry, of_keys, table, values


class Estimator:
    """Once-for-all's way to add up a table, written anew: a key for each layer, its mean in ms."""

    def __init__(self, path: Path, marked: bool) -> None:
        self.table = yaml.safe_load(path.read_text())
        self.marked = marked

    def layer(
        self, kind: str, before: tuple[int, ...], after: tuple[int, ...], *more: str
    ) -> float:
        shapes = ("x".join(map(str, shape)) for shape in (before, after))
        key = "-".join([kind, *map("{}:{}".format, ("input", "output"), shapes), *more])
        return float(self.table[key]["mean"])

    def block(self, side: int, b: Mapping[str, int]) -> float:
        out = (side - 1) // b["stride"] + 1
        expand = b["in"] * b["ratio"] if self.marked else b["ratio"]
        more = {"expand": expand, "kernel": b["kernel"], "stride": b["stride"], "idskip": b["skip"]}
        if self.marked:
            more |= {"se": b["se"], "hs": b["hs"]}
        return self.layer(
            "expanded_conv",
            (side, side, b["in"]),
            (out, out, b["out"]),
            *(f"{k}:{v}" for k, v in more.items()),
        )

    def network_ms(self, stem: int, blocks: list[dict[str, int]], head: int) -> float:
        total = self.layer("Conv", (224, 224, 3), (112, 112, stem))
        side = 112
        for b in blocks:
            total += self.block(side, b)
            side = (side - 1) // b["stride"] + 1
        total += self.layer("Conv_1", (side, side, blocks[-1]["out"]), (side, side, head))
        return total + self.layer("Logits", (side, side, head), (1000,))


def described(text: str) -> tuple[int, list[dict[str, int]], int]:
    """Stem, blocks and head of one of our architectures as it is written, in its terms."""
    stem, separable, widths, head, depths, se, hs, *rest = (
        [int(n) for n in group.split("-")] for group in text.split("/")
    )
    before = separable[0]
    ends = {"in": stem[0], "out": before, "ratio": 1, "kernel": 3, "stride": 1, "skip": 0}
    blocks = [{**ends, "se": 0, "hs": hs[0]}]
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        for place in range(depth):
            stride = 1 if place else STRIDES[stage]
            block = {"in": before, "out": width, "stride": stride, "se": se[stage], "hs": hs[stage]}
            block |= {"ratio": rest[6 + stage][place], "kernel": rest[stage][place]}
            blocks.append({**block, "skip": int(stride == 1 and before == width)})
            before = width
    return stem[0], blocks, head[0]


def in_place(text: str, **groups: str) -> str:
    """A written architecture with another squeeze-excite or other activations."""
    parts = text.split("/")
    for name, place in (("se", 5), ("hs", 6)):
        parts[place] = groups.get(name, parts[place])
    return "/".join(parts)


@pytest.mark.parametrize("marked", [True, False])
def test_a_consumer_of_others_adds_up_the_same_latency(tmp_path: Path, marked: bool) -> None:
    drawn = [SPACE.text(a) for a in SPACE.draw(random.Random(3), 40)]
    none = "0-0-0-0-0-0"
    # Names say nothing of the activation at the ends, or nothing of activations at all.
    chosen = [
        in_place(t, hs="0-1-1-0-1-0") if marked else in_place(t, se=none, hs=none) for t in drawn
    ]
    rows = {t: SPACE.rows(SPACE.parse(t)) for t in [*chosen, *SPACE.named.values()]}
    keys = sorted({k for blocks in rows.values() for k in blocks})
    facts = {"scale": 1.037, "overhead_ns": 7_777}
    whole = of_keys(keys, lambda n: 10_007 * (n + 1) % 1_000_003, **facts)
    exchange.write(whole, tmp_path / "t.yaml", "once_for_all" if marked else "proxylessnas")
    estimator = Estimator(tmp_path / "t.yaml", marked)
    for text, blocks in rows.items():
        ours = whole.overhead_ns + sum(whole.scale_of(k) * whole.entries[k].ns for k in blocks)
        theirs = estimator.network_ms(*described(text))
        assert theirs == pytest.approx(ours / 1e6, rel=1e-12)
        assert round(theirs * 1e6) == whole.predict(text, blocks).latency_ns


# Names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("stem/112/relu6/24", "Conv-input:224x224x3-output:112x112x24"),
        (
            "ir/28/k5-s2-se0-hardswish/24-40-3",
            "expanded_conv-input:56x56x24-output:28x28x40-expand:72-kernel:5-stride:2-idskip:0"
            "-se:0-hs:1",
        ),
        (
            "residual/28/k3-se1-relu6/80-2.3",
            "expanded_conv-input:28x28x80-output:28x28x80-expand:184-kernel:3-stride:1-idskip:1"
            "-se:1-hs:0",
        ),
        (
            "separable/112/relu6/16-16",
            "expanded_conv-input:112x112x16-output:112x112x16-expand:16-kernel:3-stride:1-idskip:0"
            "-se:0-hs:0",
        ),
        ("head_conv/7/relu6/160-960", "Conv_1-input:7x7x160-output:7x7x960"),
        ("classifier/1/1536", "Logits-input:1x1x1536-output:1000"),
    ],
)
def test_names_of_once_for_all(key: str, name: str) -> None:
    dialect = once_for_all.dialect("relu6")
    assert (dialect.name(key), dialect.key(name)) == (name, key)


@pytest.mark.parametrize(
    "key",
    [
        "stem/112/hardswish/24",
        "ir/28/k5-s2-se0-relu6/24-40-1",  # has an operator that theirs leaves out
        "ir/28/k5-s2-se0-relu6/28-40-2.5",  # the builder rounds 70 channels to 72
        "residual/28/k3-se0-gelu/80-2",
        "ffn/28/48-4",
    ],
)
def test_rows_that_once_for_all_has_no_name_for(key: str) -> None:
    assert once_for_all.dialect("relu6").name(key) is None


@pytest.mark.parametrize(
    "name",
    [
        "expanded_conv-input:28x28x80-output:28x28x80-expand:160-kernel:3-stride:1-idskip:0"
        "-se:0-hs:0",  # no shortcut where ours has one
        "expanded_conv-input:28x28x80-output:14x13x80-expand:160-kernel:3-stride:2-idskip:0"
        "-se:0-hs:0",
        "expanded_conv-input:28x28x80-output:28x28x80-expand:161-kernel:3-stride:1-idskip:1"
        "-se:0-hs:0",
        "expanded_conv-input:28x28x80-output:28x28x80-expand:2-kernel:3-stride:1-idskip:1",
        "Conv-input:224x224x4-output:112x112x24",
        "AvgPool2D-input:7x7x1152-output:1x1x1152",
        "Conv_2-input:1x1x1152-output:1x1x1536",
        "Logits-input:1x1x1536-output:100",
    ],
)
def test_names_that_mean_none_of_our_rows_are_kept(name: str) -> None:
    assert once_for_all.dialect("relu6").key(name) is None


def test_every_row_of_the_space_that_has_a_name_is_found_by_it() -> None:
    rows = random.Random(0).sample(SPACE.keys, 4000)
    dialects = (once_for_all.dialect("relu6"), proxylessnas.DIALECT)
    there: list[tuple[Callable[[str], str | None], Callable[[str], str | None]]] = [
        *((d.name, d.key) for d in dialects),
        (hw_nas_bench.name, hw_nas_bench.key),
    ]
    for name, key in there:
        named = {k: n for k in rows if (n := name(k))}
        assert len(named) > 400
        assert len(set(named.values())) == len(named)
        assert all(key(n) == k for k, n in named.items())
    blocks = [k for k in rows if k.startswith(("ir/", "residual/"))]
    assert all((row := _mobile.parse(k)) and row.key == k for k in blocks)


def test_the_activation_of_the_ends_is_the_users_to_say(tmp_path: Path) -> None:
    whole = table([entry("stem/112/hardswish/24", 7000), entry("stem/112/relu6/24", 5000)])
    exchange.write(whole, tmp_path / "t", "once_for_all:ends=hardswish")
    record = yaml.safe_load((tmp_path / "t").read_text())
    assert record["Conv-input:224x224x3-output:112x112x24"]["mean"] == pytest.approx(0.010)
    assert "stem/112/relu6/24" in record
    found = exchange.read(tmp_path / "t", "once_for_all:ends=hardswish", "mobilenet", ON)
    assert values(found.entries) == values(whole.entries)
