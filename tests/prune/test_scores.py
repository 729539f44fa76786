"""Scores: norms of coupled channels, gradients that leave the model alone, and the choice of what goes."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from frugal.graph.channels import find_channels
from frugal.graph.fold import fold_batchnorm
from frugal.prune.masks import weights_of
from frugal.prune.scores import (
    channel_norms,
    channel_scores,
    choose_groups,
    each_gradient,
    gradient_times_weight,
    gradients,
    magnitudes,
    random_scores,
)
from frugal.prune.surgery import remove_channels

SLACK = 1e-12  # of sums of some hundred float64 products


class Residual(nn.Module):
    """Two layers that write to one stream: their channels are coupled."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.branch = nn.Conv2d(4, 4, 3, padding=1)
        self.inner = nn.Conv2d(4, 6, 1)
        self.back = nn.Conv2d(6, 4, 1)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.branch(x)
        x = x + self.back(self.inner(x).relu())
        return self.head(x.mean((2, 3)))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Residual().double()


@pytest.fixture
def channels(net):
    return find_channels(net, (2, 5, 5))


def batches(count=3, size=8, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(size, 2, 5, 5, generator=rng, dtype=torch.float64), torch.randint(3, (size,), generator=rng))
        for _ in range(count)
    ]


def family(channels, *layers):
    (found,) = [each for each in channels.families() if set(each.layers) == set(layers)]
    return torch.tensor(found.groups)


# Channels.


@pytest.mark.parametrize("p", [1, 2])
def test_a_coupled_channel_has_the_norms_of_all_its_rows_together(p, net, channels):
    stream = family(channels, "stem", "branch", "back")
    rows = [net.stem.weight, net.branch.weight, net.back.weight]
    expected = sum(torch.linalg.vector_norm(w.detach().flatten(1), p, dim=1) for w in rows)
    torch.testing.assert_close(channel_norms(net, channels, p=p)[stream], expected, rtol=0, atol=SLACK)


@pytest.mark.parametrize("p", [1, 2])
def test_the_norm_of_all_members_is_that_of_one_long_vector(p, net, channels):
    inner = family(channels, "inner")
    expected = [
        torch.linalg.vector_norm(
            torch.cat([net.inner.weight[i].flatten(), net.inner.bias[i : i + 1], net.back.weight[:, i].flatten()]), p
        ).item()
        for i in range(6)
    ]
    assert channel_norms(net, channels, p=p, members="all")[inner].tolist() == pytest.approx(expected, abs=SLACK)


WAYS = {
    "sum": torch.Tensor.sum,
    "mean": torch.Tensor.mean,
    "max": torch.Tensor.amax,
    "l2": lambda x: x.square().sum().sqrt(),
}


@pytest.mark.parametrize("within", WAYS)
@pytest.mark.parametrize("across", WAYS)
def test_every_way_to_put_scores_together_is_what_its_word_says(within, across, net, channels):
    scores = {name: weight.detach() for name, weight in weights_of(net).items()}  # with their signs
    stream = family(channels, "stem", "branch", "back")
    got = channel_scores(scores, channels, within=within, across=across)[stream]
    for i, value in enumerate(got.tolist()):
        layers = torch.stack([WAYS[within](w[i]) for w in (net.stem.weight, net.branch.weight, net.back.weight)])
        assert value == pytest.approx(WAYS[across](layers).item(), abs=SLACK)


def test_a_flattened_picture_gives_each_channel_all_its_places():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 9, 4)).double()
    channels = find_channels(net, (1, 5, 5))
    got = channel_scores({"2.weight": net[2].weight.detach().abs()}, channels, within="max", roles=("in",))
    expected = net[2].weight.detach().abs().view(4, 2, 9).amax((0, 2))
    assert torch.equal(got[family(channels, "0")], expected)


def test_a_group_that_no_score_is_about_is_worth_infinitely_much(net, channels):
    got = channel_scores({"inner.weight": net.inner.weight.detach().abs()}, channels)
    assert got[family(channels, "inner")].isfinite().all()
    assert (got[family(channels, "stem", "branch", "back")] == torch.inf).all()


