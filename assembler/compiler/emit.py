"""A plan as one readable module of Python: straight-line statements, torch only.

Decides nothing: every name and number comes from the plan.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from assembler.compiler import begin
from assembler.compiler.model import Bind, ClassPlan, Entry, Loop, Method, Plan, Statement
from assembler.compiler.names import docstring, literal

WIDTH = 110
LIBRARY = "assembler.library.modules"
PLUGGED = "assembler.library.plugged"
PROBE = "probe"

_USES_F = re.compile(r"(?<![\w.])F\.")

_CHECK = '''
def _check(holds: bool, says: str, found: object) -> None:
    """A demand on the inputs; under torch.compile and torch.export it becomes a guard."""
    if torch.compiler.is_exporting():
        torch._check(holds)
    elif torch.compiler.is_compiling():
        torch._check(holds, lambda: says)
    elif not holds:
        raise RuntimeError(f"{says}; found {found}")
'''

_INITIALIZE = '''
def initialize(model: nn.Module, seed: int) -> None:
    """Start every module under a seed of its own, made from `seed` and the module's address.

    So one part can be swapped and all others start as before. torch's own random state stays as it was.
    """
    addresses = {module: address for address, module in model.named_modules()}
    devices = list({parameter.device for parameter in model.parameters() if parameter.is_cuda})
    generators = [torch.default_generator, *(torch.cuda.default_generators[device.index] for device in devices)]
    with torch.random.fork_rng(devices):
        for module in %s:
            if hasattr(module, "reset_parameters"):
                text = f"{%s}/{addresses[module]}"
                number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
                for generator in generators:
                    generator.manual_seed(number)
                module.reset_parameters()
'''

_SEED_OF = '''
def _seed_of(address: str, seed: int) -> int:
    """The seed of the innermost part around `address` that has its own, else `seed`."""
    while address and address not in SEEDS:
        address = address.rpartition(".")[0]
    return SEEDS.get(address, seed)
'''


def emit(plan: Plan, *, probe: bool = False) -> str:
    """The module text. The last class is the model.

    `probe`: the same forward also calls a global `probe(address, value)` for every value, with
    copy numbers in the address; whoever runs the text puts that function in.
    """
    parts = _tables(plan)
    if plan.entries:
        parts.extend([_CHECK, _entry(plan)])
    parts.extend([_SEED_OF] if plan.seeds else [])
    parts.extend(begin.helpers(plan))
    parts.append(_initialize(plan))
    for item in plan.classes:
        parts.append(_class(plan, item, item is plan.classes[-1], probe))
    parts.insert(0, _head(plan, any(_USES_F.search(part) for part in parts)))
    return "\n\n".join(part.strip("\n") + "\n" for part in parts)


def model_class(plan: Plan) -> str:
    """The name of the class that is the model."""
    return plan.classes[-1].name


def body(text: str) -> str:
    """The text behind its imports: what an ejected file shares with it to the last character."""
    lines = text.split("\n")
    start = next(i for i, line in enumerate(lines) if line.startswith(("def ", "class ", "# ", "SEEDS", "OWNERS", "GIVEN", *begin.WORDS)))
    return "\n".join(lines[start:])


def _head(plan: Plan, functional: bool) -> str:
    head = f"import hashlib\n\nimport torch\n{'import torch.nn.functional as F' * functional}\nfrom torch import nn\n"
    head = head.replace("\n\nfrom", "\nfrom")
    lines = [_import(place, names) for place, names in ((LIBRARY, plan.library), (PLUGGED, plan.plugged)) if names]
    return "\n".join([head, *lines]) + "\n" if lines else head


def _import(place: str, names: Sequence[str]) -> str:
    line = f"from {place} import {', '.join(names)}"
    if len(line) <= WIDTH:
        return line
    rows = "".join(f"    {name},\n" for name in names)
    return f"from {place} import (\n{rows})"


def _tables(plan: Plan) -> list[str]:
    found = []
    if plan.seeds:
        rows = "".join(f"    {literal(address)}: {seed},\n" for address, seed in plan.seeds.items())
        found.append(f"SEEDS = {{\n{rows}}}")
    if plan.owners:
        rows = "".join(f"    {literal(address)},\n" for address in plan.owners)
        found.append(f"# Others are tied to what these own, so these start last.\nOWNERS = (\n{rows})")
    if plan.given:
        found.append(f"# The caller's modules: nothing here starts or changes them.\nGIVEN = {literal(tuple(f'{item.address}.' for item in plan.given))}")
    found.extend(begin.tables(plan))
    return ["\n".join(found)] if found else []


def _initialize(plan: Plan) -> str:
    # Of a plugin's module what stands inside starts first: its own `reset_parameters` has the last word.
    modules = "list(addresses)[::-1]" if plan.plugged else "addresses"
    if plan.owners:
        modules = f"[*{modules}, *(model.get_submodule(owner) for owner in OWNERS)]"
    seed = "_seed_of(addresses[module], seed)" if plan.seeds else "seed"
    text = _INITIALIZE
    if plan.given:
        text = text.replace("in model.named_modules()}", 'in model.named_modules() if not f"{address}.".startswith(GIVEN)}')
    return text % (modules, seed) + begin.lines(plan)


def _entry(plan: Plan) -> str:
    arguments = (f"{item.variable}: torch.Tensor{' | None' if item.optional else ''}" for item in plan.inputs)
    lines = _folded(f"def _check_inputs({', '.join(arguments)}) -> None:")
    lines.append('    """Hold the inputs against what the recipe declares."""')
    required = {item.variable for item in plan.inputs if not item.optional}
    for entry in plan.entries:
        pad = "    "
        if entry.optional:
            lines.append(f"{pad}if {entry.input} is not None:")
            pad += "    "
        elif entry.input in required and _after_optional(plan, entry.input):
            lines.append(f'{pad}_check({entry.input} is not None, "input `{entry.input}` is given", None)')
        lines.extend(pad + line for line in _checks(entry))
    return "\n".join(lines)


def _after_optional(plan: Plan, variable: str) -> bool:
    """Whether an input must have a default only because one before it has."""
    for item in plan.inputs:
        if item.variable == variable:
            return False
        if item.optional:
            return True
    return False


def _checks(entry: Entry) -> Iterable[str]:
    for line in entry.lines:
        if isinstance(line, Bind):
            yield f"{line.name} = {line.value}"
        else:
            yield f"_check({line.condition}, {literal(line.says)}, {line.found})"


# --- classes ---
def _class(plan: Plan, item: ClassPlan, root: bool, probe: bool) -> str:
    lines = [f"class {item.name}(nn.Module):"]
    lines.extend(_about(plan) if root else [f'    """{docstring(item.about)}"""'] if item.about else [])
    if len(lines) > 1:
        lines.append("")
    lines.extend(_constructor(item, root))
    if not item.returns:
        return "\n".join(lines)  # nobody calls it: its modules stand elsewhere too
    for method in item.methods:
        lines.extend(["", *_method(method, probe)])
    lines.append("")
    lines.extend(_forward(plan, item, root, probe))
    return "\n".join(lines)


def _about(plan: Plan) -> list[str]:
    title = docstring(plan.name, 200)
    text = docstring(plan.description)
    lines = [f'    """{title}.' if not text else f'    """{title}: {text}', ""]
    for item in plan.inputs:
        lines.append(f"    {docstring(item.name)}: {docstring(item.type)}{' (may be left out)' if item.optional else ''}")
    shown = ", ".join(f"{docstring(name)}: {docstring(kind)}" for name, kind in plan.outputs)
    lines.extend([f"    -> {shown}", '    """'])
    return lines


