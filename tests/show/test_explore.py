"""A slider is live with a kernel, and the page that is saved holds the same pictures without one."""

import base64
import html
import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest
import torch

from frugal.quant.affine import choose_qparams
from frugal.show import frames, plots
from frugal.show.explore import Explore
from frugal.show.flipbook import FRAMES_MOST, Control, flipbook

VALUES = torch.randn(4096, generator=torch.Generator().manual_seed(0))


def steps(ax, bits):
    """The rounding staircase."""
    plots.staircase(choose_qparams(torch.tensor([-1.0, 2.0]), bits), -1.5, 2.5, ax)


def line(ax, slope, shift=0, color="blue"):
    ax.plot([0, 1], [shift, slope + shift])
    ax.set(xlabel="x", ylabel="<y> & more")


class Page(HTMLParser):
    """A parsed flipbook: its tags with attributes, and the data of its script."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.data = [], [], ""
        self.feed(text)
        assert self.open == [], f"not closed: {self.open}"
        self.data = json.loads(self.data)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs), list(self.open)))
        if tag not in ("img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if self.open and self.open[-1] == "script":
            self.data += text

    def all(self, tag):
        return [attrs for name, attrs, _ in self.tags if name == tag]

    def frame(self, index):
        return "\n".join(self.data["lines"][number] for number in self.data["frames"][index])


def saved(*args, **kwargs):
    return Explore(*args, **kwargs)._repr_mimebundle_()["text/html"]


# ---- live ----


def test_moving_a_slider_draws_again():
    explore = Explore(steps, bits=range(2, 9))
    slider, picture = explore.children[0], explore.children[1]
    before = picture.value
    slider.value = 0
    assert picture.value != before
    assert 'aria-label="The rounding staircase.; bits = 2"' in picture.value


def test_a_slider_moved_back_shows_the_same_bytes():
    explore = Explore(steps, bits=range(2, 9))
    slider, picture = explore.children[0], explore.children[1]
    first = picture.value
    slider.value = 6
    slider.value = 3
    assert picture.value == first


def test_values_need_not_be_numbers():
    seen = []

    def shows(ax, weight, method):
        seen.append((weight.shape, method))

    explore = Explore(shows, weight=[torch.zeros(2), torch.zeros(3)], method=["per tensor", "per channel"])
    explore.children[0].value = 1
    explore.children[1].value = 1
    assert seen[-1] == (torch.Size([3]), "per channel")


def test_an_error_in_draw_becomes_its_message_and_the_slider_lives_on():
    def fails_at_three(ax, bits):
        if bits == 3:
            raise ValueError("no <three> bits")
        ax.plot([0, bits])

    explore = Explore(fails_at_three, bits=[2, 3, 4])
    slider, picture = explore.children[0], explore.children[1]
    assert "ValueError: no &lt;three&gt; bits" in picture.value
    slider.value = 2
    assert "ValueError" not in picture.value
    bundle = explore._repr_mimebundle_()
    assert bundle["text/plain"].endswith("draw failed: ValueError: no <three> bits")
    assert "fails_at_three raised" in Page(bundle["text/html"]).frame(1)


def test_the_axes_stand_still_while_the_slider_moves():
    explore = Explore(lambda ax, top: ax.plot([0, top]), top=[1, 1000, 10**6])
    backgrounds = set()
    for index in range(3):
        explore.children[0].value = index
        backgrounds.add(re.findall(r"<path d='([^']*)'", explore.children[1].value)[1])  # the axes' white patch
    assert len(backgrounds) == 1


def test_a_draw_with_two_panels_is_arranged_by_matplotlib():
    def with_a_bar(ax, bits):
        image = ax.imshow([[0, bits]])
        ax.figure.colorbar(image, ax=ax, label="codes")

    assert "codes" in saved(with_a_bar, bits=[2, 3])


# ---- saved ----


def test_the_saved_page_holds_one_picture_for_each_setting():
    page = Page(saved(steps, bits=range(2, 9)))
    assert len(page.data["frames"]) == 7
    assert len({page.frame(index) for index in range(7)}) == 7
    for index in range(7):
        assert ElementTree.fromstring(page.frame(index)).tag.endswith("svg")


def test_the_still_picture_is_the_frame_that_the_sliders_point_at():
    page = Page(saved(line, slope=[1, 2, 3], shift=[0, 5]))
    (image,) = page.all("img")
    still = base64.b64decode(image["src"].removeprefix("data:image/svg+xml;base64,")).decode()
    positions = [int(attrs["value"]) for attrs in page.all("input")]
    assert positions == [1, 0]
    assert still == page.frame(positions[0] * 2 + positions[1])


def test_every_control_has_a_label_and_the_picture_has_words():
    page = Page(saved(steps, bits=range(2, 9), label="staircase", caption="Seven widths & more."))
    inputs = [(attrs, parents) for tag, attrs, parents in page.tags if tag == "input"]
    assert all("label" in parents and attrs["aria-valuetext"] for attrs, parents in inputs)
    assert page.all("img")[0]["alt"] == "staircase; bits = 5"
    assert "figcaption" in [tag for tag, _, _ in page.tags]
    assert "Seven widths &amp; more." in saved(steps, bits=[2, 3], caption="Seven widths & more.")


def test_jupyterlab_leaves_the_arrow_keys_to_the_slider():
    assert Page(saved(steps, bits=[2, 3])).all("input")[0]["data-lm-suppress-shortcuts"] == "true"


def test_the_page_asks_nothing_of_the_network():
    page = saved(steps, bits=[2, 3])
    addresses = set(re.findall(r"https?://[^'\"\s\\<>]+", page))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # names, not places


def test_two_builds_give_the_same_bytes():
    assert saved(steps, bits=range(2, 9)) == saved(steps, bits=range(2, 9))


def test_words_from_outside_cannot_leave_their_place():
    nasty = "</script><img src=x onerror=alert(1)> \" ' & <!--"

    def draw(ax, choice):
        ax.set_title(nasty)

    text = saved(draw, choice=[nasty, "b"], label=nasty, caption=nasty)
    page = Page(text)
    assert len(page.all("img")) == 1
    assert len(page.all("script")) == 1
    assert page.data["label"] == nasty
    assert page.data["choices"] == [[repr(nasty), "'b'"]] or page.data["choices"][0][0] == nasty
    title = html.unescape("".join(ElementTree.fromstring(page.frame(0)).itertext()))
    assert "onerror=alert(1)" in title


def test_a_flipbook_of_real_weights_is_small():
    def histogram(ax, bits):
        plots.histogram_with_grid(VALUES, choose_qparams(VALUES, bits), ax)

    seven = saved(histogram, bits=range(2, 9))
    stored = len(json.dumps(seven))  # as a notebook stores it
    assert stored <= 7 * 15_000
    kept_in_three_such_notebook_cells = 3 * stored
    assert kept_in_three_such_notebook_cells < 300_000


def test_too_many_settings_keep_the_first_control_and_say_so():
    text = saved(line, slope=range(7), shift=range(5), color=["blue", "red"], caption="A line.")
    page = Page(text)
    assert len(page.data["frames"]) == 7
    assert [attrs["name"] for attrs in page.all("input")] == ["slope"]
    assert "A line. Saved picture: slope moves, with shift = 2, color = &#x27;blue&#x27;." in text


def test_a_long_slider_is_thinned_out_and_keeps_its_ends():
    text = saved(line, slope=range(101))
    page = Page(text)
    assert len(page.data["frames"]) == FRAMES_MOST
    assert page.data["choices"][0][0] == "0"
    assert page.data["choices"][0][-1] == "100"
    assert f"in {FRAMES_MOST} of its settings" in text


def test_plain_text_says_what_can_be_moved():
    bundle = Explore(steps, bits=[2, 3, 4])._repr_mimebundle_()
    assert bundle["text/plain"] == "Explore: The rounding staircase. (bits = 2, 3, 4)"
    assert "application/vnd.jupyter.widget-view+json" in bundle


# ---- bad choices ----


@pytest.mark.parametrize(
    "choices, words",
    [
        ({}, "1 to 3 sliders, such as bits=range.*got none"),
        ({"a": [1, 2], "b": [1, 2], "c": [1, 2], "d": [1, 2]}, "got a, b, c, d"),
        ({"slope": []}, r"slope needs at least two values to choose from, got \[\]"),
        ({"slope": [1]}, r"slope needs at least two values to choose from, got \[1\]"),
        (
            {"slope": [1, 2], "bits": [1, 2]},
            "takes slope, shift, color after the axes, but the sliders are slope, bits",
        ),
        ({"shift": [1, 2]}, "takes slope, shift, color after the axes, but the sliders are shift"),
    ],
)
def test_bad_choices_are_named(choices, words):
    with pytest.raises(ValueError, match=words):
        Explore(line, **choices)


def test_draw_must_take_axes_and_may_take_anything_else():
    with pytest.raises(ValueError, match="must take the axes first"):
        Explore(lambda: None, bits=[1, 2])
    assert Explore(lambda ax, **values: ax.plot([0, values["bits"]]), bits=[1, 2]).children


# ---- small SVG ----


def test_a_compact_path_stays_within_a_tenth_of_a_point_over_its_whole_length():
    points = torch.rand(500, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 400
    path = "M " + " \nL ".join(f"{x:f} {y:f}" for x, y in points.tolist()) + " \nz"
    x = y = 0.0
    drawn = []
    for command, rest in re.findall(r"([Mlhvz])([^Mlhvz]*)", frames._compact_path(path)):
        numbers = [float(number) for number in rest.split()]
        if command == "M":
            x, y = numbers
        elif command == "l":
            x, y = x + numbers[0], y + numbers[1]
        elif command == "h":
            x += numbers[0]
        elif command == "v":
            y += numbers[0]
        if command != "z":
            drawn.append((x, y))
    assert (torch.tensor(drawn) - points).abs().max() <= 0.05 + 1e-9


def test_curves_keep_their_commands():
    assert frames._compact_path("M 0.123 1.987 \nC 0.2 0.3 0.44 0.5 1 2 \nz") == "M 0.1 1.9 C 0.2 0.3 0.4 0.5 1 2 z"


def test_words_in_a_picture_are_not_rounded():
    def draw(ax, bits):
        ax.set_title("0.123456789 and 12.3456789")

    assert "0.123456789 and 12.3456789" in Page(saved(draw, bits=[1, 2])).frame(0)


def test_frames_need_as_many_choices_as_there_are():
    text = flipbook(["<svg>a</svg>", "<svg>b</svg>"], [Control("n", ["1", "2"], 1)], "label")
    assert Page(text).data["frames"] == [[0], [1]]


@pytest.mark.browser
def test_the_saved_page_works_from_a_file_with_the_keyboard_alone(chromium, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    page_file = tmp_path / "page.html"
    page_file.write_text(f"<!doctype html><meta charset=utf-8><body>{saved(line, slope=[1, 2, 3], shift=[0, 5])}")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(page_file.as_uri())
        image = page.locator("img")
        before = image.get_attribute("src")
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowRight")
        assert image.get_attribute("alt") == "line; slope = 3, shift = 0"
        assert image.get_attribute("src") != before
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowRight")
        assert image.get_attribute("alt") == "line; slope = 3, shift = 5"
        assert page.locator("output").all_inner_texts() == ["3", "5"]
        assert page.locator("input").nth(1).get_attribute("aria-valuetext") == "5"
        assert image.evaluate("picture => picture.decode().then(() => picture.naturalWidth)") > 300
        assert errors == []
        browser.close()