def test_renumbering_the_channels_renumbers_their_scores(net, channels):
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    with torch.no_grad():
        before = channel_norms(net, channels, members="all")[family(channels, "inner")]
        net.inner.weight.copy_(net.inner.weight[order])
        net.inner.bias.copy_(net.inner.bias[order])
        net.back.weight.copy_(net.back.weight[:, order])
    after = channel_norms(net, channels, members="all")[family(channels, "inner")]
    torch.testing.assert_close(after, before[order], rtol=0, atol=SLACK)


def test_norms_can_be_taken_of_the_folded_network_for_the_channels_of_the_other():
    net = (
        nn.Sequential(nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 3)).double().eval()
    )
    net[1].running_var.copy_(torch.tensor([4.0, 1.0, 0.25]))
    channels = find_channels(net, (2, 7, 7))
    made = family(channels, "0")
    factor = net[1].weight.detach() / (net[1].running_var + net[1].eps).sqrt()
    expected = channel_norms(net, channels)[made] * factor
    torch.testing.assert_close(channel_norms(fold_batchnorm(net), channels)[made], expected, rtol=1e-12, atol=0)


# The choice.


def test_local_takes_the_same_share_of_every_family_and_the_smallest_of_each(net, channels):
    scores = channel_norms(net, channels)
    gone = choose_groups(scores, channels, 0.5)
    for layers, count in ((("stem", "branch", "back"), 2), (("inner",), 3)):
        groups = family(channels, *layers)
        dropped = torch.isin(groups, torch.tensor(gone))
        assert int(dropped.sum()) == count
        assert scores[groups[dropped]].max() <= scores[groups[~dropped]].min()


def test_global_takes_the_share_of_all_and_leaves_every_family_one(net, channels):
    stream, inner = family(channels, "stem", "branch", "back"), family(channels, "inner")
    scores = torch.full((int(channels.group.max()) + 1,), torch.inf, dtype=torch.float64)
    scores[stream] = torch.arange(4.0).double() + 100
    scores[inner] = torch.arange(6.0).double()
    gone = choose_groups(scores, channels, 0.5, scope="global", relative=False)
    assert gone == sorted(inner[:5].tolist())
    gone = choose_groups(scores, channels, 0.5, scope="global", relative=True)  # multiples of 101.5 and of 2.5
    assert gone == sorted([*inner[:3].tolist(), *stream[:2].tolist()])


def test_the_scale_of_a_family_does_not_matter_to_relative_scores(net, channels):
    scores = channel_norms(net, channels)
    stream, inner = family(channels, "stem", "branch", "back"), family(channels, "inner")
    scaled = scores.index_put((inner,), scores[inner] * 1000)
    assert choose_groups(scores, channels, 0.5, scope="global") == choose_groups(scaled, channels, 0.5, scope="global")
    plain = choose_groups(scaled, channels, 0.5, scope="global", relative=False)
    assert len(set(plain) & set(stream.tolist())) == 3  # all but one: as plain numbers they are the smaller ones


def test_counts_are_rounded_up_to_a_multiple(net, channels):
    gone = set(choose_groups(channel_norms(net, channels), channels, 0.5, multiple=4))
    assert len(gone & set(family(channels, "inner").tolist())) == 2  # 3 of 6 would stay, so 4 do
    assert not gone & set(family(channels, "stem", "branch", "back").tolist())  # 2 of 4 would stay, so 4 do


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.9, 0.999])
def test_what_was_chosen_can_be_removed(sparsity, net, channels):
    smaller = remove_channels(net, channels, choose_groups(channel_norms(net, channels), channels, sparsity))
    assert smaller(torch.randn(2, 2, 5, 5, dtype=torch.float64)).shape == (2, 3)


# Gradients.


