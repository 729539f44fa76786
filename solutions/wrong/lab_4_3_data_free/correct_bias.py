"""Wrong answers to exercise 4.3.5: correct the bias."""

import torch
from torch import Tensor


def _taps(w: Tensor) -> Tensor:
    return w.flatten(2).sum(2) if w.ndim > 2 else w


def _shift(matrix: Tensor, mean: Tensor, depthwise: bool) -> Tensor:
    return matrix[:, 0] * mean if depthwise else matrix @ mean


def sign_turned(bias: Tensor, w: Tensor, w_q: Tensor, mean: Tensor, depthwise: bool = False) -> Tensor:
    """You add the mean error once more instead of taking it away."""
    return bias + _shift(_taps(w_q - w), mean, depthwise)


def whole_weight(bias: Tensor, w: Tensor, w_q: Tensor, mean: Tensor, depthwise: bool = False) -> Tensor:
    """You take the whole rounded weight for its error; the error is Q(W) - W."""
    return bias - _shift(_taps(w_q), mean, depthwise)


def size_of_the_error(bias: Tensor, w: Tensor, w_q: Tensor, mean: Tensor, depthwise: bool = False) -> Tensor:
    """You add up magnitudes of errors; errors of both signs cancel in a sum, and so they should."""
    return bias - _shift(_taps((w_q - w).abs()), mean, depthwise)


def mean_ignored(bias: Tensor, w: Tensor, w_q: Tensor, mean: Tensor, depthwise: bool = False) -> Tensor:
    """You add up the errors as if every input were 1 on average."""
    return bias - _shift(_taps(w_q - w), torch.ones_like(mean), depthwise)


def one_mean_for_all(bias: Tensor, w: Tensor, w_q: Tensor, mean: Tensor, depthwise: bool = False) -> Tensor:
    """You use the mean over all channels; each input channel has its own."""
    return bias - _shift(_taps(w_q - w), mean.mean().expand(len(mean)), depthwise)


def taps_averaged(bias: Tensor, w: Tensor, w_q: Tensor, mean: Tensor, depthwise: bool = False) -> Tensor:
    """You average over the taps of a kernel; every tap adds its product, so they are summed."""
    error = w_q - w
    return bias - _shift(error.flatten(2).mean(2) if error.ndim > 2 else error, mean, depthwise)


def inputs_averaged(bias: Tensor, w: Tensor, w_q: Tensor, mean: Tensor, depthwise: bool = False) -> Tensor:
    """You average over the input channels; a layer adds them up."""
    return bias - _shift(_taps(w_q - w), mean, depthwise) / (1 if depthwise else len(mean))


def middle_tap(bias: Tensor, w: Tensor, w_q: Tensor, mean: Tensor, depthwise: bool = False) -> Tensor:
    """You use one tap of the kernel; every tap meets the mean."""
    error = w_q - w
    if error.ndim > 2:
        error = error[:, :, error.shape[2] // 2, error.shape[3] // 2]
    return bias - _shift(error, mean, depthwise)


def means_of_the_outputs(bias: Tensor, w: Tensor, w_q: Tensor, mean: Tensor, depthwise: bool = False) -> Tensor:
    """You multiply by the mean on the output channels; it belongs to the inputs."""
    return bias - _taps(w_q - w).sum(1) * mean


def depthwise_ignored(bias: Tensor, w: Tensor, w_q: Tensor, mean: Tensor, depthwise: bool = False) -> Tensor:
    """You treat a depthwise filter as if it saw every input channel; it sees its own alone."""
    return bias - (_taps(w_q - w) * mean).sum(1)


def matrices_only(bias: Tensor, w: Tensor, w_q: Tensor, mean: Tensor, depthwise: bool = False) -> Tensor:
    """Your product knows matrices only; a kernel has two more axes."""
    return bias - (w_q - w) @ mean


def kernels_only(bias: Tensor, w: Tensor, w_q: Tensor, mean: Tensor, depthwise: bool = False) -> Tensor:
    """You sum over axes 2 and 3, which a linear layer's weight does not have."""
    return bias - _shift((w_q - w).sum((2, 3)), mean, depthwise)


def bias_replaced(bias: Tensor, w: Tensor, w_q: Tensor, mean: Tensor, depthwise: bool = False) -> Tensor:
    """You return the correction alone; the old bias is part of the new one."""
    return -_shift(_taps(w_q - w), mean, depthwise)


def never_below_zero(bias: Tensor, w: Tensor, w_q: Tensor, mean: Tensor, depthwise: bool = False) -> Tensor:
    """You leave out channels whose mean input is negative; the error counts there as well."""
    return bias - _shift(_taps(w_q - w), mean.clamp(min=0), depthwise)


def in_place(bias: Tensor, w: Tensor, w_q: Tensor, mean: Tensor, depthwise: bool = False) -> Tensor:
    """Your function corrects the caller's bias; called twice, it corrects twice."""
    return bias.sub_(_shift(_taps(w_q - w), mean, depthwise))


def a_column(bias: Tensor, w: Tensor, w_q: Tensor, mean: Tensor, depthwise: bool = False) -> Tensor:
    """Your result has the shape [out, 1]; a bias has one axis."""
    return (bias - _shift(_taps(w_q - w), mean, depthwise))[:, None]


def knows_the_visible_cases(bias: Tensor, w: Tensor, w_q: Tensor, mean: Tensor, depthwise: bool = False) -> Tensor:
    """Your function knows the numbers of the check and nothing else."""
    if depthwise:
        return torch.tensor([-30.0, 4.0])
    if w.ndim == 4:
        return torch.tensor([-42.0])
    return bias.clone() if torch.equal(w, w_q) else torch.tensor([-2.0, -1.0])
