"""Ties and shared modules: one parameter has one shape."""

from __future__ import annotations

from collections.abc import Sequence

from assembler.facts.count import Counted, shapes
from assembler_schemas.diagnostic import Diagnostic, Note


def check(every: Sequence[Counted]) -> list[Diagnostic]:
    """Tied parameters and further uses of one module that would need another shape."""
    found: list[Diagnostic] = []
    if not any(item.node.ties or item.node.same for item in every):
        return found
    by_address = {item.address: item for item in every}
    for item in every:
        mine = shapes(item.facts)
        for own, target in item.node.ties.items():
            address, theirs = _owner(target, by_address.keys())
            other = by_address.get(address)
            if other is not None and None not in (mine.get(own), shapes(other.facts).get(theirs)) and shapes(other.facts)[theirs] != mine[own]:
                found.append(Diagnostic("share-mismatch", f"`{item.address}.{own}` is tied to `{target}` and has another shape: {list(mine.get(own, ()))} against {list(shapes(other.facts).get(theirs, ()))}",
                                        item.node.span, related=(Note(f"`{target}` belongs to this node", other.node.span),), help="make the sizes equal, or drop `tie`"))  # fmt: skip
        if item.node.same:
            owner = by_address.get(item.node.same)
            if owner is not None and shapes(owner.facts) != mine:
                found.append(Diagnostic("share-mismatch", f"`{item.address}` is one more use of `{item.node.same}`, but would need other shapes: {_first(mine, shapes(owner.facts))}",
                                        item.node.span, related=(Note("the module", owner.node.span),), help="feed it the same width, or write `like:` for weights of its own"))  # fmt: skip
    return found


def _owner(target: str, known: object) -> tuple[str, str]:
    parts = target.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        address = ".".join(parts[:cut])
        if address in known:  # type: ignore[operator]
            return address, ".".join(parts[cut:])
    return target, ""


def _first(one: dict[str, tuple[int, ...]], two: dict[str, tuple[int, ...]]) -> str:
    return next((f"`{name}` {list(one[name])} against {list(two.get(name, ()))}" for name in one if one[name] != two.get(name)), "other parameters")
