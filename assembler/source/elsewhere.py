"""What others call it: names of PyTorch, Keras, Transformers and the papers, and what they are called here.

Read only where a recipe names something that is not there. Keys are in small letters without `_` and `-`.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

KINDS: Mapping[str, str] = {
    "dense": "`linear`", "fc": "`linear`", "fullyconnected": "`linear`", "affine": "`linear`", "projection": "`linear`", "proj": "`linear`",
    "ffn": "`mlp`", "feedforward": "`mlp`", "feedforwardnetwork": "`mlp`", "positionwisefeedforward": "`mlp`", "perceptron": "`mlp`",
    "gatedmlp": "`swiglu`", "llamamlp": "`swiglu`",
    "mha": "`attention`", "multiheadattention": "`attention`", "selfattention": "`attention`", "multiheadselfattention": "`attention`", "sdpa": "`attention`",
    "crossattn": "`cross_attention`", "encoderdecoderattention": "`cross_attention`",
    "sum": "`add`", "plus": "`add`", "mul": "`multiply`", "product": "`multiply`", "cat": "`concat`", "concatenate": "`concat`",
    "positionalencoding": "`sinusoidal_position` or `learned_position`", "positionembedding": "`learned_position`", "positionalembedding": "`learned_position`",
    "tokenembedding": "`embedding`", "wordembedding": "`embedding`", "embed": "`embedding`", "lookup": "`embedding`", "patchembedding": "`patch_embed`",
    "conv": "`conv2d` or `conv1d`", "convolution": "`conv2d` or `conv1d`", "maxpool": "`max_pool2d`", "maxpooling2d": "`max_pool2d`", "avgpool": "`avg_pool2d`", "averagepooling2d": "`avg_pool2d`",
    "globalaveragepooling": "`mean_pool`", "globalavgpool": "`mean_pool`", "gap": "`mean_pool`",
    "ln": "`layer_norm`", "layernormalization": "`layer_norm`", "bn": "`batch_norm`", "batchnormalization": "`batch_norm`", "gn": "`group_norm`",
    "reshape": "`rearrange`", "view": "`rearrange`", "einops": "`rearrange`", "transpose": "`permute`",
    "sequential": "`sequence`", "chain": "`sequence`", "module": "`graph`", "block": "`graph`",
    "residual": "`bus`, whose parts each add to what they read", "skip": "`bus`, whose parts each add to what they read",
    "transformer": "`bus` with `repeat: n` and the parts `attention` and `mlp`",
    "mixtureofexperts": "`moe`", "sparsemoe": "`moe`",
    "broadcast": "`expand`", "parameter": "`learned_tokens`", "queries": "`learned_tokens`", "latents": "`learned_tokens`",
    "subtract": "`add` behind `{kind: scale, value: -1.0}`",
    "adaptiveavgpool2d": '`mean_pool` behind `{kind: rearrange, pattern: "b c h w -> b (h w) c"}`',
    "pixelshuffle": '`{kind: rearrange, pattern: "b (c p q) h w -> b c (h p) (w q)", sizes: {p: 2, q: 2}}`',
    "ensemble": "`parallel` with `members: n` and `join: mean`",
}  # fmt: skip
"""A kind elsewhere -> what to write."""

_OPTIONS: Mapping[str, str] = {
    "heads": "numheads nheads nhead numattentionheads",
    "kv_heads": "numkeyvalueheads numkvheads nkvheads",
    "head_dim": "dimhead headsize keydim",
    "causal": "iscausal masked autoregressive",
    "rotary": "rope userope rotaryembedding",
    "window": "slidingwindow windowsize attentionwindow",
    "rotary_dim": "rotaryndims rotarydims",
    "rotary_base": "ropetheta ropebase theta",
    "hidden": "intermediatesize dimfeedforward ffndim dff hiddenfeatures hiddendim hiddensize mlpdim innerdim ninner ffnhidden",
    "in": "infeatures inputdim inputsize indim inchannels",
    "out": "outfeatures outputdim outputsize outdim outchannels units dim width features channels filters hiddensize dmodel nembd embeddim embeddingdim numclasses",
    "vocab": "numembeddings vocabsize vocabulary numtokens",
    "padding": "paddingidx padtokenid",
    "length": "maxlen maxlength maxseqlen maxpositionembeddings npositions blocksize contextlength nctx",
    "p": "rate prob probability dropout droprate",
    "dropout": "rate droprate attndropout pdrop",
    "activation": "act fn nonlinearity actfn hiddenact activationfunction actlayer function name",
    "kernel": "kernelsize poolsize window windowsize",
    "stride": "strides",
    "dilation": "dilationrate",
    "groups": "numgroups",
    "patch": "patchsize",
    "eps": "epsilon varianceepsilon layernormeps rmsnormeps",
    "bias": "usebias",
    "affine": "elementwiseaffine center gamma",
    "axis": "dim",
    "rank": "r lorarank",
    "members": "nestimators ensemblesize nmodels",
    "experts": "numexperts numlocalexperts nexperts nroutedexperts",
    "top_k": "k numexpertspertok numselectedexperts",
    "shared": "numsharedexperts nsharedexperts",
    "capacity": "capacityfactor",
    "renormalize": "normtopkprob",
    "balance_weight": "routerauxlosscoef auxlosscoef",
    "z_loss": "routerzlosscoef",
    "jitter": "routerjitternoise",
    "repeat": "numlayers nlayers nlayer depth layers numhiddenlayers",
    "from": "input inputs source",
    "parts": "layers blocks modules children",
    "init": "initializer kernelinitializer weightinit",
    "norm": "normalization",
}  # fmt: skip
_KEYS: Mapping[str, str] = {
    "nodes": "layers modules model network architecture blocks components graph",
    "inputs": "input",
    "outputs": "output",
    "vars": "variables params parameters hyperparameters hparams args",
    "losses": "loss auxlosses",
    "grafts": "patches lora",
}  # fmt: skip


def _turned(table: Mapping[str, str]) -> Mapping[str, tuple[str, ...]]:
    words = [(word, ours) for ours, theirs in table.items() for word in theirs.split()]
    return {word: tuple(ours for theirs, ours in words if theirs == word) for word, _ in words}


OPTIONS = _turned(_OPTIONS)
"""An option of a kind, or a key of a node, elsewhere -> what it may be called here; which of them there are decides."""
KEYS = _turned(_KEYS)
"""The same for what stands at the top of a recipe."""

VALUES: Mapping[str, str] = {
    "swish": "silu", "gelunew": "gelu_tanh", "gelupytorchtanh": "gelu_tanh", "gelufast": "gelu_tanh", "linear": "identity", "none": "identity",
    "ln": "layer_norm", "layernorm": "layer_norm", "rms": "rms_norm", "rmsnorm": "rms_norm", "concatenate": "concat", "cat": "concat", "sum": "add",
}  # fmt: skip
"""One of several choices elsewhere -> what it is called here."""


def plain(name: str) -> str:
    """As the tables spell it."""
    return name.lower().replace("_", "").replace("-", "")


def key(word: str, known: Container[str], table: Mapping[str, tuple[str, ...]]) -> str:
    """The one of the known keys that others call so; else empty."""
    return next((ours for ours in table.get(plain(word), ()) if ours in known), "")


def value(word: str, known: Container[str]) -> str:
    """The one of the known choices that others call so; else empty."""
    ours = VALUES.get(plain(word), "")
    return ours if ours in known else ""