def _constructor(item: ClassPlan, root: bool) -> list[str]:
    made = [f"self.{sub.name} = {sub.text}" if sub.text else f"self.{sub.name}: nn.Module  # set further out: shared" for sub in item.submodules]
    shared = {sub.name for sub in item.submodules if not sub.text}
    own = {line.split(" = ")[0] for line in item.after}
    made = [line for sub, line in zip(item.submodules, made, strict=True) if sub.name not in shared or f"self.{sub.name}" not in own]
    made.extend(item.after)
    given = [f"{handed.parameter}: nn.Module" for handed in item.given]
    if not root:
        return [*_folded(f"    def __init__({', '.join(['self', *given])}) -> None:"), "        super().__init__()", *_wrapped(made, 8)]
    lines = [*_folded(f"    def __init__({', '.join(['self', *given, '*', 'seed: int | None = None'])}) -> None:"), "        super().__init__()"]
    if made:
        lines.append("        here = torch.get_default_device()")
        lines.append('        with torch.random.fork_rng([here] if here.type == "cuda" else []):')
        lines.extend(_wrapped(made, 12))
    lines.append("        if seed is None:")
    lines.append('            seed = int(torch.randint(2**63 - 1, (), device="cpu"))')
    lines.append("        initialize(self, seed)")
    return lines


def _wrapped(lines: Sequence[str], depth: int) -> list[str]:
    pad = " " * depth
    found = []
    for line in lines:
        if len(line) + depth > WIDTH and line.endswith("])") and "nn.ModuleList([" in line:
            head, _, items = line.partition("([")
            rows = _rows(items.removesuffix("])"))
            found.extend([f"{pad}{head}(", f"{pad}    [", *(f"{pad}        {row}," for row in rows), f"{pad}    ]", f"{pad})"])
        else:
            found.append(pad + line)
    return found


def _rows(items: str) -> list[str]:
    """`A(1, 2), *(B() for _ in range(3))` cut at the commas outside all brackets."""
    rows, start, depth = [], 0, 0
    for index, character in enumerate(items):
        depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0:
            rows.append(items[start:index].strip())
            start = index + 1
    return [*rows, items[start:].strip()]


