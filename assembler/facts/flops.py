"""Floating point operations of one forward pass, counted from types and bodies: exact polynomials over the run-time sizes.

What counts is what `torch.utils.flop_counter` counts: matrix products (distances to a codebook are one), convolutions and
attention (causal or not, all scores), two for each multiplication with its addition. Element-wise work, norms and lookups are left out. Of a mixture
whose experts are alike each row runs `top_k`; a limit on rows (`capacity`) leaves fewer, so the count is then the most.
"""

from __future__ import annotations

from assembler.facts.flops_shape import COSTED, Unknown, cost
from assembler.facts.model import Facts, NodeFacts, ScopeFacts
from assembler.facts.runs import runs
from assembler.graph.mixture import Mixture, mixture_of
from assembler.graph.model import Graph, Group, Leaf, Node, Repeat, Scope
from assembler.graph.rewrite import prune
from assembler_schemas.dim import Dim, DimLimit

_LEAVES: dict[int, tuple[NodeFacts, Dim | None]] = {}
"""By the identity of facts, which all leaves that are alike share."""


def flops(graph: Graph, facts: Facts) -> Dim | None:
    """Of a graph without conflicts, over the names of its inputs' sizes; a row of unnamed axes (`...`) is the number of
    its elements. None where it cannot be said: a module that states no body, experts that are not alike.
    """
    try:
        return _scope(prune(graph.scope), facts.root)
    except (Unknown, DimLimit):
        return None


def _scope(scope: Scope, facts: ScopeFacts, mixture: Mixture | None = None) -> Dim:
    """The sum over the nodes of a scope; the reader bounds how deep they nest."""
    total: Dim = 0
    experts: list[tuple[int, Dim]] = []
    for name, node in scope.nodes.items():
        if mixture is not None and name in mixture.experts:
            experts += _copies(node, facts.nodes[name])
        elif mixture is None or node is not mixture.mix:  # Rows are gathered and summed, not multiplied with zeros.
            total = total + _node(node, facts.nodes[name])
    return total + _chosen(experts, mixture.top_k) if mixture is not None else total


def _chosen(experts: list[tuple[int, Dim]], top_k: int) -> Dim:
    """What each row runs of (how many, what each of them costs): which of unlike ones it chooses is not known."""
    total: Dim = 0
    count = sum(number for number, _ in experts)
    if len({item for _, item in experts}) > 1 and top_k < count:
        raise Unknown
    for number, item in experts:
        total = total + item * number
    return total if top_k >= count else experts[0][1] * top_k


def _node(node: Node, facts: NodeFacts) -> Dim:
    if isinstance(node, Leaf):
        return _leaf(facts)
    if isinstance(node, Group):
        if facts.inner is None:
            raise Unknown
        return _scope(node.scope, facts.inner, _skipping(node))
    total: Dim = 0
    for count, item in _copies(node, facts):
        total = total + item * count
    return total


def _skipping(node: Group) -> Mixture | None:
    """The mixture that a group is, if its rows skip experts: where zeros among the gates learn too, all run."""
    found = mixture_of(node)
    return None if found is None or getattr(found.gating.options, "straight_through", None) == "dense" else found


def _copies(node: Node, facts: NodeFacts) -> list[tuple[int, Dim]]:
    """How many copies there are, and what each costs; copies that share weights run as often as others."""
    if not isinstance(node, Repeat):
        return [(1, _node(node, facts))]
    return [(len(copies), _node(inner, known)) for copies, _, inner, known in runs(node, facts)]


def _leaf(facts: NodeFacts) -> Dim:
    known = _LEAVES.get(id(facts))
    if known is None or known[0] is not facts:
        if len(_LEAVES) > 5_000:
            _LEAVES.clear()
        known = _LEAVES[id(facts)] = facts, _worked_out(facts)
    if known[1] is None:
        raise Unknown
    return known[1]


def _worked_out(facts: NodeFacts) -> Dim | None:
    if facts.definition is None or not facts.definition.body:
        return None
    if not any(step.op in COSTED for step in facts.definition.body):
        return 0
    try:
        return cost(facts)
    except Unknown:
        return None

