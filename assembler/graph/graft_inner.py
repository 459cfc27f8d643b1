"""Grafts inside a kind (LoRA on `attend.q`): the host's definition with the part's parameters and steps in it.

The host keeps every parameter and its key. What its inner linear map gives is renamed in the body,
the part's steps follow, and a sum gives the old name. The module is built by `GraftedLinear`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from assembler.graph.address import parse_address
from assembler.graph.container import norm_node
from assembler.graph.draft import Draft, ScopeDraft
from assembler.graph.feed import Feed
from assembler.graph.graft_place import Placed, Target
from assembler.graph.graft_read import common
from assembler.graph.graft_silent import LEARN
from assembler.graph.graft_spec import Overlay
from assembler.graph.insert import insert
from assembler.graph.model import Ref
from assembler.graph.shared import Shared
from assembler.source.tree import value_of
from assembler_schemas.diagnostic import Diagnostic
from assembler_schemas.kind import Branch, Definition, Expr, Module, Parameter, Require, Step

if TYPE_CHECKING:
    from assembler.graph.build import At, Builder

_WORD = re.compile(r"[a-z][a-z0-9_]*")
_ROW = re.compile(r"\[\.\.\. ([a-z][a-z0-9_]*)\]\Z")
_FUNCTIONS = frozenset({"sqrt", "uniform", "normal", "constant", "zeros", "ones"})
RESERVED = frozenset({"weight", "bias", "branches", "into", "in_features", "out_features"})
"""What a linear map has already: no graft inside it can be called so."""
UNSAID = ("from", "repeat", "norm", "seed", "dtype", "tie", "same", "like")
"""Keys that a part inside a kind does not have."""
_NUMBERS = ("scale", "width")
"""Attributes of steps that are texts over sizes."""


class _Inner(NamedTuple):
    """A linear map inside a kind: the values that it takes and gives, and their widths as texts over the host's sizes."""

    x: str
    y: str
    columns: str
    rows: str


def graft_inside(builder: Builder, overlay: Overlay, target: Target, at: At) -> None:
    """Put a graft into the host's definition, or say why it cannot stand there."""
    host = target.draft
    assert host is not None
    assert host.chosen is not None
    inner = _linear(host.chosen.definition, target.port)
    if inner is None:
        builder.say(Diagnostic("graft-place", f"`{target.shown}` is no linear map over the last axis: nothing can be added to it", overlay.span("write"), help="write the graft onto the node"))
        return
    parts = _parts(builder, overlay, target, at) if _may(builder, overlay, target) else None
    if parts is None:
        return
    feeds = [feed for entry in overlay.reads.entries.values() for feed in entry]
    reads = "x" if feeds and _reads(target, feeds[0]) == "x" else "sum" if overlay.after else "y"
    made = _Splice(host.chosen.definition, inner, target.port, overlay, reads).run(parts)
    if isinstance(made, str):
        builder.say(Diagnostic("graft-place", f"the part of `{overlay.name}` cannot stand inside `{target.shown}`: {made}", overlay.spec.part.span.at(overlay.spec.part.path), help="inside a kind a part is one module with one input and one output: `kind: low_rank`, `linear`, `mlp`"))
        return
    host.chosen = host.chosen._replace(definition=made)
    host.ports, host.gives = dict(made.inputs), dict(made.outputs)
    builder.grafted.append(
        Placed(overlay, target, Ref("", f"{target.port}.{overlay.name}.host"), Ref("", inner.y), ("", "", 0), tuple(f"{target.port}.{draft.name}" for draft in parts), host.name)
    )


def _linear(definition: Definition, place: str) -> _Inner | None:
    card = definition.parameters.get(f"{place}.weight")
    steps = [step for step in definition.body if f"{place}.weight" in step.inputs]
    if card is None or len(card.shape) != 2 or len(steps) != 1 or steps[0].op != "matmul" or steps[0].attributes.get("spec") != "...i,oi->...o" or not isinstance(definition.build, Module):
        return None
    if any(place.startswith(f"{branch.place}.") for branch in definition.branches):
        return None
    biased = next((step for step in definition.body if f"{place}.bias" in step.inputs), None)
    made = (biased or steps[0]).output
    # After another graft the old name is what that graft's sum gives.
    last = next((branch.value for branch in reversed(definition.branches) if branch.place == place), made)
    return _Inner(steps[0].inputs[0], last, card.shape[1], card.shape[0])


