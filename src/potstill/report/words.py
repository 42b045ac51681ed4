"""How numbers are written on the page and in the terminal."""

from __future__ import annotations

import math
import unicodedata

METRICS = {
    "accuracy": "Accuracy",
    "log_loss": "Log-loss",
    "roc_auc": "ROC AUC",
    "average_precision": "Average precision",
    "brier": "Brier",
    "ece": "ECE",
    "r2": "R²",
    "rmse": "RMSE",
    "mae": "MAE",
}
LOWER_IS_BETTER = frozenset({"log_loss", "brier", "ece", "rmse", "mae"})
NONE = "–"


def in_text(metric: str) -> str:
    """A metric's name inside a sentence."""
    return (
        METRICS[metric].lower()
        if metric in {"accuracy", "log_loss", "average_precision"}
        else METRICS[metric]
    )


def score(value: float | None, metric: str) -> str:
    """A score: four decimals, or four digits for errors in the target's unit."""
    if value is None:
        return NONE
    return digits(value) if metric in {"rmse", "mae"} else f"{value:.4f}".replace("-", "−")


def digits(value: float | None, n: int = 4) -> str:
    """``n`` significant digits, thousands separated, no exponent between 1e-6 and 1e9."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == 0.0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    if not -7 < magnitude < 9:
        return f"{value:.{n - 1}e}".replace("-", "−")
    rounded = round(value, n - 1 - magnitude)
    return f"{rounded:,.{max(0, n - 1 - magnitude)}f}".replace("-", "−")


def micros(value: float | None) -> str:
    """Microseconds in the unit that reads best: ``14 µs``, ``3.2 ms``, ``1.1 s``."""
    if value is None:
        return NONE
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if value >= size * 0.9995:
            return f"{digits(value / size, 3)} {unit}"
    return f"{digits(value, 3)} µs"


def tick_micros(value: float) -> str:
    """Microseconds as an axis says them: ``10 µs``, ``1 ms``."""
    unit, scale = ("s", 1e6) if value >= 1e6 else ("ms", 1e3) if value >= 1e3 else ("µs", 1.0)
    return f"{value / scale:g} {unit}"


def tick_size(value: float) -> str:
    """Bytes as an axis says them: ``10 kB``, ``2 MB``."""
    unit, scale = ("GB", 1e9) if value >= 1e9 else ("MB", 1e6) if value >= 1e6 else ("kB", 1e3)
    return f"{value / scale:g} {unit}"


def size(value: float | None) -> str:
    """Bytes in units of 1,000: ``412 kB``, ``1.3 MB``."""
    if value is None:
        return NONE
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= scale * 0.9995:
            return f"{digits(value / scale, 3)} {unit}"
    return f"{value:.0f} B"


def seconds(value: float) -> str:
    """A duration: ``4.2 s``, ``3 min 20 s``, ``1 h 5 min``."""
    if value < 60:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def percent(ratio: float) -> str:
    """A ratio in percent, whole."""
    whole = round(100 * ratio)
    return f"{whole:,}\u00a0%".replace("-", "−")


def times(ratio: float) -> str:
    """A factor: ``3.4×``, ``310×``."""
    return f"{digits(ratio, 2) if ratio < 100 else digits(ratio, 3)}×"


def count(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}"


def listing(parts: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def one_line(text: object, width: int = 40) -> str:
    """A stranger's text fit for a label: no control characters or line breaks, cut at ``width``."""
    plain = "".join(
        " " if unicodedata.category(c) in {"Cc", "Cs", "Cf", "Zl", "Zp"} else c for c in str(text)
    )
    return plain if len(plain) <= width else plain[: width - 1].rstrip() + "…"
