"""Rules: what is said about many places at once. They win over the place; none wins over another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from assembler.graph.address import Address, Slice, copies, matches, parse_address
from assembler.graph.env import Env, Say
from assembler.graph.options import Field
from assembler.source.recipe import Rule
from assembler.source.tree import Value
from assembler_schemas.diagnostic import Diagnostic, Note
from assembler_schemas.span import Span

MAX_TRIED = 2_000_000
"""Trials of a rule at a place: about two seconds."""

Effective = Callable[[str], object]
"""The effective value of a key at a place, before any rule: an option, a default, or inherited."""


@dataclass(slots=True, eq=False, repr=False)
class ActiveRule:
    """A rule of one graph, with the address of that graph."""

    rule: Rule
    env: Env
    depth: int
    pattern: Address | None
    used: bool = False


@dataclass(slots=True, eq=False, repr=False)
class RuleBook:
    """The rules that hold where we build, outermost first."""

    say: Say
    rules: list[ActiveRule] = field(default_factory=list)
    exact: dict[int, dict[Address, list[int]]] = field(default_factory=dict)
    """Depth -> address without patterns -> the rules of that place: thousands of them cost nothing elsewhere."""
    loose: list[int] = field(default_factory=list)
    """The rules that are to be tried at every place."""
    tried: int = 0
    grafting: int = 0
    """Above zero while grafts are built: a rule without `at` is about the recipe's own nodes."""
    broken: set[tuple[str | int, ...]] = field(default_factory=set)
    """Places of which something is wrong, and all that they stand in."""

    def open(self, rules: Mapping[str, Rule], env: Env, depth: int) -> int:
        """Let a graph's rules hold from here on; returns the mark to `close` with."""
        mark = len(self.rules)
        for rule in rules.values():
            pattern: Address | None = None
            if rule.at is not None:
                parsed = parse_address(str(rule.at.data))
                if isinstance(parsed, str):
                    self.say(Diagnostic("address-unknown", f"{rule.at.data!r} is no address pattern: {parsed}", rule.at.span, help="for example `encoder.*.attend`"))
                    continue
                pattern = parsed
            if pattern is None or any(isinstance(item, Slice) or (isinstance(item, int) and item < 0) for item in pattern):
                self.loose.append(len(self.rules))
            else:
                self.exact.setdefault(depth, {}).setdefault(pattern, []).append(len(self.rules))
            self.rules.append(ActiveRule(rule, env, depth, pattern))
        return mark

    def _near(self, address: tuple[str | int, ...]) -> list[ActiveRule]:
        """The rules that may hold at an address, in order."""
        found = [*self.loose, *(at for depth, places in self.exact.items() for at in places.get(address[depth:], ()))]
        return [self.rules[at] for at in sorted(found)]

    def lose(self, address: tuple[str | int, ...]) -> None:
        """A place is broken: what would stand in it is not known, nor which rules it would match."""
        while address and address not in self.broken:
            self.broken.add(address)
            address = address[:-1]

    def _hidden(self, active: ActiveRule, address: tuple[str | int, ...]) -> bool:
        """Whether a rule of the graph at `address` may match something in what is broken."""
        first = active.pattern[:1] if active.pattern is not None else ()
        if first and isinstance(first[0], str):
            return (*address, first[0]) in self.broken
        return address in self.broken if address else bool(self.broken)

    def close(self, mark: int, address: tuple[str | int, ...]) -> None:
        for active in self.rules[mark:]:
            if not active.used and not self._hidden(active, address):
                at = active.rule.at
                where = f"`{at.data}`" if at is not None else "`where`"
                self.say(Diagnostic("rule-unmatched", f"the rule `{active.rule.name}` matches nothing: {where} names no place here",
                                    at.span if at is not None else active.rule.span,
                                    help="addresses hold copy numbers: `encoder.*.attend`; `assembler show` lists them"))  # fmt: skip
        del self.rules[mark:]
        self.loose = [at for at in self.loose if at < mark]
        self.exact = {
            depth: {address: kept for address, at_it in places.items() if (kept := [at for at in at_it if at < mark])}
            for depth, places in self.exact.items()
        }

    def breaks(self, address: tuple[str | int, ...], counts: tuple[int, ...], count: int) -> list[int]:
        """Where copies of the repeat at `address` may start to differ: 0, ..., count."""
        edges = {0, count}
        for active in self.rules:
            pattern = active.pattern
            here = address[active.depth :]
            if pattern is None or len(pattern) <= len(here) or not matches(pattern[: len(here)], here, counts[active.depth :]):
                continue
            chosen = copies(pattern[len(here)], count)
            if not chosen:
                continue
            if chosen.step == 1:
                edges |= {chosen.start, chosen.stop}
            else:
                edges.update(item for i in chosen for item in (i, i + 1))
        return sorted(edges)

    def _may_try(self, address: tuple[str | int, ...]) -> bool:
        """Whether the product of rules and places stays within bounds; said once where it does not."""
        before = self.tried
        self.tried += len(self.loose)
        if before <= MAX_TRIED < self.tried:
            last = self.rules[self.loose[-1]].rule
            self.say(Diagnostic("limit-nodes", f"{len(self.loose):,} rules with patterns are tried at more than {MAX_TRIED // len(self.loose):,} places", last.span,
                                help="write one rule for what many say, or a plain address in `at`"))  # fmt: skip
        return self.tried <= MAX_TRIED

    def settings(self, address: tuple[str | int, ...], counts: tuple[int, ...], effective: Effective) -> dict[str, Field]:
        """What the rules set at one place."""
        found: dict[str, tuple[Field, ActiveRule]] = {}
        for active in self._near(address) if self._may_try(address) else ():
            here, numbers = address[active.depth :], counts[active.depth :]
            if not here or (active.pattern is None and self.grafting) or (active.pattern is not None and not matches(active.pattern, here, numbers)):
                continue
            if not all(_equal(effective(key), value, active.env) for key, value in active.rule.where.items()):
                continue
            active.used = True
            for key, value in active.rule.set.items():
                before = found.get(key)
                if before is not None and before[0][0].plain() != value.plain():
                    self._conflict(key, before[1], active, value.key)
                found[key] = ((value, active.env), active)
        return {key: item for key, (item, _) in found.items()}

    def _conflict(self, key: str, first: ActiveRule, second: ActiveRule, span: Span) -> None:
        self.say(Diagnostic("rule-conflict", f"the rules `{first.rule.name}` and `{second.rule.name}` set `{key}` differently at one place",
                            span, related=(Note("set here too", first.rule.set[key].key),), help="narrow one of them with `at` or `where`"))  # fmt: skip


def _equal(have: object, value: Value, env: Env) -> bool:
    want = value.data
    if isinstance(want, str):
        found = env.find(want)
        if found is not None and found == have and type(found) is type(have):
            return True
    return have == want and isinstance(have, bool) == isinstance(want, bool)
