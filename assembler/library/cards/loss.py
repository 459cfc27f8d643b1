"""What the address `losses` becomes: the sum of all loss ports, zero where there are none."""

from __future__ import annotations

from assembler_schemas.kind import Definition, Inline, Kind, Options, Port, step


def _no_loss(options: Options) -> Definition:
    return Definition({}, {"y": Port("scalar f32 []", loss=True)}, Inline("torch.zeros(())"), body=(step("y", "constant", fn="zero"),))


def _loss_sum(options: Options) -> Definition:
    return Definition(
        {"x": Port("scalar f32 []", many=True)}, {"y": Port("scalar f32 []", loss=True)}, Inline("{x}", fold="{a} + {b}"), body=(step("y", "add", "x"),)
    )  # fmt: skip


NO_LOSS = Kind("no_loss", "zero: what `losses` is where no part has a loss", Options, _no_loss, example="{kind: no_loss}")

LOSS_SUM = Kind("loss_sum", "the sum of auxiliary losses", Options, _loss_sum, example="{kind: loss_sum, from: [a, b]}")
