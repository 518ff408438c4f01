"""A machine's roofline, both lines measured through the runtime that is judged by them.

Williams, Waterman and Patterson, "Roofline: an insightful visual performance model", 2009: no
operator is faster than its multiply-adds at the peak rate, nor than its bytes at the bandwidth.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from profiler.types import Target, Workload

FILE = "benchmarks.operators.roofline"
# A graphics processor is not full with what fills a core.
PRODUCTS = (512, 1024, 2048)
COPY_MEBIBYTES = 64
LARGE_PRODUCTS = (4096,)
LARGE_COPY_MEBIBYTES = 256
LARGE_UNITS = ("cuda", "tensorrt", "all", "cpu_and_gpu", "cpu_and_ne")
# Bytes of a stored or moved number.
SIZES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1, "uint8": 1, "int32": 4, "int64": 8, "bool": 1}


@dataclass(frozen=True, slots=True)
class Roofline:
    """Peak rate of multiply-adds and bandwidth, and from what each was taken."""

    macs_per_s: float
    bytes_per_s: float
    product: str
    copy: str

    @property
    def ridge(self) -> float:
        """The multiply-adds a byte from which on the peak bounds, not the bandwidth."""
        return self.macs_per_s / self.bytes_per_s


@dataclass(frozen=True, slots=True)
class Place:
    """Where an operator lies: which roof is above it, and how much of that it reaches.

    A share above 1 under the bandwidth's roof means that the data stayed in a cache.
    """

    macs_per_byte: float
    bound: str
    share: float


def workloads(target: Target) -> list[Workload]:
    """The products and the copy that a target's roofline is taken from."""
    large = target.unit in LARGE_UNITS
    products = LARGE_PRODUCTS if large else PRODUCTS
    mebibytes = LARGE_COPY_MEBIBYTES if large else COPY_MEBIBYTES
    found = [
        Workload(f"{FILE}:matrix_product", {"size": n}, f"matrix product {n}x{n}x{n}")
        for n in products
    ]
    return [*found, Workload(f"{FILE}:copy", {"mebibytes": mebibytes}, f"copy of {mebibytes} MiB")]


def roofline(latencies: Iterable[tuple[Workload, float]], precision: str) -> Roofline | None:
    """The best of the products, and the copy; None when either is missing.

    `latencies` are in ns. The copy's size is that of float32; in fewer bits it moves fewer bytes.
    """
    products, copies = [], []
    for workload, ns in latencies:
        if "size" in workload.parameters:
            products.append((workload.parameters["size"] ** 3 / ns * 1e9, workload.name))
        else:
            numbers = workload.parameters["mebibytes"] * 2**20 // SIZES["fp32"]
            moved = 2 * numbers * SIZES.get(precision, SIZES["fp32"])
            copies.append((moved / ns * 1e9, workload.name))
    if not products or not copies:
        return None
    (peak, product), (bandwidth, copy) = max(products), max(copies)
    return Roofline(peak, bandwidth, product, copy)


def place(roof: Roofline, macs: float, bytes_moved: float, ns: float) -> Place | None:
    """Where an operator of so many multiply-adds and bytes lies that takes `ns`.

    None when it takes no time or moves nothing.
    """
    if ns <= 0 or bytes_moved <= 0:
        return None
    by_peak = macs / roof.macs_per_s * 1e9
    by_bandwidth = bytes_moved / roof.bytes_per_s * 1e9
    bound = "compute" if by_peak > by_bandwidth else "memory"
    return Place(macs / bytes_moved, bound, max(by_peak, by_bandwidth) / ns)
