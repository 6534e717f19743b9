"""A command line that is still being typed -> its words, as a POSIX shell would split them; open quotes are allowed."""

from dataclasses import dataclass

OWN_SPECIALS = frozenset(" \t\n'\"\\#")
SHELL_SPECIALS = OWN_SPECIALS | frozenset("|&;<>()$`*?[]{}!~^")


@dataclass(frozen=True, slots=True)
class Line:
    """The finished words, the one under way (unquoted), where it starts in the text, and whether a quote is open."""

    words: list[str]
    current: str
    start: int
    quoted: bool


def split(text: str) -> Line:
    """Split what was typed up to the cursor."""
    words: list[str] = []
    current, start, quote, escaped, inside = "", len(text), "", False, False
    for position, one in enumerate(text):
        if not inside and not one.isspace():
            inside, start = True, position
        if escaped:
            current += one if not quote or one in '"\\' else "\\" + one
            escaped = False
        elif one == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote, current = ("", current) if one == quote else (quote, current + one)
        elif one in "'\"":
            quote = one
        elif one.isspace():
            if inside:
                words.append(current)
            current, inside, start = "", False, len(text)
        else:
            current += one
    return Line(words, current, start, bool(quote))


def escape(word: str, specials: frozenset[str]) -> str:
    """Write a word so that it stays one."""
    return "".join(f"\\{one}" if one in specials else one for one in word)
