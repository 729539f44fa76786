"""Taylor pruning: exact where the loss is linear, the same as a gate, and blind to nothing that goes together."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from frugal.graph.channels import find_channels
from frugal.nets.pretrained import load
from frugal.prune.absorb import channel_masks
from frugal.prune.masks import masked
from frugal.prune.methods.taylor import prune_taylor, taylor_scores

SLACK = 1e-12
SHAPE = (2, 8, 8)


def network(seed=0):
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5), nn.SiLU(), nn.Conv2d(5, 4, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    ).double().eval()  # fmt: skip
    nn.init.normal_(net[1].weight)
    nn.init.normal_(net[1].bias)
    return net


def batches(count, size=6, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(size, *SHAPE, generator=rng, dtype=torch.float64), torch.randint(3, (size,), generator=rng))
        for _ in range(count)
    ]


class Gate(nn.Module):
    def __init__(self, count):
        super().__init__()
        self.z = nn.Parameter(torch.ones(count, dtype=torch.float64))

    def forward(self, x):
        return x * self.z[:, None, None]


def test_the_score_is_the_squared_change_where_the_loss_is_linear_in_the_weights():
    """No curve between the weights of a layer and the loss: the first term of the series is all there is."""
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 3, 3)).double()
    channels = find_channels(net, SHAPE)
    x = torch.randn(5, *SHAPE, dtype=torch.float64)

    def loss(out, _):
        return out.mean()

    scores = taylor_scores(net, channels, [(x, x)], loss)
    for group in channels.families()[0].groups:
        gone = channel_masks(
            net, channels, [group], of=lambda slot: slot.role == "out" and slot.parameter in ("weight", "bias")
        )
        change = loss(masked(net, gone)(x), x) - loss(net(x), x)
        assert scores[group].item() == pytest.approx(change.item() ** 2, abs=SLACK)


@pytest.mark.parametrize("at, place", [("filters", 1), ("gates", 2)])
def test_the_score_is_the_squared_gradient_of_a_gate(at, place):
    net = network()
    given = batches(3)
    scores = taylor_scores(net, find_channels(net, SHAPE), given, at=at)
    gate = Gate(5)
    gated = nn.Sequential(*net[:place], gate, *net[place:])
    squares = [torch.autograd.grad(cross_entropy(gated(x), y), gate.z)[0].square() for x, y in given]
    torch.testing.assert_close(scores[:5], sum(squares) / 3, rtol=1e-9, atol=SLACK)


def test_squares_are_averaged_over_batches_and_not_the_other_way_round():
    net = network()
    channels = find_channels(net, SHAPE)
    one, two = batches(2)
    apart = taylor_scores(net, channels, [one, two])[:9]
    torch.testing.assert_close(
        apart,
        (taylor_scores(net, channels, [one])[:9] + taylor_scores(net, channels, [two])[:9]) / 2,
        rtol=0,
        atol=SLACK,
    )
    together = taylor_scores(net, channels, [tuple(torch.cat(each) for each in zip(one, two, strict=True))])[:9]
    assert (apart >= together - SLACK).all()  # the mean of squares is at least the square of the mean


def test_scaling_a_relu_layer_and_the_next_does_not_change_the_score():
    """The same function, other weights: what defeats global magnitude leaves g · w as it was."""
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    ).double()
    channels = find_channels(net, SHAPE)
    before = taylor_scores(net, channels, batches(2))
    with torch.no_grad():
        net[0].weight.mul_(8)
        net[0].bias.mul_(8)
        net[2].weight.div_(8)
    after = taylor_scores(net, channels, batches(2))
    torch.testing.assert_close(after[:8], before[:8], rtol=1e-9, atol=SLACK)


def test_what_goes_together_is_summed_before_it_is_squared():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(2, 4, 1), nn.Conv2d(2, 4, 1)
            self.out = nn.Conv2d(4, 3, 8)

        def forward(self, x):
            return self.out(self.a(x) + self.b(x)).flatten(1)

    net = Two().double()
    given = batches(1)
    cross_entropy(net(given[0][0]), given[0][1]).backward()
    first_order = sum(
        (layer.weight.grad * layer.weight).sum((1, 2, 3)) + layer.bias.grad * layer.bias for layer in (net.a, net.b)
    )
    scores = taylor_scores(net, find_channels(net, SHAPE), given)
    torch.testing.assert_close(scores[:4], first_order.detach().square(), rtol=1e-9, atol=SLACK)


@pytest.mark.parametrize("at", ["filters", "gates"])
@pytest.mark.parametrize("scope", ["local", "global"])
def test_a_trained_network_gets_smaller(at, scope):
    net = load("resnet8_drawn")
    x, y = torch.randn(8, 3, 32, 32), torch.arange(8)
    smaller = prune_taylor(net, (3, 32, 32), 0.5, [(x, y)], at=at, scope=scope, absorb=[x])
    assert smaller(x).isfinite().all()
    assert sum(p.numel() for p in smaller.parameters()) < 0.7 * sum(p.numel() for p in net.parameters())


def test_bad_places_are_refused():
    plain = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3))
    channels = find_channels(plain, SHAPE)
    with pytest.raises(ValueError, match="at must be one of filters, gates, got 'outputs'"):
        taylor_scores(plain, channels, batches(1), at="outputs")
    with pytest.raises(ValueError, match="no place for at='gates'"):
        taylor_scores(plain, channels, batches(1), at="gates")
    with pytest.raises(ValueError, match="no batch was given"):
        taylor_scores(plain, channels, [])
