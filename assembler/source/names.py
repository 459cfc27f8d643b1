"""Which names a recipe may give: the same text is a Python attribute and a `state_dict` key."""

from __future__ import annotations

import keyword
import re

from assembler_schemas.diagnostic import Diagnostic
from assembler_schemas.span import Span

NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
MAX_NAME = 64

# Every attribute of torch.nn.Module that fits the pattern (a test holds this list against torch's own).
MODULE_ATTRIBUTES = frozenset(
    ["add_module", "apply", "bfloat16", "buffers", "call_super_init", "children", "compile", "cpu", "cuda", "double", "dump_patches", "eval", "extra_repr", "float", "forward", "get_buffer", "get_extra_state", "get_parameter", "get_submodule", "half", "ipu", "load_state_dict", "modules", "mtia", "named_buffers", "named_children", "named_modules", "named_parameters", "parameters", "register_backward_hook", "register_buffer", "register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook", "register_full_backward_pre_hook", "register_load_state_dict_post_hook", "register_load_state_dict_pre_hook", "register_module", "register_parameter", "register_state_dict_post_hook", "register_state_dict_pre_hook", "requires_grad_", "set_extra_state", "set_submodule", "share_memory", "state_dict", "to", "to_empty", "train", "training", "type", "xpu", "zero_grad"]
)
# What torch.fx.GraphModule has besides: a node of such a name is lost where `torch.export` makes a module of a model.
EXPORT_ATTRIBUTES = frozenset(
    ["add_submodule", "code", "delete_all_unused_submodules", "delete_submodule", "graph", "meta", "print_readable", "range_constraints", "recompile", "shape_env", "to_folder", "validate_inputs"]
)
MODULES = ("node", "part", "graft")
OURS = frozenset({"self", "losses"})


def check_name(name: str, what: str, span: Span, attribute: bool = True) -> Diagnostic | None:
    """A diagnostic if `name` cannot be the name of `what` (`node`, `input`, ...)."""
    if NAME.match(name) is None or len(name) > MAX_NAME:
        shown = name if len(name) <= MAX_NAME else name[:MAX_NAME] + "…"
        slug = re.sub(r"[^a-z0-9_]+", "_", name.lower())[:MAX_NAME].strip("_")
        slug = slug if NAME.match(slug) else f"n_{slug}".rstrip("_")
        return Diagnostic(
            "name-syntax", f"{shown!r} cannot name a{'n' if what[0] in 'aeiou' else ''} {what}", span,
            label="a name is [a-z][a-z0-9_]*, at most 64 long", help=f"call it `{slug}`",
        )  # fmt: skip
    if keyword.iskeyword(name) or name in OURS or (attribute and (name in MODULE_ATTRIBUTES or (name in EXPORT_ATTRIBUTES and what in MODULES))):
        owner = "Python" if keyword.iskeyword(name) else "the language" if name in OURS else "torch.nn.Module" if name in MODULE_ATTRIBUTES else "torch.export"
        return Diagnostic(
            "name-reserved", f"`{name}` cannot name a{'n' if what[0] in 'aeiou' else ''} {what}: {owner} needs it", span,
            label="reserved", help=f"call it `{name}_`" if not name.endswith("_") else "choose another name",
        )  # fmt: skip
    return None