# --- forward ---
def _forward(plan: Plan, item: ClassPlan, root: bool, probe: bool) -> list[str]:
    lines = []
    if root:
        renamed = any(a.name != a.variable for a in plan.inputs)
        public = _parameters([(a.name, a.optional) for a in plan.inputs])
        gives = "torch.Tensor" if len(plan.outputs) == 1 else "dict[str, torch.Tensor]"
        head = [f"    def forward({', '.join(['self', *public])}) -> {gives}:"]
        if renamed:
            # An input called `torch` keeps its name for callers and hides nothing below.
            arguments = ", ".join(a.name for a in plan.inputs)
            lines.extend([*_folded(head[0]), f"        return self._forward({arguments})", ""])
            head = [f"    def _forward({', '.join(['self', *(a.variable for a in plan.inputs)])}):"]
        lines.extend(_folded(head[0]))
        if plan.entries:
            lines.append(f"        _check_inputs({', '.join(a.variable for a in plan.inputs)})")
        if probe:
            lines.append('        _at = ""')
    else:
        gives = "torch.Tensor" if len(item.returns) == 1 else f"tuple[{', '.join(['torch.Tensor'] * len(item.returns))}]"
        own = [f"{name}: torch.Tensor{' | None' if maybe else ''}" for name, maybe in item.inputs]
        own.extend(["_at"] if probe else [])
        lines.extend(_folded(f"    def forward({', '.join(['self', *own])}) -> {gives}:"))
    if probe:
        lines.extend(_probes(item.entry, "        "))
    for step in item.steps:
        lines.extend(_loop(step, probe) if isinstance(step, Loop) else _statement(step, probe, "        "))
    lines.append(f"        return {_result(plan, item, root)}")
    return lines


def _method(item: Method, probe: bool) -> list[str]:
    own = [f"{name}: torch.Tensor" for name in item.inputs] + (["_at"] if probe else [])
    gives = "torch.Tensor" if len(item.returns) == 1 else f"tuple[{', '.join(['torch.Tensor'] * len(item.returns))}]"
    lines = [*_folded(f"    def {item.name}({', '.join(['self', *own])}) -> {gives}:"), f'        """{docstring(item.about)}"""']
    lines.extend(_probes(item.entry, "        ") if probe else [])
    for step in item.steps:
        lines.extend(_loop(step, probe) if isinstance(step, Loop) else _statement(step, probe, "        "))
    return [*lines, f"        return {', '.join(item.returns)}"]


def _parameters(names: Sequence[tuple[str, bool]]) -> list[str]:
    """Inputs in the recipe's order; one behind an optional input needs a default too."""
    found, optional = [], False
    for name, may_miss in names:
        optional |= may_miss
        found.append(f"{name}: torch.Tensor | None = None" if optional else f"{name}: torch.Tensor")
    return found


def _folded(line: str) -> list[str]:
    if len(line) <= WIDTH:
        return [line]
    head, _, rest = line.partition("(")
    inside, _, tail = rest.rpartition(") ->") if ") ->" in rest else rest.rpartition("):")
    tail = ") ->" + tail if ") ->" in rest else "):" + tail
    pad = " " * (len(line) - len(line.lstrip()))
    return [f"{head}(", *(f"{pad}    {item}," for item in inside.split(", ")), f"{pad}{tail}"]


def _result(plan: Plan, item: ClassPlan, root: bool) -> str:
    if len(item.returns) == 1:
        return item.returns[0]
    if not root:
        return ", ".join(item.returns)
    pairs = zip((name for name, _ in plan.outputs), item.returns, strict=True)
    return "{" + ", ".join(f"{literal(name)}: {value}" for name, value in pairs) + "}"


def _statement(step: Statement, probe: bool, pad: str) -> list[str]:
    value = step.value
    if probe and step.at is not None:
        value = f"{value[:-1]}{'' if value.endswith('()') else ', '}_at={_address(step.at)})"
    line = f"{pad}{', '.join(step.targets)} = {value}"
    lines = [_commented(line, step.place)]
    if probe:
        lines.extend(_probes(step.probes, pad))
    if step.frees:
        lines.append(f"{pad}del {', '.join(step.frees)}")
    return lines


def _loop(step: Loop, probe: bool) -> list[str]:
    pad = "        "
    head = f"{pad}for {step.variable} in {step.over}:"
    if probe:
        start = f", {step.start}" if step.start else ""
        head = f"{pad}for _i, {step.variable} in enumerate({step.over}{start}):"
    lines = [_commented(head, step.place)]
    for inner in step.body:
        lines.extend(_statement(inner, probe, pad + "    "))
    if probe:
        lines.extend(_probes(step.probes, pad))
    if step.frees:
        lines.append(f"{pad}del {', '.join(step.frees)}")
    return lines


def _commented(line: str, place: str) -> str:
    return f"{line}  # {place}" if place else line


def _probes(probes: Sequence[tuple[str, str]], pad: str) -> list[str]:
    return [f"{pad}{PROBE}({_address(address)}, {variable})" for address, variable in probes]


def _address(address: str) -> str:
    """An address of the plan, behind what came down in `_at`. It holds names, dots and `{}` only."""
    if not all(word.isidentifier() or word.isdigit() or word in ("", "{}") for word in address.split(".")):
        raise ValueError(f"{address!r} is no address")
    return f'f"{{_at}}{address.replace("{}", "{_i}")}"'
