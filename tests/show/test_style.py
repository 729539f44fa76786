"""The palette holds for every eye: distances are computed as seen with each kind of colour blindness, and in grey."""

import itertools

import matplotlib
import numpy as np
import pytest

from frugal.show import style

# Machado, Oliveira and Fernandes 2009, severity 1: linear RGB as seen by others.
SEEN_BY = {
    "trichromats": np.eye(3),
    "protanopes": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopes": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopes": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
WHITE = np.array([0.95047, 1.0, 1.08883])
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def linear(color):
    rgb = np.array(matplotlib.colors.to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    x, y, z = np.cbrt(TO_XYZ @ np.clip(rgb, 1e-4, 1) / WHITE)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("who", SEEN_BY)
def test_every_two_colours_are_well_apart_for(who):
    just_noticeable = 2.3
    seen = [lab(np.asarray(SEEN_BY[who]) @ linear(color)) for color in style.PALETTE]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 5 * just_noticeable


def test_a_photocopy_keeps_every_two_colours_apart():
    lightness = sorted(lab(linear(color))[0] for color in style.PALETTE)
    assert min(np.diff(lightness)) >= 8


@pytest.mark.parametrize("color", [style.BLUE, style.ORANGE, style.PLUM, style.TEAL])
def test_lines_stand_out_from_white_as_wcag_asks(color):
    luminance = TO_XYZ[1] @ linear(color)
    assert (1.05) / (luminance + 0.05) >= 3


def test_text_reads_on_white():
    assert 1.05 / (TO_XYZ[1] @ linear(style.INK) + 0.05) >= 7


def test_use_changes_matplotlib_and_importing_does_not():
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        before = matplotlib.rcParams["axes.spines.top"]
        style.rc()
        assert matplotlib.rcParams["axes.spines.top"] == before
        style.use()
        assert matplotlib.rcParams["axes.spines.top"] is False
        assert matplotlib.rcParams["svg.hashsalt"] == style.SALT
