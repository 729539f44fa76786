"""Multiply matrices of signs, a bit for each, beside int8 and float32: one race, one process.

    python benchmarks/binary.py [--json FILE] [--threads N] [--rounds N]

All multiply [m, k] with a prepared [n, k]. One bit: kernels.bits, on every way to count that this machine has, with the
inputs packed before; "and packing" starts from float32 inputs. int8: kernels.gemm on its paths, int32 sums out.
float32: torch.mm. Every contestant's sums are compared with the exact ones before it is timed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import click
import torch
from torch import Tensor

from frugal.kernels import bits, dispatch
from frugal.kernels.gemm import Linear8
from frugal.measure.latency import Race, race
from frugal.measure.record import record, save
from frugal.measure.results import lay_out

SHAPES = ((1, 1024, 1024), (64, 256, 1152), (196, 512, 2304), (512, 1024, 1024), (512, 1024, 4096))
SLOW = ("scalar", "reference")  # definitions, not contestants
ONE_BIT, WITH_PACKING, FLOAT = "1 bit", "1 bit and packing", "float32, torch"


def contestants(x: Tensor, w: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Everything that multiplies the same signs; x [m, k] and w [n, k] hold -1 and +1."""
    packed, layer1 = bits.pack(x), bits.Linear1(w)
    codes, layer8 = x.to(torch.int8), Linear8(w.to(torch.int8), x_dtype=torch.int8)
    turned = w.T.contiguous()
    found: dict[str, Callable[[], Tensor]] = {}
    for isa in (name for name in bits.available() if name not in SLOW):
        found[f"{ONE_BIT}, {isa}"] = lambda isa=isa: layer1(packed, isa=isa)
    found[WITH_PACKING] = lambda: layer1(bits.pack(x))
    for isa in (name for name in dispatch.available() if name not in SLOW):
        found[f"int8, {isa}"] = lambda isa=isa: layer8(codes, isa=isa)
    found[FLOAT] = lambda: torch.mm(x, turned)
    return found


def check(x: Tensor, w: Tensor, runners: dict[str, Callable[[], Tensor]]) -> None:
    """Refuse to time what computes something else."""
    wanted = (x.double() @ w.double().T).to(torch.int64)
    for name, run in runners.items():
        if not torch.equal(run().to(torch.int64), wanted):
            raise click.ClickException(f"{name} does not compute the product; nothing was timed")


def size_of_weights(name: str, n: int, k: int) -> int:
    """Bytes of n * k weights, without padding beyond whole words."""
    if name.startswith(ONE_BIT):
        return n * -(-k // 64) * 8
    return n * k * (1 if name.startswith("int8") else 4)


def rows_of(shape: tuple[int, int, int], result: Race) -> list[dict[str, object]]:
    m, n, k = shape
    rows: list[dict[str, object]] = []
    for name in result.seconds:
        latency = result.latency(name)
        rows.append(
            {
                "m": m,
                "n": n,
                "k": k,
                "contestant": name,
                "latency_us": round(latency.value * 1e6, 3),
                "low_us": round(latency.low * 1e6, 3),
                "high_us": round(latency.high * 1e6, 3),
                "gmacs_per_s": round(m * n * k / latency.value / 1e9, 1),
                "times_float32": round(result.ratio(FLOAT, to=name).value, 3),
                "weight_bytes": size_of_weights(name, n, k),
                "noise": str(result.noise),
            }
        )
    return rows


def summarize(rows: list[dict]) -> dict[str, float | str]:
    """How many times faster than float32 each contestant is, over all shapes, and the best of each kind."""
    names = list(dict.fromkeys(row["contestant"] for row in rows))
    speed = {name: geomean([row["times_float32"] for row in rows if row["contestant"] == name]) for name in names}
    summary: dict[str, float | str] = {f"{name}: times float32": round(value, 3) for name, value in speed.items()}
    one_bit = max((name for name in names if name.startswith(f"{ONE_BIT},")), key=speed.__getitem__, default=None)
    int8 = max((name for name in names if name.startswith("int8")), key=speed.__getitem__, default=None)
    if one_bit and int8:
        summary |= {"best_1_bit": one_bit, "best_int8": int8, "1_bit_over_int8": round(speed[one_bit] / speed[int8], 3)}
    return summary


def geomean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


@click.command(help=__doc__.splitlines()[0])
@click.option("--json", "file", type=click.Path(dir_okay=False), help="write the rows and the summary here")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="torch's and our threads")
@click.option("--rounds", type=click.IntRange(6), default=15, show_default=True, help="turns of each contestant")
def main(file: str | None, threads: int, rounds: int) -> None:
    torch.set_num_threads(threads)
    rng = torch.Generator().manual_seed(0)
    rows: list[dict] = []
    for shape in SHAPES:
        m, n, k = shape
        x, w = (torch.where(torch.rand(each, k, generator=rng) < 0.5, -1.0, 1.0) for each in (m, n))
        runners = contestants(x, w)
        check(x, w, runners)
        rows += rows_of(shape, race(runners, rounds=rounds, threads=threads))
    columns = ("m", "n", "k", "contestant", "latency_us", "gmacs_per_s", "times_float32", "weight_bytes")
    click.echo(lay_out(columns, [[row[column] for column in columns] for row in rows]))
    noisy = {(row["m"], row["n"], row["k"]) for row in rows if str(row["noise"]).startswith("noisy")}
    result = record(rows, {"threads": threads, "noisy_shapes": len(noisy), **summarize(rows)})
    for key, value in result["summary"].items():
        click.echo(f"{key}: {value}")
    if file:
        save(result, file)


if __name__ == "__main__":
    main()
