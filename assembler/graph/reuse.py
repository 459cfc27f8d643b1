"""One more use of a module is that module: nothing said at the use, or around it, makes another of it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from assembler.graph.draft import Draft
from assembler_schemas.diagnostic import Diagnostic, Note
from assembler_schemas.span import Span

if TYPE_CHECKING:
    from assembler.graph.build import Builder

OWN = "or write `like:` for weights of its own"


class Unlike(NamedTuple):
    """How a use differs from its module."""

    said: str
    help: str
    key: str = ""
    """The option that differs."""


def share(builder: Builder, draft: Draft, owner: Draft, address: str, text: str, span: Span) -> None:
    """Let a draft be one more use of another, which stands at `address` and which `text` names."""
    if address == draft.address:
        builder.say(Diagnostic("share-cycle", f"`{draft.name}` is the same as itself", span))
        return
    if owner.runs and draft.runs and owner.count != draft.count:
        builder.say(Diagnostic("share-mismatch", f"`{draft.name}` has {draft.count} copies, and `{text}` has {owner.count}", span,
                               help=f"drop `repeat`, or name one copy: `same: {text}.0`"))  # fmt: skip
    elif owner.runs and draft.runs and draft.share and not owner.share:
        builder.say(Diagnostic("share-mismatch", f"the copies of `{draft.name}` share one module, and those of `{text}` do not", span, help=f"drop `share`, or name one copy: `same: {text}.0`"))
    else:
        _held(builder, draft, owner, text, span)
    for node in [node for _, node in draft.runs] or [draft]:
        node.said["same"] = module(owner, address)


def module(owner: Draft, address: str) -> str:
    """The address of the module itself, also where a use of it is named."""
    return str(owner.said.get("same") or address)


def _held(builder: Builder, draft: Draft, owner: Draft, text: str, span: Span) -> None:
    """Hold a use against its module; the first difference is said."""
    for name, mine, theirs in pairs(draft, owner):
        found = _unlike(mine, theirs, name)
        if found is not None:
            at = mine.chosen.spans.get(found.key, span) if mine.chosen is not None and not name else span
            builder.say(Diagnostic("share-mismatch", f"`{draft.name}` is one more use of `{text}`: {found.said}", at, related=(Note("the module", owner.span),), help=found.help))
            draft.broken = True  # of which module it is nobody knows: what follows says nothing more
            return
    if any(item.shared is None and item.chosen is None for item in (draft, owner)):
        return  # one copy of a container: what is inside says it
    one, two = ((item.said if item.shared is None else item.shared.said).get("dtype", "f32") for item in (draft, owner))
    if one != two:
        builder.say(Diagnostic("share-mismatch", f"`{draft.name}` is one more use of `{text}`: `dtype` cannot be {one} here and {two} there",
                               span, related=(Note("the module", owner.span),), help=f"let both be of one dtype, {OWN}"))  # fmt: skip


# --- two drafts side by side ---
def pairs(one: Draft, two: Draft) -> Iterator[tuple[str, Draft, Draft]]:
    """What stands at the same address below both, from the outside in. Of copies each with its counterpart."""
    todo = [("", one, two)]
    while todo:
        name, a, b = todo.pop()
        if a.broken or b.broken:
            continue
        if name or not a.runs:
            yield name, a, b
        if a.runs:
            todo.extend((name, *pair) for pair in reversed([*_copies(a, b)]))
        elif a.inner is not None and b.inner is not None:
            inside = b.inner.nodes
            todo.extend((f"{name}.{key}".lstrip("."), item, inside[key]) for key, item in reversed(a.inner.nodes.items()) if key in inside)


def _copies(a: Draft, b: Draft) -> Iterator[tuple[Draft, Draft]]:
    """The drafts that stand for copies of both; where the second is one module, all copies are that one."""
    if not b.runs or b.share:
        only = b.runs[0][1] if b.runs else b
        yield from ((node, only) for _, node in a.runs)
        return
    ends = [[*accumulate(count for count, _ in draft.runs)] for draft in (a, b)]
    i = j = 0
    while i < len(ends[0]) and j < len(ends[1]):
        yield a.runs[i][1], b.runs[j][1]
        end = min(ends[0][i], ends[1][j])
        i, j = i + (ends[0][i] == end), j + (ends[1][j] == end)


def _unlike(mine: Draft, theirs: Draft, name: str) -> Unlike | None:
    """What makes a draft another module than the one that it is to be."""
    of = f" of `{name}`" if name else ""
    if mine.runs or theirs.runs:
        one, two = ((item.count if item.runs else 1, item.share) for item in (mine, theirs))
        return None if one == two else Unlike(f"`{name}` cannot have {_copied(*one)} here and {_copied(*two)} there", f"let both have as many, {OWN}")
    for first, second, where in ((mine, theirs, "here"), (theirs, mine, "there")):
        more = _more(first, second)
        if more:
            same = "say the same `norm` at both" if more.endswith("_norm") else "let the same stand at both"
            return Unlike(f"`{more}` stands inside it only {where}", f"{same}, {OWN}")
        fed = next((port for port in first.ports if port not in second.ports), "") if mine.inner is not None and theirs.inner is not None else ""
        if fed:
            return Unlike(f"`{fed}`{of} is an input of it only {where}", "feed both the same inputs, by the same names")
    return _unlike_leaf(mine, theirs, name, of)


def _unlike_leaf(mine: Draft, theirs: Draft, name: str, of: str) -> Unlike | None:
    """What makes a leaf another one. The widths of the use itself facts hold against those of the module."""
    if mine.inner is not None or mine.chosen is None or theirs.chosen is None or mine.kind is None or theirs.kind is None:
        return None
    if mine.kind is not theirs.kind:
        return Unlike(f"{f'`{name}`' if name else 'it'} cannot be of kind {mine.kind.name} here and {theirs.kind.name} there", f"let both be of one kind, {OWN}")
    if mine.chosen.options != theirs.chosen.options:
        one, two = mine.chosen.options.model_dump(by_alias=True), theirs.chosen.options.model_dump(by_alias=True)
        key = next((key for key in one if one[key] != two.get(key) and (name or key not in mine.kind.size_options)), "")
        if key:
            return Unlike(f"`{key}`{of} cannot be {one.get(key)!r} here and {two.get(key)!r} there", f"drop it here, {OWN}", key)
    dtypes = [item.said.get("dtype", "f32") for item in (mine, theirs)]
    if name and dtypes[0] != dtypes[1]:
        return Unlike(f"`dtype`{of} cannot be {dtypes[0]} here and {dtypes[1]} there", f"let both be of one dtype, {OWN}")
    if mine.said.get("freeze") and not theirs.said.get("freeze") and mine.chosen.definition.parameters:
        return Unlike(f"`freeze`{of} cannot be true here and false there", f"freeze it where it stands, {OWN}")
    return None


def _copied(count: int, share: bool) -> str:
    return f"{count} {'shared ' if share else ''}cop{'y' if count == 1 else 'ies'}"


def _more(one: Draft, two: Draft) -> str:
    """A node inside the first draft that the second has not; copies of one node hold its norms inside."""
    if one.inner is None:
        return ""
    names = two.inner.nodes.keys() if two.inner is not None else ()
    lone = two.inner is None
    return next((name for name, node in one.inner.nodes.items() if name not in names and not (lone and not node.cause)), "")