def _reads(target: Target, feed: Feed) -> str | None:
    """Whether an address of `read` is the map's own input ("x") or output ("y"); None: neither."""
    segments = parse_address(feed.address)
    depth, rest = common(target.levels, segments) if not isinstance(segments, str) else (-1, ())
    single = target.level.run is not None and target.level.run.inner is None
    own = (target.port,) if single or target.draft is None else (target.draft.name, target.port)
    if depth != len(target.levels) - 1 or rest[: len(own)] != own:
        return None
    left = rest[len(own) :]
    return "y" if not left else "x" if left == ("x",) else None


def _may(builder: Builder, overlay: Overlay, target: Target) -> bool:
    """Inside a kind a graft adds, and reads the map's own input or output."""
    spec, host = overlay.spec, target.draft.chosen if target.draft is not None else None
    assert host is not None
    feeds = [feed for feeds in overlay.reads.entries.values() for feed in feeds]
    if overlay.mode != "add":
        code, message, where, mend = "graft-place", f"inside `{target.shown.rpartition('.')[0]}` a graft can only add, and this is `{overlay.mode}`", overlay.span("mode"), "write `mode: add`, or write the graft onto the node"
    elif overlay.norm == "post":
        code, message, where, mend = "norm-place", "`norm: post` stands after the merge, and inside a kind there is no room for it", overlay.span("norm"), "write `norm: out`"
    elif overlay.write.adapt is not None or any(feed.adapt or feed.detach for feed in feeds):
        code, message, where, mend = "graft-place", "inside a kind no edge can be adapted or detached", overlay.span("write"), "drop it: the part's widths follow the map's"
    elif len(feeds) > 1 or (feeds and _reads(target, feeds[0]) is None) or any(label not in ("", "x") for label in overlay.reads.entries):
        code, message, where, mend = "graft-place", f"inside a kind a graft reads what its map reads, not `{feeds[0].address}`", overlay.span("read"), f"write `read: {overlay.write.address}.x`"
    elif overlay.name in RESERVED or any(key.startswith(f"{target.port}.{overlay.name}.") for key in host.definition.parameters):
        code, message, where, mend = "name-taken", f"`{overlay.name}` is a graft and something of `{target.shown}`", spec.span.at(spec.path), "rename the graft"
    elif keys := [key for key in UNSAID if key in spec.part.fields]:
        code, message, where, mend = "graft-place", f"inside a kind a part has no `{keys[0]}` of its own", spec.part.fields[keys[0]].key.at(f"{spec.part.path}.{keys[0]}"), "drop it; `read`, `norm` and `scale` stand at the graft"
    elif (init := spec.part.fields.get("init")) is not None and init.plain() not in ("zero", {"write": "zero"}):
        code, message, where, mend = "graft-place", "inside a kind a part starts as its kind does, or at zero", init.span.at(f"{spec.part.path}.init"), "write `init: zero`, or drop it"
    else:
        return True
    builder.say(Diagnostic(code, message, where, help=mend))
    return False


