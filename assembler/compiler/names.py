"""From recipe texts to Python texts. Nothing of a recipe reaches the compiled text but through here.

Names become identifiers by allow-list, values by `repr`, everything else a comment or docstring
from which no character can break out.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterable

IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*\Z")
MAX_DESCRIPTION = 2000
MAX_PLACE = 80

NEEDED = frozenset({"torch", "nn", "F", "self", "range", "enumerate"})
"""Names that a `forward` of ours uses: no variable may hide them."""

GENERIC = ("x", "h")
"""What a careful person calls the stream and its branch."""

_MODULE_LEVEL = frozenset({"None", "True", "False", "Tensor", "SEEDS", "OWNERS", "GIVEN"})


def literal(value: object) -> str:
    """A value of an option as Python text that reads back as the same value. TypeError for any other."""
    if value is None or isinstance(value, (bool, int)):
        return repr(value)
    if isinstance(value, float):
        return repr(value) if value - value == 0.0 else f'float("{value}")'
    if isinstance(value, str):
        text = ascii(value)
        return text if '"' in text or "\\'" in text else f'"{text[1:-1]}"'
    if isinstance(value, (tuple, list)):
        items = ", ".join(literal(item) for item in value)
        if isinstance(value, list):
            return f"[{items}]"
        return f"({items},)" if len(value) == 1 else f"({items})"
    raise TypeError(f"no literal for a {type(value).__name__}")


def identifier(name: str) -> str:
    """The name itself; ValueError where it is none that a recipe may give."""
    if IDENTIFIER.match(name) is None or keyword.iskeyword(name):
        raise ValueError(f"{name!r} is no name")
    return name


def variable(name: str) -> str:
    """A local variable for a node, an input or a size of that name: dots gone, builtins not hidden."""
    name = re.sub(r"[^a-z0-9_]", "_", name.lower()).strip("_")
    if not name or name[0].isdigit():
        name = f"n{name}"
    return f"{name}_" if name in NEEDED or keyword.iskeyword(name) or hasattr(builtins, name) else name


def fresh(name: str, taken: Iterable[str]) -> str:
    """`name`, or the first of name_2, name_3, ... that is not taken."""
    chosen, number = name, 2
    while chosen in taken:
        chosen, number = f"{name}_{number}", number + 1
    return chosen


def camel(text: str) -> str:
    """`encoder.think_more` as `EncoderThinkMore`; "" where no letter or digit is left."""
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"[^A-Za-z0-9]+", text) if word)


def class_name(text: str, taken: Iterable[str], fallback: str = "Model") -> str:
    """A class name made from an address or a recipe's name, different from all in `taken`."""
    name = camel(text)[:64]
    if not name or name[0].isdigit():
        name = fallback + name
    if name in _MODULE_LEVEL or keyword.iskeyword(name) or hasattr(builtins, name):
        name += "Model"
    chosen, number = name, 2
    while chosen in taken:
        chosen, number = f"{name}{number}", number + 1
    return chosen


def plain(text: str, limit: int) -> str:
    """One line without anything invisible, cut to `limit` characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * limit]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def comment(text: str) -> str:
    """What may stand behind `# `: one printable line; of a long one the end, where the line number is."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[-4 * MAX_PLACE :]).split())
    return line if len(line) <= MAX_PLACE else "…" + line[-MAX_PLACE + 1 :]


def docstring(text: str, limit: int = MAX_DESCRIPTION) -> str:
    """Text that stands inside three double quotes and reads back as itself: one printable line."""
    return plain(text, limit).replace("\\", "\\\\").replace('"', '\\"')
