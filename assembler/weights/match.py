"""Which weight of a file is which of a model, by keys and shapes alone: renamed ones, selected ones, and guesses to offer.

A key is an address and the weight's name on its card: `encoder.3.think.up.weight`. Nothing here imports torch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence

from assembler.facts.moved import bad_move, expanded
from assembler.facts.weights import renamed
from assembler.graph.address import matches, parse_address, starred, upwards
from assembler.weights.header import WeightsError, printable

Shape = tuple[int, ...]
LISTED = 20


def selected(only: str | Sequence[str], keys: Collection[str], others: Iterable[str] = ()) -> set[str]:
    """The keys of a model, and of `others`, that address patterns name: a node with all that is below it, or a weight.

    WeightsError for a pattern that names none of the model's.
    """
    copies = _copies(keys)
    found: set[str] = set()
    for text in (only,) if isinstance(only, str) else only:
        pattern = parse_address(text)
        if isinstance(pattern, str):
            raise WeightsError(f"`{printable(text)}` selects nothing: {pattern}")
        for place, group in enumerate((keys, others)):
            names = {key for key in group if _names(pattern, key, copies)}
            if not place and not names:
                heads = list(dict.fromkeys(key.split(".")[0] for key in keys))
                more = f" and {len(heads) - LISTED} more" if len(heads) > LISTED else ""
                raise WeightsError(f"`{text}` selects no weight of the model; it has {', '.join(heads[:LISTED])}{more}")
            found |= names
    return found


def _names(pattern: Sequence[object], key: str, copies: Mapping[str, int]) -> bool:
    parts = key.split(".")[: len(pattern)]
    if len(parts) < len(pattern):
        return False
    address = tuple(int(part) if part.isdigit() else part for part in parts)
    counts = tuple(copies.get(".".join(parts[:place]), 0) for place in range(len(parts)))
    return matches(pattern, address, counts)  # type: ignore[arg-type]


def _copies(keys: Iterable[str]) -> dict[str, int]:
    """Address of each repeat -> how many copies it has."""
    found: dict[str, int] = {}
    for key in keys:
        parts = key.split(".")
        for place, part in enumerate(parts):
            if part.isdigit():
                above = ".".join(parts[:place])
                found[above] = max(found.get(above, 0), int(part) + 1)
    return found


def suggested(dropped: Mapping[str, Shape], new: Mapping[str, Shape]) -> dict[str, str]:
    """Moves that would explain weights of a file that the model lacks: what holds the same names and shapes elsewhere.

    The highest address that has exactly one twin counts; copies that are all alike are told apart by what they stand in.
    """
    found: dict[str, str] = {}
    ones, twos = _held(dropped), _held(new)
    for local in (False, True):
        left = {above: what for above, what in ones.items() if renamed(above, found) == above}
        taken = tuple(f"{new_address}." for new_address in found.values())
        right = {above: what for above, what in twos.items() if not f"{above}.".startswith(taken)} if taken else twos
        there = _alone(right, local)
        for key, address in sorted(_alone(left, local).items(), key=lambda item: item[1].count(".")):
            if key in there and address != there[key] and renamed(address, found) == address:
                found[address] = there[key]
    for old, held in ones.items():  # the norms of a part are called after it, and go with it
        beside = _beside(old, found)
        if beside and twos.get(beside) == held and renamed(old, found) == old:
            found[old] = beside
    return folded(found, dropped)


def _beside(address: str, found: Mapping[str, str]) -> str:
    """`s.0.a_pre_norm` where `s.0.a` became `s.0.c`: `s.0.c_pre_norm`. Empty where nothing so called moved."""
    end = address.rfind("_")
    while end > address.rfind("."):
        if address[:end] in found:
            return found[address[:end]] + address[end:]
        end = address.rfind("_", 0, end)
    return ""


def _held(weights: Mapping[str, Shape]) -> dict[str, Hashable]:
    """Every address above a weight -> the names below it and their shapes."""
    inside: dict[str, set[tuple[str, Shape]]] = defaultdict(set)
    for key, shape in weights.items():
        for address in list(upwards(key))[:0:-1]:  # the outermost first: what is found first names what moved
            inside[address].add((key[len(address) + 1 :], shape))
    return {address: frozenset(what) for address, what in inside.items()}


def _alone(held: Mapping[str, Hashable], local: bool) -> dict[Hashable, str]:
    """What only one address holds: of all, or of those that stand in the same container."""
    found: dict[Hashable, list[str]] = defaultdict(list)
    for above, what in held.items():
        found[(above.rpartition(".")[0], what) if local else what].append(above)
    return {what: where[0] for what, where in found.items() if len(where) == 1}


def folded(moves: Mapping[str, str], keys: Collection[str]) -> dict[str, str]:
    """Moves that are the same in every copy, said once with `*`."""
    alike: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for old, new in moves.items():
        alike[starred(old), starred(new)][old] = new
    found: dict[str, str] = {}
    for (old, new), group in alike.items():
        whole = len(group) > 1 and not bad_move(old, new) and expanded({old: new}, keys) == group
        found.update({old: new} if whole else group)
    return found


__all__ = ["folded", "selected", "suggested"]