def test_gradients_are_those_of_backward_and_the_model_never_notices(net):
    net.train()
    given = batches(1)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = gradients(net, given, cross_entropy)
    assert all(parameter.grad is None for parameter in net.parameters())
    assert net.training
    cross_entropy(net(given[0][0]), given[0][1]).backward()
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=0, atol=SLACK)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_batches_of_any_size_give_the_mean_over_inputs(net):
    (x, y) = [torch.cat(each) for each in zip(*batches(3), strict=True)]
    whole = gradient_times_weight(net, [(x, y)], cross_entropy)
    parts = gradient_times_weight(net, zip(x.split(10), y.split(10), strict=True), cross_entropy)  # 10, 10 and 4
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=0, atol=SLACK)


def test_statistics_stay_even_in_training_mode():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double()
    x, y = torch.randn(6, 3, dtype=torch.float64), torch.randint(2, (6,))
    train = gradients(net, [(x, y)], cross_entropy, training=True)
    assert torch.equal(net[1].running_mean, torch.zeros(4, dtype=torch.float64))
    assert int(net[1].num_batches_tracked) == 0
    evaluated = gradients(net, [(x, y)], cross_entropy)
    assert not torch.allclose(train["0.weight"], evaluated["0.weight"])


def test_a_parameter_that_the_loss_does_not_reach_has_gradient_0(net):
    found = gradients(net, batches(1), lambda out, y: out.sum() * 0)
    assert all((value == 0).all() for value in found.values())


def test_frozen_parameters_have_scores_too(net):
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    assert all(value.any() for value in gradient_times_weight(net, batches(1), cross_entropy).values())


# The control.


def test_random_scores_repeat_and_differ_between_seeds(net):
    first, again, other = random_scores(net), random_scores(net), random_scores(net, seed=1)
    assert list(first) == list(magnitudes(net))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


# Bad input.


def test_bad_batches_and_names_are_refused(net):
    with pytest.raises(ValueError, match="no batch was given"):
        gradients(net, [], cross_entropy)
    with pytest.raises(ValueError, match=r"no parameter 'steam\.weight'; this model has stem\.weight"):
        list(each_gradient(net, batches(1), cross_entropy, ["steam.weight"]))
    x, y = batches(1)[0]
    with pytest.raises(ValueError, match=r"the gradient of stem\.weight must be finite"):
        gradients(net, [(x * float("nan"), y)], cross_entropy)


def test_bad_choices_are_refused(net, channels):
    scores = channel_norms(net, channels)
    with pytest.raises(ValueError, match="one value for each of"):
        choose_groups(scores[:-1], channels, 0.5)
    with pytest.raises(ValueError, match="must not hold nan"):
        choose_groups(scores * float("nan"), channels, 0.5)
    with pytest.raises(ValueError, match="from 0 to below 1"):
        choose_groups(scores, channels, 1.0)
    with pytest.raises(ValueError, match="scope must be"):
        choose_groups(scores, channels, 0.5, scope="layer")
    with pytest.raises(ValueError, match="multiple must be 1 or more, got 0"):
        choose_groups(scores, channels, 0.5, multiple=0)
    with pytest.raises(ValueError, match="no channel of this network may be removed"):
        choose_groups(torch.full_like(scores, torch.inf), channels, 0.5)


def test_bad_scores_are_refused(net, channels):
    with pytest.raises(ValueError, match="within and across must be one of sum, mean, max, l2; got 'l3'"):
        channel_scores(magnitudes(net), channels, within="l3")
    with pytest.raises(ValueError, match="none of the 1 scores belongs to a channel of role out"):
        channel_scores({"nothing": torch.ones(3)}, channels)
    with pytest.raises(ValueError, match=r"stem\.weight has 4 channels along axis 0, its scores float32 \[3, 2\]"):
        channel_scores({"stem.weight": torch.ones(3, 2)}, channels)
    with pytest.raises(ValueError, match="p must be 1 or 2, got 3"):
        channel_norms(net, channels, p=3)
    with pytest.raises(ValueError, match="members must be 'out' or 'all'"):
        channel_norms(net, channels, members="rows")
