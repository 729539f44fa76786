"""Ours on whole networks: ``quant.integer.to_int8``, int8 from the first layer to the last."""

from __future__ import annotations

import importlib
import importlib.util

import torch
from torch import Tensor

import frugal
from frugal.bench.network import OUTPUT, NetworkProblem
from frugal.bench.ours import forced
from frugal.bench.peer import OURS, Entry, Kept, Missing, Peer

MODULE = "frugal.quant.integer"


def find() -> str:
    if importlib.util.find_spec(MODULE) is None or not hasattr(importlib.import_module(MODULE), "to_int8"):
        raise Missing(f"this version has no {MODULE}.to_int8")
    return frugal.__version__


def models(isa: str | None = None) -> list[Peer]:
    """Ours; ``isa`` as in ``ours.gemm``."""

    def prepare(problem: NetworkProblem, threads: int) -> Entry:
        to_int8 = importlib.import_module(MODULE).to_int8
        with forced(isa), torch.no_grad():
            model = to_int8(problem.fresh_model(), problem.calibration_batches())
            model(problem.x)  # layers that prepare themselves on their first call do it here

        def compute() -> Tensor:
            with torch.inference_mode():
                return model(problem.x)

        run = Kept(compute)
        return problem.entry(run, run.result, "int8")

    return [Peer(OURS, OUTPUT, prepare, find)]
