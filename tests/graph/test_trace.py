"""Traces name who feeds whom."""

import torch
from torch import nn

from frugal.graph.trace import Pair, layer_pairs, trace
from frugal.nets.mobilenet_v2 import mobilenet_v2_small
from frugal.nets.resnet import resnet8_cifar


def test_pairs_of_a_residual_network_are_the_insides_of_its_blocks():
    pairs = layer_pairs(resnet8_cifar(), through=(nn.ReLU, nn.BatchNorm2d))
    expected = {(f"layer{stage}.0.conv1", f"layer{stage}.0.conv2") for stage in (1, 2, 3)}
    assert {(pair.first, pair.second) for pair in pairs} == expected


def test_pairs_of_a_depthwise_network_are_expand_filter_project():
    pairs = {(p.first, p.second) for p in layer_pairs(mobilenet_v2_small(), through=(nn.ReLU6, nn.BatchNorm2d))}
    assert {("features.2.conv.0.0", "features.2.conv.1.0"), ("features.2.conv.1.0", "features.2.conv.2")} <= pairs
    assert not any(first == "features.2.conv.2" for first, _ in pairs)  # its output goes into a sum


def test_a_layer_that_runs_twice_is_in_no_pair():
    linear = nn.Linear(3, 3)
    assert layer_pairs(nn.Sequential(linear, nn.ReLU(), linear, nn.Linear(3, 3))) == []


def test_what_lies_between_is_named():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Dropout(), nn.Linear(3, 3), nn.Sigmoid(), nn.Linear(3, 3))
    assert layer_pairs(model) == [Pair("0", "3", ("1", "2"))]


def test_arguments_with_a_default_keep_it():
    class Optional(nn.Module):
        def forward(self, x, scale=None):
            return x if scale is None else x * scale

    assert [node.op for node in trace(Optional()).graph.nodes][-1] == "output"


def test_tracing_changes_no_module():
    model = resnet8_cifar()
    modes = [m.training for m in model.modules()]
    trace(model)
    assert [m.training for m in model.modules()] == modes
    assert not any(isinstance(value, torch.fx.Proxy) for m in model.modules() for value in vars(m).values())
