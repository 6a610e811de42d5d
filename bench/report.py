"""Measured values as people and programs read them: medians, ratios, and how unsteady the machine was."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Comparison:
    """One measure of our server and, where it has the same, of the bare one; `aim` bounds the ratio."""

    name: str
    unit: str
    ours: Sequence[float]
    bare: Sequence[float] = ()
    aim: float | None = None

    @property
    def ratio(self) -> float | None:
        return statistics.median(self.ours) / statistics.median(self.bare) if self.bare else None

    @property
    def ratio_of_minima(self) -> float | None:
        return min(self.ours) / min(self.bare) if self.bare else None

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "unit": self.unit,
            "ours": summary(self.ours),
            "bare": summary(self.bare) if self.bare else None,
            "ratio": self.ratio,
            "ratio_of_minima": self.ratio_of_minima,
            "aim": self.aim,
        }

    def as_row(self) -> list[str]:
        aim = f"<= {self.aim:.2f}" if self.aim else ""
        ratios = [f"{ratio:.2f}" if ratio else "" for ratio in (self.ratio, self.ratio_of_minima)]
        return [self.name, self.unit, *_columns(self.ours), *_columns(self.bare), *ratios, aim]


COMPARISON_HEAD = ["", "unit", "ours", "min", "iqr", "bare", "min", "iqr", "ratio", "of min", "aim"]


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median, minimum, number of values, and the interquartile range as a share of the median."""
    median = statistics.median(values)
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else (median, median, median)
    spread = (high - low) / median
    return {"median": median, "min": min(values), "spread": spread, "count": len(values)}


def table(head: list[str], rows: list[list[str]]) -> str:
    """Aligned columns, the first one to the left."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in [head, *rows]
    )


def _columns(values: Sequence[float]) -> list[str]:
    if not values:
        return ["n/a", "", ""]
    shown = summary(values)
    return [f"{shown['median']:.2f}", f"{shown['min']:.2f}", f"{shown['spread']:.0%}"]