def _parts(builder: Builder, overlay: Overlay, target: Target, at: At) -> list[Draft] | None:
    """The part with its norms and its factor, in order, drafted in a scope of their own."""
    level, name = target.level, overlay.name
    scope = ScopeDraft(f"{target.draft.address}.{target.port}" if target.draft is not None else "", level.scope.env, policy="never")
    inherited = {key: item for key, item in level.inherited.items() if key == "norm_kind"}
    here = at._replace(address=f"{scope.address}.{name}", path=(*level.path, str(target.draft.name if target.draft else ""), target.port, name), counts=(*level.counts, 0, 0, 0), inherited=inherited)
    claims = len(builder.tied) + len(builder.later) + len(builder.copied)
    part = builder.node(replace(overlay.spec.part, name=name), scope, here)
    if part.broken:
        return None
    wrong = [key for key in part.said if key in ("seed", "dtype") or (key == "init" and part.said[key] != {"write": "zero"})]
    if wrong or len(builder.tied) + len(builder.later) + len(builder.copied) > claims:
        # From a slot's filler or a rule; what the graft itself says is refused where it stands.
        what = wrong[0] if wrong else "tie"
        builder.say(Diagnostic("graft-place", f"inside a kind a part has no `{what}` of its own", part.span.at(part.path), help="it starts as its kind does, or at zero, in the dtype of its host"))
        return None
    if part.chosen is None or part.inner is not None or part.runs:
        builder.say(Diagnostic("graft-place", f"the part of `{name}` holds others: inside a kind a part is one module", part.span.at(part.path), help="write `kind: low_rank`, `linear`, `mlp`, or write the graft onto the node"))
        return None
    shared = Shared(norm_kind=overlay.norm_kind or inherited.get("norm_kind"))
    around = {word: norm_node(builder, scope, f"{name}_{word}_norm", shared, f"{word} norm of graft {name}", part) for word in ("pre", "out") if overlay.norm in (word, "both")}
    found = [*([around["pre"]] if "pre" in around else []), part, *([around["out"]] if "out" in around else [])]
    scale = overlay.scale
    start = 0.0 if overlay.demand and scale.value is None else 1.0 if scale.value is None else scale.value
    if scale.learned:
        options = {"value": start, "learned": True, **({"channel": True} if scale.channel else {})}
        fields = {key: (value_of(item, scale.span), overlay.env) for key, item in options.items()}
        found.append(insert(builder, scope, f"{name}_scale", "scale", fields, f"scale of graft {name}", scale.span))
    if any(draft.broken for draft in found):
        return None
    return found if not overlay.demand or (scale.learned and start == 0.0) or _quiet(builder, overlay, part, around.get("out")) else None


def _quiet(builder: Builder, overlay: Overlay, part: Draft, norm: Draft | None) -> bool:
    """Let the part, or the norm behind it, start at zero."""
    draft = norm or part
    assert draft.chosen is not None
    asked = part.said.get("init", {}).get("write")
    if norm is not None and asked == "zero":
        builder.say(Diagnostic("norm-after-zero", f"the part of `{overlay.name}` starts at zero in front of a norm: after one step the norm has it at full strength", part.span.at(part.path), help="drop the part's `init`: the norm's gain starts at 0 instead"))
        return False
    if not any(item.writes for item in draft.chosen.definition.parameters.values()):
        builder.say(Diagnostic("no-writing-layer", f"the part of `{overlay.name}` has no layer that could start at zero", part.span.at(part.path), help=LEARN))
        return False
    draft.said["init"] = {"write": "zero"}
    return True


