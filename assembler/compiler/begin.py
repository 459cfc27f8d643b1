"""How parameters start, as text: a table by address, and the lines of `initialize` that read it.

Emitted only where a recipe states `init`. Every parameter is drawn under a seed of its own, in at
least single precision (torch has no orthogonal matrix in half precision, and draws a truncated normal
badly there), and rounded to its dtype.
"""

from __future__ import annotations

from assembler.compiler.model import Plan, PlanError
from assembler.compiler.names import literal
from assembler.graph.address import Slice, parse_address

WORDS = ("STARTS", "COPIES")

_FILLS = {
    "zeros": "nn.init.zeros_",
    "ones": "nn.init.ones_",
    "eye": "lambda p: _eye(p)",
    "constant": "lambda p: nn.init.constant_(p, {0})",
    "normal": "lambda p: nn.init.normal_(p, std={0})",
    "trunc_normal": "lambda p: nn.init.trunc_normal_(p, std={0})",
    "uniform": "lambda p: nn.init.uniform_(p, -{0}, {0})",
    "orthogonal": "lambda p: nn.init.orthogonal_(p, gain={0})",
}

_EYE = '''
def _eye(p: torch.Tensor) -> torch.Tensor:
    """The identity: of a matrix, or of a convolution."""
    return nn.init.eye_(p) if p.dim() == 2 else nn.init.dirac_(p, groups=p.shape[0] // p.shape[1])
'''

_EACH = '''
def _each(address: str) -> list[str]:
    """`stack.0:3.up.weight` is one address for each of the copies 0, 1 and 2."""
    head, copies, tail = address.partition(":")
    if not copies:
        return [address]
    before, _, first = head.rpartition(".")
    last, _, after = tail.partition(".")
    return [one for copy in range(int(first), int(last)) for one in _each(f"{before}.{copy}.{after}")]
'''

_DRAW = '''
        for address, fill in [(one, fill) for address, fill in STARTS.items() for one in _each(address)]:
            text = f"{%s}/{address}"
            number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
            for generator in generators:
                generator.manual_seed(number)
            parameter = model.get_parameter(address)
            values = torch.empty_like(parameter, dtype=torch.promote_types(parameter.dtype, torch.float32))
            with torch.no_grad():
                parameter.copy_(fill(values))
'''

_COPY = '''
    copies = {}
    for address, source in COPIES.items():
        for one in _each(address):
            numbers = one.split(".")
            copies[one] = ".".join(numbers[i] if word == "*" else word for i, word in enumerate(source.split(".")))
    for address, source in copies.items():
        while source in copies:
            source = copies[source]
        with torch.no_grad():
            model.get_parameter(address).copy_(model.get_parameter(source))
'''


def tables(plan: Plan) -> list[str]:
    """The tables of starts and of copied values."""
    drawn = "".join(f"    {literal(address)}: {_fill(start)},\n" for address, start in plan.starts.items() if not _source(start))
    copied = "".join(f"    {literal(address)}: {literal(source)},\n" for address, start in plan.starts.items() if (source := _source(start)))
    found = []
    if drawn:
        found.append(f"# How parameters start that do not start as their modules do; 0:3 are the copies 0, 1 and 2.\nSTARTS = {{\n{drawn}}}")
    if copied:
        found.append(f"# Whose values parameters start with; * is the copy of the one that asks.\nCOPIES = {{\n{copied}}}")
    return found


def helpers(plan: Plan) -> list[str]:
    """The functions that `initialize` needs for the tables."""
    return ([_EYE] if "eye" in plan.starts.values() else []) + ([_EACH] if plan.starts else [])


def lines(plan: Plan) -> str:
    """What `initialize` does once every module has started. `%s` is the seed of `address`."""
    starts = [bool(_source(start)) for start in plan.starts.values()]
    seed = "_seed_of(address, seed)" if plan.seeds else "seed"
    return (_DRAW.strip("\n") % seed + "\n" if False in starts else "") + (_COPY.strip("\n") + "\n" if True in starts else "")


def _source(start: str) -> str:
    """The parameter that a start copies, any of its copies as `*`."""
    if not start.startswith("copy("):
        return ""
    segments = parse_address(start[5:-1])
    if isinstance(segments, str):
        raise PlanError(f"{start}: {segments}")
    return ".".join("*" if isinstance(item, Slice) else str(item) for item in segments)


def _fill(start: str) -> str:
    name, _, number = start.partition("(")
    return _FILLS[name].format(repr(float(number[:-1])) if number else "")
