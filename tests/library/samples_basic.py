"""Samples of the basic kinds for the table test."""

from __future__ import annotations

from assembler.testing.sample import Sample

_ROW = {"x": (6,)}

SAMPLES: dict[str, list[Sample]] = {
    "linear": [
        Sample({"out": 5}, _ROW),
        Sample({"in": 6, "bias": False}, _ROW, {"out": 1}),
        Sample({"in": 1, "out": 3}, {"x": (1,)}),
    ],
    "stacked_mlp": [
        Sample({"members": 3, "hidden": 5, "out": 4}, {"x": (6,)}),
        Sample({"members": 2, "bias": False, "activation": "relu"}, {"x": (6,)}),
    ],
    "mlp": [
        Sample({}, _ROW),
        Sample({"in": 6, "hidden": 7, "out": 5, "activation": "relu", "dropout": 0.3, "bias": False}, _ROW),
        Sample({"activation": "quick_gelu"}, {"x": (1,)}, {"out": 2}),
    ],
    "swiglu": [
        Sample({}, _ROW),
        Sample({"hidden": 7, "out": 5, "bias": True, "dropout": 0.3}, _ROW),
    ],
    "geglu": [Sample({}, _ROW), Sample({"hidden": 7, "bias": True}, _ROW, {"out": 5})],
    "reglu": [Sample({}, _ROW), Sample({"hidden": 7, "dropout": 0.5}, _ROW)],
    "glu": [Sample({}, _ROW), Sample({"in": 6, "out": 5, "bias": False}, _ROW)],
    "activation": [
        Sample({"activation": name}, _ROW)
        for name in [
            "relu",
            "gelu",
            "gelu_tanh",
            "silu",
            "tanh",
            "sigmoid",
            "softplus",
            "elu",
            "leaky_relu",
            "relu6",
            "hardswish",
            "mish",
            "quick_gelu",
            "identity",
        ]
    ],
    "dropout": [
        Sample({}, {"x": ()}, leads=((), (6,), (2, 3, 6))),
        Sample({"p": 0.0}, {"x": ()}, leads=((6,),)),
        Sample({"p": 1.0}, {"x": ()}, leads=((6,),)),
    ],
    "embedding": [
        Sample({"vocab": 11, "out": 5}, {"x": ()}),
        Sample({"out": 3, "padding": 2}, {"x": ()}, {"vocab": 7}, leads=((), (4,), (2, 9))),
    ],
    "learned_position": [
        Sample({}, {"x": (7, 6)}),
        Sample({"length": 9}, {"x": (7, 6)}),
        Sample({"length": 7}, {"x": (7, 1)}),
    ],
    "sinusoidal_position": [
        Sample({}, {"x": (7, 6)}),
        Sample({"base": 500.0}, {"x": (1, 2)}),
    ],
    "scale": [
        Sample({}, _ROW),
        Sample({"value": -0.5}, _ROW),
        Sample({"value": 0.1, "learned": True}, _ROW),
        Sample({"value": 0.25, "learned": True, "channel": True}, _ROW),
    ],
    "layer_norm": [
        Sample({}, _ROW),
        Sample({"eps": 0.1, "bias": False}, _ROW),
        Sample({"affine": False}, _ROW),
        Sample({"affine": False, "bias": False}, _ROW),
    ],
    "rms_norm": [Sample({}, _ROW), Sample({"eps": 0.1}, _ROW), Sample({"affine": False}, _ROW)],
    "concat": [
        Sample({}, {"x": [(6,), (1,), (3,)]}),
        Sample({"axis": -2}, {"x": [(2, 5), (3, 5)]}),
        Sample({"axis": -3}, {"x": [(2, 4, 5)]}),
    ],
    "stack": [
        Sample({}, {"x": [(6,), (6,)]}),
        Sample({"axis": -1}, {"x": [(), (), ()]}),
        Sample({"axis": -3}, {"x": [(4, 5)]}),
    ],
    "add": [Sample({}, {"x": [(6,), (6,), (6,)]}), Sample({}, {"x": [(6,)]})],
    "multiply": [Sample({}, {"x": [(6,), (6,), (6,)]}), Sample({}, {"x": [(6,)]})],
    "mean": [Sample({}, {"x": [(6,), (6,), (6,)]}), Sample({}, {"x": [(6,)]})],
    "blend": [
        Sample({}, {"x": [(6,), (6,)]}),
        Sample({"weight": 0.3}, {"x": [(6,), (6,)]}),
        Sample({"weight": 0.3, "learned": True}, {"x": [(6,), (6,)]}),
        Sample({"weight": 0.9, "learned": True, "channel": True}, {"x": [(6,), (6,)]}),
    ],
    "multi_blend": [
        Sample({}, {"x": [(6,), (6,), (6,)]}),
        Sample({"weights": [1, 0.5, 2.5]}, {"x": [(6,), (6,), (6,)]}),
        Sample({"weights": [1, 0.0, 2.5], "mode": "normalised"}, {"x": [(6,), (6,), (6,)]}),
        Sample({"mode": "normalised"}, {"x": [(6,), (6,)]}),
        Sample({"weights": [1, 0.0, 2], "learned": False}, {"x": [(6,), (6,), (6,)]}),
        Sample({"learned": False}, {"x": [(6,), (6,), (6,)]}),
        Sample({}, {"x": [(6,)]}),
    ],
    "median": [Sample({}, {"x": [(6,)] * n}) for n in (1, 2, 3, 4, 5)],
    "vote": [Sample({}, {"x": [(6,), (6,), (6,)]}), Sample({}, {"x": [(1,)]})],
    "attend": [
        Sample({}, {"x": [(6,), (6,), (6,)], "query": (5,)}),
        Sample({"hidden": 3, "bias": False}, {"x": [(6,)], "query": (1,)}),
    ],
    "select": [
        Sample(options, {"x": [(6,), (6,), (6,)], "scores": (3,)})
        for options in ({}, {"straight_through": "dense"}, {"straight_through": "none"}, {"weighted": True})
    ]
    + [Sample({}, {"x": [(6,)], "scores": (1,)})],
    "softmax": [Sample({}, _ROW), Sample({"temperature": 0.5}, _ROW), Sample({}, {"x": (1,)})],
    "identity": [Sample({}, {"x": ()})],
    "zero": [Sample({}, _ROW), Sample({"out": 4}, _ROW)],
    "no_loss": [Sample()],
    "loss_sum": [Sample({}, {"x": [(), (), ()]}), Sample({}, {"x": [()]})],
}
