"""The recipe that `assembler new NAME` writes: small, whole, and clean under `check`."""

from __future__ import annotations

TEXT = """\
# A recipe: what the model takes, its nodes, what it gives. Widths that follow need not be written.
#   assembler check {name}.yaml                    all findings
#   assembler show {name}.yaml vars.width=96       every type and parameter, with an override
#   assembler eject {name}.yaml -o {name}.py       plain PyTorch source
#   assembler kinds                                what else there is
recipe: 1
name: {name}

vars: {{width: 64, heads: 4, depth: 2, classes: 10}}

inputs:
  x: "[batch seq 32]"                # batch and seq are known at run time only

nodes:
  embed: {{kind: linear, out: width, from: x}}
  encoder:
    kind: bus                        # a residual stream: each part reads it and adds to it
    repeat: depth
    norm: pre
    from: embed
    parts:
      attend: {{kind: attention, heads: heads}}
      think: {{slot: ffn}}
  final: {{kind: layer_norm, from: encoder}}
  pool: {{kind: mean_pool, from: final}}
  head: {{kind: linear, out: classes, from: pool}}

slots:
  ffn: {{kind: mlp, hidden: 4*width}}  # try: slots.ffn.kind=swiglu

outputs:
  logits: head
"""


def starter(name: str) -> str:
    """The starter recipe under a name of the form [a-z][a-z0-9_]*."""
    return TEXT.format(name=name)
