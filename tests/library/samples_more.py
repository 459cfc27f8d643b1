"""Samples of attention, convolution, tokens, reshaping, gates and adapters for the table test."""

from __future__ import annotations

from assembler.testing.sample import Sample

_SELF = {"x": (5, 8)}
_CROSS = {"x": (5, 8), "memory": (7, 6)}
_IMAGE = {"x": (2, 4, 9, 8)}
_ROWS = {"x": (5, 6)}
_PAIR = {"base": (6,), "gate": (6,)}

_FIXED: tuple[tuple[int, ...], ...] = ((),)
"""For ports without `...`."""

SAMPLES: dict[str, list[Sample]] = {
    "attention": [
        Sample({"heads": 2}, _SELF),
        Sample({"heads": 1, "causal": True, "rotary": True}, {"x": (1, 2)}),
        Sample({"heads": 4, "kv_heads": 2, "head_dim": 6, "out": 5, "causal": True, "out_bias": False}, _SELF),
        Sample({"heads": 2, "bias": False, "rotary": True, "rotary_base": 100.0}, {**_SELF, "mask": (5,)}),
        Sample({"heads": 2, "bias": False, "out_bias": True, "qk_norm": "rms_norm"}, {**_SELF, "bias": (2, 5, 5)}),
        Sample(
            {"heads": 4, "kv_heads": 1, "head_dim": 6, "causal": True, "rotary": True, "qk_norm": "layer_norm"},
            {**_SELF, "mask": (5,), "bias": (4, 5, 5)},
        ),
        Sample({"heads": 2, "causal": True, "dropout": 0.5}, {**_SELF, "mask": (5,)}, leads=((3,), (2, 3))),
        Sample({"heads": 2, "dropout": 1.0}, _SELF, leads=((3,),)),
        Sample({"heads": 2, "causal": True, "window": 2, "rotary": True, "rotary_dim": 2, "scale": 1.0}, {**_SELF, "mask": (5,)}),
        Sample({"heads": 2, "causal": True, "window": 1}, _SELF),
    ],
    "cross_attention": [
        Sample({"heads": 2}, _CROSS),
        Sample({"heads": 1}, {"x": (1, 2), "memory": (1, 3)}),
        Sample({"heads": 4, "kv_heads": 2, "head_dim": 3, "out": 5, "out_bias": False}, {**_CROSS, "mask": (7,)}),
        Sample({"heads": 2, "bias": False, "qk_norm": "rms_norm", "memory_in": 6}, {**_CROSS, "bias": (2, 5, 7)}),
        Sample(
            {"heads": 4, "kv_heads": 1, "head_dim": 6, "qk_norm": "layer_norm"},
            {**_CROSS, "mask": (7,), "bias": (4, 5, 7)},
        ),
        Sample({"heads": 2, "dropout": 0.5}, _CROSS, leads=((3,),)),
        Sample({"heads": 2, "scale": 0.3}, _CROSS),
    ],
    "conv1d": [
        Sample({"kernel": 3}, {"x": (2, 4, 9)}, {"out": 6}, _FIXED),
        Sample({"in": 4, "out": 6, "kernel": 9, "bias": False}, {"x": (2, 4, 9)}, leads=_FIXED),
        Sample(
            {"out": 6, "kernel": 3, "stride": 2, "padding": 4, "dilation": 3, "groups": 2},
            {"x": (2, 4, 9)},
            leads=_FIXED,
        ),
    ],
    "conv2d": [
        Sample({"kernel": 3, "padding": 1}, _IMAGE, {"out": 6}, _FIXED),
        Sample({"in": 4, "out": 4, "kernel": 1, "stride": 2, "bias": False}, _IMAGE, leads=_FIXED),
        Sample(
            {"out": 6, "kernel": [2, 3], "stride": [3, 1], "padding": [0, 2], "dilation": [1, 2], "groups": 2},
            _IMAGE,
            leads=_FIXED,
        ),
    ],
    "max_pool2d": [
        Sample({"kernel": 2}, _IMAGE, leads=_FIXED),
        Sample({"kernel": 3, "stride": 2, "padding": 1}, _IMAGE, leads=_FIXED),
        Sample({"kernel": [2, 5], "stride": [1, 3], "padding": [1, 2]}, _IMAGE, leads=_FIXED),
    ],
    "avg_pool2d": [
        Sample({"kernel": 2}, _IMAGE, leads=_FIXED),
        Sample({"kernel": [9, 8]}, _IMAGE, leads=_FIXED),
        Sample({"kernel": [2, 5], "stride": 3, "padding": [0, 2]}, _IMAGE, leads=_FIXED),
    ],
    "patch_embed": [
        Sample({"patch": 2, "out": 5}, {"x": (2, 3, 4, 6)}, {"h": 2, "w": 3}, _FIXED),
        Sample({"patch": 3, "in": 1, "bias": False}, {"x": (1, 1, 3, 3)}, {"h": 1, "w": 1, "out": 5}, _FIXED),
    ],
    "mean_pool": [
        Sample({}, _ROWS),
        Sample({}, {**_ROWS, "mask": (5,)}),
        Sample({}, {"x": (1, 1)}),
    ],
    "cls_token": [Sample({}, _ROWS), Sample({}, {"x": (1, 1)})],
    "cls_pool": [Sample({}, _ROWS), Sample({}, {"x": (1, 1)})],
    "expand": [
        Sample({}, {"x": (6,), "like": (5, 4)}),
        Sample({"axis": [-2, -1]}, {"x": (3,), "like": (6, 4, 5)}),
        Sample({"axis": -1}, {"x": (3,), "like": (1, 5)}),
        Sample({"axis": [-1, -3]}, {"x": (3,), "like": (6, 2, 5)}),
        Sample({"axis": -3}, {"x": (3, 4), "like": (6, 3, 2)}),
    ],
    "learned_tokens": [Sample({"length": 3}, _ROWS), Sample({"length": 1, "out": 2}, {"x": (1, 1)})],
    "flatten": [
        Sample({}, {"x": (2, 3, 4, 5)}, leads=_FIXED),
        Sample({}, {"x": (2, 3)}, leads=_FIXED),
        Sample({"start": 0}, {"x": (2, 3)}, leads=_FIXED),
        Sample({"start": 2}, {"x": (2, 3, 4, 5)}, leads=_FIXED),
    ],
    "rearrange": [
        Sample({"pattern": "b (h p) d -> b h (p d)", "sizes": {"p": 2}}, {"x": (2, 6, 5)}, {"h": 3}, _FIXED),
        Sample({"pattern": "... s (h e) -> ... h s e", "sizes": {"h": 2}}, {"x": (3, 8)}, {"e": 4}),
        Sample({"pattern": "a 1 b -> 1 (b a) 1"}, {"x": (2, 1, 3)}, leads=_FIXED),
        Sample({"pattern": "a b c -> a b c"}, {"x": (2, 1, 3)}, leads=_FIXED),
    ],
    "batch_norm": [
        Sample({}, {"x": (4, 3)}, leads=_FIXED),
        Sample({"eps": 0.1, "momentum": 0.5}, {"x": (1, 3, 5)}, leads=_FIXED),
        Sample({"affine": False}, {"x": (2, 3, 4, 5)}, leads=_FIXED),
        Sample({}, {"x": (2, 3, 4, 5)}, leads=_FIXED),
    ],
    "group_norm": [
        Sample({"groups": 2}, {"x": (3, 6)}, leads=_FIXED),
        Sample({"groups": 1, "eps": 0.1}, {"x": (1, 3, 5)}, leads=_FIXED),
        Sample({"groups": 3, "affine": False}, {"x": (2, 3, 4, 5)}, leads=_FIXED),
        Sample({"groups": 2}, {"x": (2, 6, 4, 5)}, leads=_FIXED),
    ],
    "gate": [Sample({"form": form}, _PAIR) for form in ("sigmoid", "tanh", "double_sigmoid", "one_plus")]
    + [Sample({}, {"base": (1,), "gate": (1,)})],
    "permute": [
        Sample({}, {"x": (2, 3, 4)}, leads=_FIXED),
        Sample({"order": [3, 0, 2, 1]}, {"x": (2, 3, 4, 5)}, leads=_FIXED),
        Sample({"order": [0]}, {"x": (2,)}, leads=_FIXED),
    ],
    "low_rank": [
        Sample({"out": 5}, {"x": (6,)}),
        Sample({"in": 6, "rank": 2, "bias": True}, {"x": (6,)}, {"out": 5}),
    ],
    "cast": [Sample({"dtype": dtype}, {"x": ()}, leads=((), (6,), (2, 3))) for dtype in ("f64", "f32", "bf16", "f16")],
    "detach": [Sample({}, {"x": ()}, leads=((), (6,), (2, 3)))],
    "gating": [
        Sample({}, {"scores": (5,)}),
        Sample({"experts": 3, "top_k": 3, "temperature": 0.7, "z_loss": 0.1, "balance": "none"}, {"scores": (3,)}),
        Sample({"top_k": 1, "capacity": 0.6, "balance_weight": 0.5, "expert_dropout": 0.4}, {"scores": (5,)}),
        Sample({"capacity": 1.0, "balance": "importance", "balance_weight": 3.0}, {"scores": (5,)}),
        Sample({"score": "sigmoid", "balance": "bias", "renormalize": False}, {"scores": (5,)}),
        Sample({"score": "sigmoid", "top_k": 3, "z_loss": 1.0, "balance_weight": 1.0}, {"scores": (5,)}),
        Sample({"router": "noisy_topk", "balance_weight": 1.0}, {"scores": (5,), "noise": (5,)}),
        Sample({"router": "expert_choice"}, {"scores": (5,)}),
        Sample({"router": "expert_choice", "expert_dropout": 0.5, "score": "sigmoid"}, {"scores": (5,)}),
        Sample({"weighted": False, "balance": "none"}, {"scores": (5,)}),
        Sample({"weighted": False, "top_k": 1, "straight_through": "dense"}, {"scores": (5,)}),
        Sample({"weighted": False, "top_k": 1, "straight_through": "winner", "capacity": 1.5}, {"scores": (5,)}),
        Sample({"top_k": 1, "balance": "importance"}, {"scores": (1,)}),
    ],
    "combine": [Sample({}, {"gates": (3,), "x": [(6,), (6,), (6,)]}), Sample({}, {"gates": (1,), "x": [(6,)]})],
    "jitter": [Sample({"eps": 0.3}, {"x": ()}, leads=((), (6,), (2, 3, 6))), Sample({"eps": 0.0}, {"x": ()}, leads=((6,),))],
    "argmax": [Sample({}, {"x": (6,)}), Sample({}, {"x": (1,)})],
    "straight_through": [Sample({}, {"x": (6,)}), Sample({"temperature": 0.3}, {"x": (1,)})],
    "gumbel": [Sample({"hard": hard, "temperature": 0.7}, {"x": (6,)}) for hard in (True, False)]
    + [Sample({}, {"x": (1,)})],
    "vector_quantize": [
        Sample({"codes": 5}, {"x": (6,)}),
        Sample({"codes": 1, "commit": 1.0, "decay": 0.5, "eps": 0.1}, {"x": (1,)}),
        Sample({"codes": 5, "ema": False, "commit": 0.5}, {"x": (6,)}),
    ],
}