# --- one definition out of two ---
class _Splice:
    def __init__(self, host: Definition, inner: _Inner, place: str, overlay: Overlay, reads: str) -> None:
        self.host, self.inner, self.place, self.overlay, self.reads = host, inner, place, overlay, reads
        self.parameters: dict[str, Parameter] = {}
        self.requires: list[Require] = []
        self.steps: list[Step] = []
        self.modules: list[tuple[str, Module]] = []

    def run(self, parts: list[Draft]) -> Definition | str:
        name, inner = self.overlay.name, self.inner
        own = f"{self.place}.{name}."
        before = own + "host"
        first = next((branch for branch in self.host.branches if branch.place == self.place), None)
        host = before if first is None or self.reads == "sum" else f"{self.place}.{first.name}.host"
        value, width = (inner.x, inner.columns) if self.reads == "x" else (host, inner.rows)
        for part in parts:
            made = self.part(part, value, width)
            if isinstance(made, str):
                return made
            value, width = made[0], made[1]
        if width != inner.rows:
            self.requires.append(Require("equal", width, inner.rows, f"the graft {name} gives as many channels as `{self.place}`"))
        factor = 1.0 if self.overlay.scale.learned or self.overlay.scale.value is None else self.overlay.scale.value
        if factor != 1.0:
            self.steps.append(Step(own + "times", "multiply", (value,), {"scale": factor}))
            value = own + "times"
        self.steps.append(Step(inner.y, "add", (before, value)))
        branch = Branch(name, self.place, self.reads, factor, tuple(self.modules), inner.y)
        at = max(index for index, step in enumerate(self.host.body) if step.output == inner.y)
        body = [*self.host.body[:at], self.host.body[at]._replace(output=before), *self.steps, *self.host.body[at + 1 :]]
        return self.host._replace(
            body=tuple(body), parameters={**self.host.parameters, **self.parameters},
            requires=(*self.host.requires, *self.requires), branches=(*self.host.branches, branch),
        )  # fmt: skip

    def part(self, part: Draft, value: str, width: str) -> tuple[str, str] | str:
        """The steps and parameters of one module; what it gives and how wide that is, or what is wrong with it."""
        assert part.chosen is not None
        own = part.chosen.definition
        (port, card), *others = own.inputs.items()
        (out, given), *more = own.outputs.items()
        into, outof = _ROW.match(card.type), _ROW.match(given.type)
        if others or more or into is None or outof is None or not isinstance(own.build, Module):
            return f"`{part.kind.name if part.kind else ''}` is not one module from one row of channels to another"
        names = self.widths(own, into[1], outof[1], width)
        if isinstance(names, str):
            return names
        text = partial(_renamed, names=names)
        prefix = f"{self.place}.{part.name}."
        for key, parameter in own.parameters.items():
            self.parameters[prefix + key] = self.parameter(part, parameter, text)
        if into[1] in own.sizes:
            self.requires.append(Require("equal", width, str(own.sizes[into[1]]), f"`{part.name}` takes what arrives"))
        self.requires.extend(Require(item.relation, text(item.left), text(item.right), item.about, item.training) for item in own.requires)
        known = {port: value, **{key: prefix + key for key in own.parameters}}
        for step in own.body:
            known[step.output] = prefix + step.output
            inputs = tuple(known.get(item, item) for item in step.inputs)
            self.steps.append(Step(known[step.output], step.op, inputs, _attributes(step.attributes, text, known)))
        build = Module(own.build.name, tuple((key, Expr(text(item.text)) if isinstance(item, Expr) else item) for key, item in own.build.arguments))
        self.modules.append((part.name, build._replace(frozen=bool(part.said.get("freeze")))))
        return known[out], names[outof[1]]

    def parameter(self, part: Draft, card: Parameter, text: Callable[[str], str]) -> Parameter:
        zero = card.writes and part.said.get("init", {}).get("write") == "zero"
        shape = tuple(text(item) for item in card.shape)
        return card._replace(shape=shape, init="zeros" if zero else text(card.init), writes=False, trains=not part.said.get("freeze", False), stated=zero)

    def widths(self, own: Definition, into: str, outof: str, width: str) -> dict[str, str] | str:
        """The part's sizes as texts over the host's."""
        names: dict[str, str] = {name: str(value) for name, value in own.sizes.items()}
        names[into] = width
        names.setdefault(outof, self.inner.rows)
        for name, text in own.defaults.items():
            if name not in names:
                names[name] = _renamed(text, names)
        words = {word for card in own.parameters.values() for item in card.shape for word in _WORD.findall(item)}
        missing = sorted(words - names.keys())
        return f"nothing says how large its `{missing[0]}` is" if missing else names


def _renamed(text: str, names: Mapping[str, str]) -> str:
    def one(match: re.Match[str]) -> str:
        word = match[0]
        if word in _FUNCTIONS or word not in names:
            return word
        new = names[word]
        return new if new == text or _WORD.fullmatch(new) or new.isdigit() else f"({new})"

    found = _WORD.sub(one, text)
    return found[1:-1] if found.startswith("(") and _WORD.fullmatch(text) else found


def _attributes(attributes: Mapping[str, Any], text: Callable[[str], str], known: Mapping[str, str]) -> dict[str, Any]:
    found = dict(attributes)
    for key, value in attributes.items():
        if key in _NUMBERS and isinstance(value, str):
            found[key] = text(value)
        elif key == "sizes":
            found[key] = {name: text(item) for name, item in value.items()}
        elif isinstance(value, str) and value in known:
            found[key] = known[value]
    return found
