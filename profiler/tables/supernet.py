"""The expected latency of a supernet whose choices are probabilities, differentiable in torch.

Differentiable searches add it to their loss, as FBNet does (Wu et al. 2019, arXiv 1812.03443,
section 3.2) and ProxylessNAS (Cai et al. 2019, arXiv 1812.00332, section 3.2.1). It is exact for
fields that are drawn independently: a part's latencies are contracted with the probabilities of
the fields that it reads, nothing is sampled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from profiler.errors import UsageError
from profiler.spaces import Space
from profiler.tables.occurrences import occurrences, unfit
from profiler.tables.positions import MOST_TRIED
from profiler.tables.predictor import POLICIES, held
from profiler.tables.table import LatencyTable

Tensor = Any
# How far a sum of probabilities may be from 1: float16's own rounding over some dozen values.
TOLERANCE = 5e-3


class ExpectedLatency:
    """Expected latencies of networks of a space, ns; `batch` and `target` are the table's.

    Every row of the space has to be in the table, because every architecture has a probability:
    raises MissingEntry otherwise. `space.narrowed` leaves values out; with `policy="interpolate"`
    rows between known ones are filled.
    """

    unit = "ns"

    def __init__(self, table: LatencyTable, space: Space, policy: str = "raise") -> None:
        import numpy

        if policy not in POLICIES:
            raise UsageError(f"policy {policy!r} is not one of {', '.join(POLICIES)}")
        self._table = table
        self._space = space
        self._fill = policy == "interpolate"
        keys, parts = occurrences(space)
        ns = numpy.array(self._ns(keys))
        self._fields = [part.fields for part in parts]
        self._arrays = [part.total(ns) for part in parts]
        self._tensors: dict[Any, list[Tensor]] = {}
        self._unfit = unfit(space, MOST_TRIED)
        self.target = table.target
        self.batch = table.batch

    def __call__(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """The expected latency (ns, a scalar tensor) from a tensor (values,) for each field.

        Fields that do not fit together in part count with what their part of the network takes:
        `fitting` tells how probable that is. Raises UsageError on a field too many or too few, a
        tensor of another length, and on what are no probabilities.
        """
        self._check(probabilities)
        like = next(iter(probabilities.values()))
        total = like.new_full((), float(self._table.overhead_ns))
        for fields, array in zip(self._fields, self._arrays_like(like), strict=True):
            total = total + _expected(array, [probabilities[f] for f in fields])
        return total

    def fitting(self, probabilities: Mapping[str, Tensor]) -> Tensor:
        """How probable it is that independently drawn fields fit together, a scalar tensor.

        Raises UsageError where that depends on too many fields to be known.
        """
        self._check(probabilities)
        if self._unfit is None:
            raise UsageError(f"too many fields of {self._space.name} have to fit together")
        fields, wrong = self._unfit
        like = next(iter(probabilities.values()))
        array = like.new_tensor(wrong.tolist())
        return 1 - _expected(array, [probabilities[f] for f in fields])

    def expected_rows(
        self, positions: Sequence[tuple[Sequence[str | Sequence[str]], Tensor]]
    ) -> Tensor:
        """The expected latency (ns, a scalar tensor) of positions that choose between rows.

        Each position has its alternatives and a tensor (alternatives,) of their probabilities. An
        alternative is a key, or several that come one after the other: none is an identity, which
        takes no time. Rows of other spaces will do as well. Raises MissingEntry and UsageError.
        """
        if not positions:
            raise UsageError("a network of no position has no latency")
        total = positions[0][1].new_full((), float(self._table.overhead_ns))
        names = [f"position {n}" for n in range(len(positions))]
        _check_probabilities(
            dict(zip(names, (p for _, p in positions), strict=True)),
            {n: len(rows) for n, (rows, _) in zip(names, positions, strict=True)},
        )
        for alternatives, probabilities in positions:
            ns = [sum(self._ns((a,) if isinstance(a, str) else a)) for a in alternatives]
            total = total + probabilities @ probabilities.new_tensor(ns)
        return total

    def _ns(self, keys: Sequence[str]) -> list[float]:
        """What each of these rows adds to a network."""
        found = []
        for key, entry in zip(keys, held(self._table, keys, self._fill), strict=True):
            if entry is None:
                # It says which key is missing, and what is near.
                self._table.predict("", [key], fill=self._fill)
            else:
                found.append(self._table.scale_of(key) * entry.ns)
        return found

    def _arrays_like(self, like: Tensor) -> list[Tensor]:
        """The parts' arrays of a tensor's type, where it is; kept for the next call."""
        import torch

        if (kind := (like.dtype, like.device)) not in self._tensors:
            self._tensors[kind] = [
                torch.as_tensor(a, dtype=like.dtype, device=like.device) for a in self._arrays
            ]
        return self._tensors[kind]

    def _check(self, probabilities: Mapping[str, Tensor]) -> None:
        fields = self._space.fields
        for name in (*fields, *probabilities):
            if name not in probabilities or name not in fields:
                word = "lacks probabilities" if name in fields else "has no field"
                raise UsageError(f"{self._space.name} {word}: {name!r}")
        _check_probabilities(probabilities, {f: len(v) for f, v in fields.items()})


def _check_probabilities(given: Mapping[str, Tensor], counts: Mapping[str, int]) -> None:
    """Logits and weights of another length would give a figure, too."""
    import torch

    for name, tensor in given.items():
        if tuple(tensor.shape) != (counts[name],):
            raise UsageError(
                f"{name} has {counts[name]} values: a tensor ({counts[name]},) of probabilities, "
                f"not {tuple(tensor.shape)}"
            )
    sums = torch.stack([t.detach().double().sum() for t in given.values()])
    least = torch.stack([t.detach().double().min() for t in given.values()])
    # Not what is wrong is looked for, but what is right: nothing compares with an undefined number.
    right = ((sums - 1).abs() <= TOLERANCE) & (least >= -TOLERANCE)
    for name, fine in zip(given, right.tolist(), strict=True):
        if not fine:
            raise UsageError(f"{name}: probabilities are not negative and add up to 1")


def _expected(array: Tensor, probabilities: Sequence[Tensor]) -> Tensor:
    """The expectation of a tensor's elements, whose axes are drawn with these probabilities."""
    for tensor in reversed(probabilities):
        array = array @ tensor
    return array
