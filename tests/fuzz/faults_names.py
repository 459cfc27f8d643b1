"""Faults of names, keys and options: nothing could be built from these recipes."""

from __future__ import annotations

import re

from tests.fuzz.breaking import Broken, Operator, Site
from tests.fuzz.rules import LEAVES


def _has_from(spec: dict[str, object]) -> bool:
    return "from" in spec


def _single(spec: dict[str, object]) -> bool:
    return isinstance(spec.get("from"), str)


def unknown_kind(site: Site) -> Broken | None:
    path = site.leaves()[0]
    spec = site.at(path)
    spec["kind"] = site.rng.choice([spec["kind"][:-1] + "q", f"torch.nn.{spec['kind'].title()}", spec["kind"] + "_x"])
    return site.done((*path, "kind"))


def unknown_option(site: Site) -> Broken | None:
    path = site.leaves()[0]
    site.at(path)[site.rng.choice(("outt", "width_of", "hiden"))] = 4
    return site.done((*path, list(site.at(path))[-1]))


def foreign_option(site: Site) -> Broken | None:
    paths = site.leaves(lambda spec: spec["kind"] in ("linear", "activation", "layer_norm", "identity"))
    if not paths:
        return None
    site.at(paths[0])["kernel"] = 3
    return site.done((*paths[0], "kernel"))


def unknown_address(site: Site) -> Broken | None:
    paths = site.leaves(_single)
    if not paths:
        return None
    site.at(paths[0])["from"] = site.rng.choice(("nowhere_at_all", "missing.y"))
    return site.done((*paths[0], "from"))


def name_typo(site: Site) -> Broken | None:
    paths = [path for path in site.leaves(_single) if len(path) == 2]
    for path in paths:
        text = site.at(path)["from"]
        wrong = text.split(".")[0][:-1] + "x"
        if wrong not in site.tree["nodes"] and wrong not in site.tree["inputs"]:
            site.at(path)["from"] = wrong
            return site.done((*path, "from"))
    return None


def unknown_output_port(site: Site) -> Broken | None:
    paths = [path for path in site.leaves(_single) if len(path) == 2 and site.at(path)["from"] in site.tree["nodes"]]
    paths = [path for path in paths if site.tree["nodes"][site.at(path)["from"]].get("kind") in LEAVES]
    if not paths:
        return None
    source = site.at(paths[0])["from"]
    if "repeat" in site.tree["nodes"][source]:
        return None
    site.at(paths[0])["from"] = f"{source}.nothing"
    return site.done((*paths[0], "from"))


def unknown_input_port(site: Site) -> Broken | None:
    paths = site.leaves(lambda spec: _single(spec) and not LEAVES[spec["kind"]].many)
    if not paths:
        return None
    spec = site.at(paths[0])
    rule = LEAVES[spec["kind"]]
    spec["from"] = {rule.first: spec["from"], "sideways": spec["from"]}
    return site.done((*paths[0], "from", "sideways"))


def unknown_var(site: Site) -> Broken | None:
    for path in site.leaves():
        names = [name for name in LEAVES[site.at(path)["kind"]].sizes if isinstance(site.at(path).get(name), int)]
        if names:
            name = site.rng.choice(names)
            site.at(path)[name] = site.rng.choice(("2*no_such_var", "no_such_var"))
            return site.done((*path, name))
    return None


def expression_syntax(site: Site) -> Broken | None:
    return _size(site, ("4 *", "(4", "4 ** 2", "4 4"))


def expression_remainder(site: Site) -> Broken | None:
    return _size(site, ("7//2", "9//(2 + 2)", "8//0"))


def _size(site: Site, texts: tuple[str, ...]) -> Broken | None:
    for path in site.leaves():
        names = [name for name in LEAVES[site.at(path)["kind"]].sizes if name in site.at(path)]
        if names:
            name = site.rng.choice(names)
            site.at(path)[name] = site.rng.choice(texts)
            return site.done((*path, name))
    return None


def negative_size(site: Site) -> Broken | None:
    for path in site.leaves():
        names = [name for name in LEAVES[site.at(path)["kind"]].sizes if name in site.at(path) and name != "padding"]
        if names:
            name = site.rng.choice(names)
            site.at(path)[name] = site.rng.choice((-4, 0))
            return site.done((*path, name))
    return None


def option_type(site: Site) -> Broken | None:
    for path in site.leaves():
        spec = site.at(path)
        for name, wrong in (
            ("bias", "maybe"),
            ("affine", 3),
            ("out", 3.5),
            ("dropout", "half"),
            ("eps", True),
            ("causal", "yes please"),
        ):
            if (name in LEAVES[spec["kind"]].plain or name in spec) and not site.overruled(path, name):
                spec[name] = wrong
                return site.done((*path, name))
    return None


def option_range(site: Site) -> Broken | None:
    path = site.leaves()[0]
    choices = {
        "dropout": ("p", 1.5),
        "activation": ("activation", "rellu"),
        "softmax": ("temperature", 0.0),
        "stack": ("axis", 2),
        "gate": ("form", "open"),
    }
    for path in site.leaves(lambda spec: spec["kind"] in choices):
        name, wrong = choices[site.at(path)["kind"]]
        if site.overruled(path, name):
            continue
        site.at(path)[name] = wrong
        return site.done((*path, name))
    return None


