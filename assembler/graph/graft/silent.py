"""A graft that must not disturb its host at the start: the form in which that can be proved.

docs/decisions/0011-a-silent-graft-has-one-form.md says why each form is what it is. The proof
itself is `checks/grafts.py`'s: here the form is chosen, and what can never be silent is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from assembler.graph.draft import Draft, ScopeDraft
from assembler.graph.graft.place import Target
from assembler.graph.graft.spec import HALF, Overlay
from assembler.graph.model import Ref
from assembler_schemas.diagnostic import Diagnostic, Note
from assembler_schemas.kind import Options

if TYPE_CHECKING:
    from assembler.graph.build import Builder

PASSES = frozenset({"identity", "dropout", "cast", "permute", "rearrange", "flatten", "detach", "mean_pool", "pool"})
"""Kinds that hand zeros on: what makes their input zero makes them zero."""
ZEROED = frozenset({"linear", "mlp", "low_rank", "conv"})
"""Adapters with a writing layer: asked for at the write, it is the last of the graft, and starts at zero."""
EYES = frozenset({"linear", "identity", "scale"})
"""Kinds that can be the identity: a square map, nothing at all, a factor of 1 ((IA)³: Liu et al. 2022)."""
LEARN = "write `scale: learned`: it starts at 0, and the part as it likes"


class Plan(NamedTuple):
    """How a graft starts. `form` "": as its parts do; `scale`: a learned factor at zero; `norm`: the
    gain of the norm behind the part at zero; `write`: the part's writing layer at zero; `adapter`: that of
    the adapter that `write` asks for; `columns`: new columns at zero; `eye`: the part is the identity."""

    form: str = ""
    start: float | None = None
    """Where the factor starts; None: as the graft states it."""
    readers: tuple[Draft, ...] = ()
    """Of `columns`: the linear maps that get new columns."""


def planned(builder: Builder, overlay: Overlay, target: Target, host: Ref, readers: list[Draft], outputs: frozenset[str]) -> Plan | None:
    """The form of one graft, or None after saying why there is none. `outputs`: addresses that leave the graph."""
    if not overlay.demand:
        return Plan()
    scale = overlay.scale
    if overlay.norm == "post":
        return _refuse(builder, overlay, "norm", "norm-on-host", "a norm behind the merge changes the host's value", "write `norm: out`: the norm stands on the part's side, and its gain starts at 0")
    if overlay.mode == "gate" and overlay.form not in ("one_plus", "double_sigmoid"):
        worth = "σ(0) = 1/2: it halves the host" if overlay.form == "sigmoid" else "tanh(0) = 0: it shuts the host off"
        return _refuse(builder, overlay, "form", "gate-not-silent", f"a gate of form `{overlay.form}` cannot leave the host as it is: {worth}", "write `form: one_plus`, h * (1 + part), or `form: double_sigmoid`, h * 2σ(part)")
    if overlay.mode == "blend":
        if scale.value not in (None, 0.0) or (not scale.learned and scale.value is not None):
            return _refuse(builder, overlay, "scale", "blend-not-silent", f"a blend that {'starts at' if scale.learned else 'stays at'} {scale.value:g} is not the host at the start", "write `scale: learned`: it starts at 0")
        return Plan("scale", 0.0)
    if overlay.mode == "concat":
        return _columns(builder, overlay, target, host, readers, outputs)
    if overlay.mode == "replace":
        return _eye(builder, overlay)
    adapt = overlay.write.adapt
    if adapt in ZEROED:
        return Plan("adapter")
    if adapt is not None and adapt not in PASSES:
        return _refuse(builder, overlay, "write", "no-writing-layer", f"an adapter `{adapt}` turns zeros into something else", "write `adapt: linear`: its layer starts at zero")
    if scale.learned and scale.value in (None, 0.0):
        return Plan("scale", 0.0)
    return Plan("norm" if overlay.norm in ("out", "both") else "write")


def factor(overlay: Overlay, plan: Plan) -> tuple[float, bool]:
    """Where the factor of what the part gives starts, and whether it learns."""
    scale = overlay.scale
    usual = HALF if overlay.mode == "blend" else 1.0
    start = plan.start if plan.start is not None else usual if scale.value is None else scale.value
    return start, scale.learned or plan.form == "scale"


def _refuse(builder: Builder, overlay: Overlay, key: str, code: str, message: str, help_text: str) -> Plan | None:
    """Say why there is no silent form. Always None."""
    where = overlay.span(key if key in overlay.spec.fields else "mode")
    builder.say(Diagnostic(code, message, where, label="never silent", help=help_text, related=(Note(f"`{overlay.demand}` demands it here", overlay.span("init")),)))
    return None


def _columns(builder: Builder, overlay: Overlay, target: Target, host: Ref, readers: list[Draft], outputs: frozenset[str]) -> Plan | None:
    """Concat is silent where every reader is a linear map: W h + 0 m."""
    scope = target.level.scope
    if target.side == "in":
        readers = [target.draft] if target.draft is not None else []
    elif target.side == "copy-out":
        readers = []
    leaves = target.shown in outputs or any(ref == host for ref in scope.outputs.values())
    wrong = next((draft for draft in readers if draft.kind is None or draft.kind.name != "linear" or draft.runs), None)
    if readers and wrong is None and not leaves and overlay.scale.value is None and not overlay.scale.learned:
        return Plan("columns", readers=tuple(readers))
    if overlay.scale.span.line or overlay.scale.span.override:
        return _refuse(builder, overlay, "scale", "concat-not-silent", "`scale` beside new columns that start at zero would start the part twice", "drop `scale`")
    what = "it leaves the graph" if leaves else f"`{wrong.name}` is a `{wrong.kind.name if wrong.kind else 'graph'}`" if wrong is not None else "it leaves the copy"
    return _refuse(builder, overlay, "mode", "concat-not-silent", f"concat is silent only in front of linear maps, whose new columns start at zero: {what}", "write `mode: add` or `mode: blend`")


def _eye(builder: Builder, overlay: Overlay) -> Plan | None:
    """What replaces a value must be that value."""
    kind = overlay.spec.part.fields.get("kind")
    word = kind.data if kind is not None else None
    reads = overlay.reads.entries
    own = not reads or all(feed.address == overlay.write.address and not feed.adapt for feeds in reads.values() for feed in feeds)
    help_text = "write `mode: add` (h + part) or `mode: blend` (h + a (part - h)): they can start as the host"
    if overlay.demand == "zero":
        return _refuse(builder, overlay, "mode", "replace-not-silent", "a part that starts at zero and replaces the host's value wipes it out", help_text)
    if word not in EYES:
        return _refuse(builder, overlay, "mode", "replace-not-silent", f"what replaces the host's value must be the identity at the start, and no `{word or 'such part'}` can be", help_text)
    if not own or overlay.norm or overlay.scale.value not in (None, 1.0) or overlay.scale.learned:
        what = "it reads another value" if not own else "a norm changes it" if overlay.norm else "`scale` changes it"
        return _refuse(builder, overlay, "mode", "replace-not-silent", f"what replaces the host's value must be the identity at the start: {what}", help_text)
    return Plan("eye")


# --- how the part starts ---
def silence(builder: Builder, overlay: Overlay, target: Target, part: Draft, plan: Plan) -> bool:
    """Let the part start as the plan says; False after saying why it cannot."""
    scope = target.level.scope
    behind = scope.nodes.get(part.after.node) if part.after is not None else None
    form = "norm" if plan.form == "write" and behind is not None else plan.form
    if form == "norm" and behind is not None:
        return _gain(builder, overlay, scope, part, behind)
    if form == "eye":
        return eye(builder, overlay, part)
    if form != "write":
        return True  # a factor, columns or an adapter of ours starts at zero, and the part as it likes
    writer = writing(builder, scope, part)
    if writer is None:
        builder.say(Diagnostic("no-writing-layer", f"the part of `{overlay.name}` has no layer that could start at zero: it does not end in a linear map of its own", part.span.at(part.path), help=LEARN))
        return False
    asked = writer.said.get("init", {}).get("write")
    if asked not in (None, "zero"):
        builder.say(Diagnostic("place-conflict", f"the writing layer of the part starts as `{asked}`, and the graft `{overlay.name}` as `{overlay.demand}`", part.span.at(part.path), help=f"drop one of them, or {LEARN}"))
        return False
    writer.said["init"] = {**writer.said.get("init", {}), "write": "zero"}
    return True


def eye(builder: Builder, overlay: Overlay, part: Draft) -> bool:
    """Let the part start as the identity."""
    if part.chosen is None:
        return True
    value = getattr(part.chosen.options, "value", 1.0)
    if value != 1.0:
        _refuse(builder, overlay, "mode", "replace-not-silent", f"what replaces the host's value must be the identity at the start, and a factor of {value:g} is not", "drop `value`: the factor starts at 1")
        return False
    if part.chosen.definition.parameters:
        part.said["init"] = {**part.said.get("init", {}), "write": "identity"}
    return True


def _gain(builder: Builder, overlay: Overlay, scope: ScopeDraft, part: Draft, norm: Draft) -> bool:
    """The gain of the norm behind the part starts at zero: a zero part in front of it would be blown up by its first step."""
    writer = writing(builder, scope, part)
    if writer is not None and writer.said.get("init", {}).get("write") == "zero":
        builder.say(Diagnostic("norm-after-zero", f"the part of `{overlay.name}` starts at zero in front of a norm: after one step the norm has it at full strength", part.span.at(part.path),
                               related=(Note("the norm", overlay.span("norm")),), help="drop the part's `init`: the norm's gain starts at 0 instead"))  # fmt: skip
        return False
    if norm.chosen is None or not any(item.writes for item in norm.chosen.definition.parameters.values()):
        builder.say(Diagnostic("no-writing-layer", f"the norm behind the part of `{overlay.name}` has no gain that could start at zero", overlay.span("norm"), help=f"drop `affine: false`, or {LEARN}"))
        return False
    norm.said["init"] = {**norm.said.get("init", {}), "write": "zero"}
    return True


def writing(builder: Builder, scope: ScopeDraft, part: Draft) -> Draft | None:
    """The leaf that makes a part's output, if it has a writing layer of its own."""
    draft: Draft | None = part
    reused = {id(item) for item, *_ in builder.later}
    while draft is not None:
        if id(draft) in reused:
            return None
        if draft.runs:
            draft = draft.runs[-1][1] if draft.runs[-1][0] == 1 else None
        elif draft.inner is not None:
            scope, ref = draft.inner, draft.inner.outputs.get(draft.main, Ref("", ""))
            draft = scope.nodes.get(ref.node)
        elif draft.chosen is None or draft.kind is None:
            return None
        elif any(item.writes for item in draft.chosen.definition.parameters.values()):
            return draft
        elif draft.kind.name in PASSES or (draft.kind.name == "scale" and not _learned(draft.chosen.options)):
            edges = draft.edges.get(draft.first, ()) if draft is not part else ()  # never out of the part
            draft = scope.nodes.get(edges[0].source.node) if edges else None
        else:
            return None
    return None


def _learned(options: Options) -> Any:
    return getattr(options, "learned", False)
