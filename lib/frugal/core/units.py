"""Numbers with their units, written the same way everywhere."""

from __future__ import annotations


def format_bytes(size_bytes: float) -> str:
    """Write a size with binary prefixes.

    >>> format_bytes(999), format_bytes(270_000), format_bytes(25_557_032 * 4)
    ('999 B', '263.7 KiB', '97.5 MiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < 1024 or unit == "GiB":
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    raise AssertionError("the loop returns at GiB")


def format_count(count: float) -> str:
    """Write a count with decimal prefixes.

    >>> format_count(950), format_count(269_722), format_count(25_557_032), format_count(4_089_184_256)
    ('950', '269.7 k', '25.6 M', '4.1 G')
    """
    for prefix in ("", " k", " M", " G"):
        if abs(count) < 1000 or prefix == " G":
            return f"{count:.0f}" if not prefix else f"{count:.1f}{prefix}"
        count /= 1000
    raise AssertionError("the loop returns at G")