def missing_required(site: Site) -> Broken | None:
    needs = {"attention": "heads", "cross_attention": "heads", "conv1d": "kernel", "conv2d": "kernel", "max_pool2d": "kernel", "avg_pool2d": "kernel",
             "patch_embed": "patch", "group_norm": "groups", "rearrange": "pattern"}  # fmt: skip
    for path in site.leaves(lambda spec: spec["kind"] in needs):
        site.at(path).pop(needs[site.at(path)["kind"]])
        return site.done(path, (*path, "kind"))
    return None


def missing_kind(site: Site) -> Broken | None:
    path = site.leaves()[0]
    site.at(path).pop("kind")
    if not site.at(path):
        return None
    return site.done(path)


def two_nouns(site: Site) -> Broken | None:
    path = site.leaves(top=True)[0]
    other = next((name for name in site.tree["nodes"] if name != path[-1]), None)
    site.at(path)["like"] = other
    return site.done((*path, "like")) if other else None


def reserved_name(site: Site) -> Broken | None:
    found = site.value(lambda kind: True)
    if found is None:
        return None
    name = site.rng.choice(("forward", "class", "train", "losses", "self"))
    path = site.node({"kind": "identity", "from": found[0]}, name, read=False)
    return site.done(path)


def name_syntax(site: Site) -> Broken | None:
    found = site.value(lambda kind: True)
    if found is None:
        return None
    path = site.node(
        {"kind": "identity", "from": found[0]}, site.rng.choice(("Bad", "a-b", "_hidden", "2nd")), read=False
    )
    return site.done(path)


def duplicate_key(site: Site) -> Broken | None:
    """The line of a node stands there twice."""
    page = site.page()
    names = [
        name for name in site.tree["nodes"] if re.match(rf"  {name}: \{{", page.lines[page.line("nodes", name) - 1])
    ]
    if not names:
        return None
    line = page.line("nodes", site.rng.choice(names))
    lines = [*page.lines[:line], page.lines[line - 1], *page.lines[line:]]
    return Broken("\n".join(lines) + "\n", site.sample.overrides, frozenset({line, line + 1}))


def unknown_top_key(site: Site) -> Broken | None:
    key = site.rng.choice(("node", "layers", "input"))
    site.tree[key] = {"x": 1}
    return site.done((key,))


def port_type_syntax(site: Site) -> Broken | None:
    name = site.rng.choice(sorted(site.tree["inputs"]))
    site.tree["inputs"][name] = site.rng.choice(("[batch 4", "dens [batch 4]", "[batch 4 *]", "batch 4"))
    return site.done(("inputs", name))


def pattern_syntax(site: Site) -> Broken | None:
    for path in site.leaves(lambda spec: spec["kind"] == "rearrange"):
        site.at(path)["pattern"] = site.rng.choice(("b n d", "b (n d -> b", "b n -> b n q", "b b -> b"))
        return site.done((*path, "pattern"))
    return None


def vars_cycle(site: Site) -> Broken | None:
    found = site.value(lambda kind: kind.last is not None and kind.rank > 1)
    if found is None:
        return None
    site.tree["vars"] = {**site.tree.get("vars", {}), "ring_a": "ring_b + 1", "ring_b": "ring_a + 1"}
    site.node({"kind": "linear", "out": "ring_a", "from": found[0]})
    return site.done(("vars",), ("vars", "ring_a"), ("vars", "ring_b"))


def unknown_adapter(site: Site) -> Broken | None:
    paths = site.leaves(_single, top=True)
    if not paths:
        return None
    site.at(paths[0])["from"] = {"port": site.at(paths[0])["from"], "adapt": "bridge_it"}
    return site.done((*paths[0], "from"))


NAMES = [
    Operator(name, codes, "structure", apply)
    for name, codes, apply in (
        ("unknown kind", ("unknown-kind",), unknown_kind),
        ("unknown option", ("unknown-option",), unknown_option),
        ("option of another kind", ("unknown-option",), foreign_option),
        ("unknown address", ("address-unknown",), unknown_address),
        ("name typo", ("address-unknown",), name_typo),
        ("unknown output port", ("port-unknown",), unknown_output_port),
        ("unknown input port", ("port-unknown",), unknown_input_port),
        ("unknown var", ("expression-unknown",), unknown_var),
        ("expression syntax", ("expression-syntax",), expression_syntax),
        ("division with remainder", ("expression-division",), expression_remainder),
        ("negative size", ("dim-range", "value-range"), negative_size),
        ("option of wrong type", ("value-type",), option_type),
        ("option out of range", ("value-range",), option_range),
        ("missing required option", ("missing-key",), missing_required),
        ("missing kind", ("missing-key",), missing_kind),
        ("two nouns", ("place-conflict",), two_nouns),
        ("reserved name", ("name-reserved",), reserved_name),
        ("name syntax", ("name-syntax",), name_syntax),
        ("duplicate key", ("yaml-duplicate-key",), duplicate_key),
        ("unknown top-level key", ("unknown-key",), unknown_top_key),
        ("port type syntax", ("port-type-syntax", "expression-syntax"), port_type_syntax),
        ("pattern syntax", ("pattern-syntax",), pattern_syntax),
        ("vars in a circle", ("vars-cycle",), vars_cycle),
        ("unknown adapter", ("unknown-kind",), unknown_adapter),
    )
]
