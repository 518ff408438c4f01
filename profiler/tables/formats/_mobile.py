"""Inverted residuals: what our space `mobilenet` and the tables of others have in common.

Our keys give the resolution after a block and the expansion; theirs the resolution before it and
either. Squeeze-excite is a quarter of the expanded channels with all of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SIZE = "([1-9][0-9]{0,5})"
EXPANSION = r"([1-9](?:\.[0-9])?)"
CHANGING = re.compile(
    f"ir/{SIZE}/k{SIZE}-s{SIZE}-se([01])-(relu6|hardswish)/{SIZE}-{SIZE}-{EXPANSION}"
)
KEEPING = re.compile(f"residual/{SIZE}/k{SIZE}-se([01])-(relu6|hardswish)/{SIZE}-{EXPANSION}")
# The builders round expanded channels to multiples of it.
DIVISOR = 8


@dataclass(frozen=True, slots=True)
class Residual:
    """An inverted residual; `side` is the resolution before it, `expansion` as a key writes it."""

    side: int
    kernel: int
    stride: int
    squeeze: int
    activation: str
    channels_in: int
    channels_out: int
    expansion: str

    @property
    def side_out(self) -> int:
        """The resolution after it."""
        return -(-self.side // self.stride)

    @property
    def skips(self) -> bool:
        """Whether its input is added to its output."""
        return self.stride == 1 and self.channels_in == self.channels_out

    @property
    def middle(self) -> int | None:
        """The expanded channels, or None where they are rounded to others."""
        exact = round(10 * self.channels_in * float(self.expansion))
        return exact // 10 if exact % (10 * DIVISOR) == 0 else None

    @property
    def key(self) -> str:
        """Our key."""
        if self.skips:
            kind = f"k{self.kernel}-se{self.squeeze}-{self.activation}"
            return f"residual/{self.side}/{kind}/{self.channels_in}-{self.expansion}"
        kind = f"k{self.kernel}-s{self.stride}-se{self.squeeze}-{self.activation}"
        place = f"{self.channels_in}-{self.channels_out}-{self.expansion}"
        return f"ir/{self.side_out}/{kind}/{place}"


def parse(key: str) -> Residual | None:
    """The inverted residual behind one of our keys, or None."""
    match = CHANGING.fullmatch(key)
    if match:
        out, kernel, stride, squeeze = (int(match[n]) for n in range(1, 5))
        channels = int(match[6]), int(match[7])
        found = Residual(out * stride, kernel, stride, squeeze, match[5], *channels, match[8])
        return None if found.skips else found
    match = KEEPING.fullmatch(key)
    if match:
        side, kernel, squeeze, channels_in = (int(match[n]) for n in (1, 2, 3, 5))
        last = channels_in, channels_in, match[6]
        return Residual(side, kernel, 1, squeeze, match[4], *last)
    return None


def expansion(channels_in: int, middle: int) -> str:
    """How a key writes the expansion to so many channels; the nearest where it cannot."""
    return f"{middle / channels_in:.1f}".removesuffix(".0") if channels_in else ""
