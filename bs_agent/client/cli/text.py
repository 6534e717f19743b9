"""Text for a terminal: bytes that can be read, and nothing that the terminal would obey."""


def human(size: float) -> str:
    """Write bytes so that they can be read: `4.5 TiB`."""
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
    power = 0
    while abs(size) >= 1024 and power < len(units) - 1:
        size, power = size / 1024, power + 1
    return f"{size:.1f} {units[power]}" if power else f"{size:.0f} B"


def plain(text: str) -> str:
    """Return the text without what a terminal would obey instead of show."""
    return "".join(one if one.isprintable() or one == "\n" else "\N{REPLACEMENT CHARACTER}" for one in text)
