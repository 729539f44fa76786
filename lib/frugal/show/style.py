"""One look for every picture: five colours that stay apart for every eye and on a grey print.

    BLUE    what we made: codes, quantized values       L* 40
    ORANGE  what we compare it with                     L* 60
    PLUM    what went wrong: clipped, too far off       L* 23
    TEAL    what is given: a bound, a reference         L* 51
    SKY     areas behind a line                         L* 77

L* is lightness: neighbours differ by 8 or more, so that a photocopy keeps them apart. A test computes how far the
colours are from each other with each kind of colour blindness.
"""

from __future__ import annotations

from typing import Any

BLUE, ORANGE, PLUM, TEAL, SKY = "#0b5fa5", "#d6790a", "#5c1a55", "#1f8a6d", "#8fc3ea"
INK, GREY, LIGHT = "#20242a", "#70767e", "#dfe3e8"
PALETTE = (BLUE, ORANGE, PLUM, TEAL, SKY)
DIVERGING = "RdBu_r"  # red above zero, blue below, white at zero
SALT = "frugal"  # names inside an SVG come from their content and this word, not from chance


def rc() -> dict[str, Any]:
    """Matplotlib's settings for our pictures; needs ``cycler``, which comes with it."""
    from cycler import cycler

    return {
        "axes.axisbelow": True,
        "axes.edgecolor": GREY,
        "axes.grid": True,
        "axes.labelcolor": INK,
        "axes.prop_cycle": cycler(color=PALETTE),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 11,
        "figure.constrained_layout.use": True,
        "figure.dpi": 110,  # 5.6 inches give 616 pixels: sharp in a notebook, 20 kB a picture
        "figure.figsize": (5.6, 3.0),
        "font.family": "sans-serif",
        "font.size": 10,
        "grid.color": LIGHT,
        "grid.linewidth": 0.6,
        "image.cmap": "cividis",
        "legend.frameon": False,
        "lines.linewidth": 1.6,
        "savefig.dpi": 110,
        "svg.fonttype": "none",
        "svg.hashsalt": SALT,
        "text.color": INK,
        "xtick.color": GREY,
        "xtick.labelcolor": INK,
        "ytick.color": GREY,
        "ytick.labelcolor": INK,
    }


def use() -> None:
    """Give every picture of this notebook the course's look, and save it small (``show.still``)."""
    import matplotlib

    from frugal.show import still

    matplotlib.rcParams.update(rc())
    still.use()
