"""How a comparison writes numbers; what is missing is left blank."""

import math


def number(value: float | None, form: str = ",.0f") -> str:
    """Writes a number."""
    return "" if _is_missing(value) else format(value, form)


def percent(fraction: float | None) -> str:
    """Writes a fraction as a percentage.

    Example:
        >>> percent(0.9701), percent(None)
        ('97.01 %', '')
    """
    return "" if _is_missing(fraction) else f"{100 * fraction:.2f} %"


def change(a: float | None, b: float | None) -> str:
    """Writes the relative change from `a` to `b`.

    Example:
        >>> change(200, 150), change(200, 200), change(None, 150)
        ('-25.0 %', '+0.0 %', '')
    """
    return "" if _is_missing(a) or _is_missing(b) or not a else f"{100 * (b / a - 1):+z.1f} %"


def _is_missing(value: float | None) -> bool:
    return value is None or math.isnan(value)
