"""lecture.toml against facts that do not come from it, and against the pages that quote it."""

import re
import tomllib
from pathlib import PurePosixPath

import pytest
import torch

from frugal.authoring.coverage import read_coverage
from frugal.authoring.lecture_form import NUMBERS, TABLE_ROWS
from frugal.authoring.pointers import Pointers

HOURS_A_WEEK = 7 * 24


@pytest.fixture(scope="module")
def lecture(root):
    return tomllib.loads((root / "course" / "lecture.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tables(lecture):
    return {
        table["key"]: {row["key"]: dict(zip(table["columns"], row["cells"], strict=True)) for row in table["row"]}
        for table in lecture["table"]
    }


def number(text):
    """The first number in a cell."""
    return float(re.search(r"\d+(\.\d+)?", text).group())


def half_a_digit(text):
    """Half of the last digit that a cell prints: what rounding may have taken."""
    decimals = re.search(r"\d+\.?(\d*)", text).group(1)
    return 0.5 * 10 ** -len(decimals) * (1 + 1e-9)


# ---- the file as a whole ----


def test_every_pointer_of_the_lecture_leads_somewhere(root):
    assert read_coverage(root).problems == ()


def test_the_five_tables_of_chapter_1_hold_23_systems():
    assert sum(TABLE_ROWS[key] for key in ("imagenet", "detection", "pose", "cityscapes", "translation")) == 23


def test_every_equation_lies_on_a_slide_that_speaks_of_it(lecture):
    text = {slide["number"]: slide.get("text", "") for slide in lecture["slide"]}
    for equation in lecture["equation"]:
        numbers = [int(n) for n in re.findall(r"\d+", text[equation["slide"]])]
        assert min(numbers) <= equation["number"] <= max(numbers), equation


def test_the_slides_cite_every_reference_but_two(lecture):
    cited = {n for slide in lecture["slide"] for n in slide.get("cites", [])}
    assert set(NUMBERS["reference"]) - cited == {20, 32}


def test_a_bracket_number_in_a_cell_is_cited_on_its_slide(lecture):
    cites = {slide["number"]: set(slide.get("cites", [])) for slide in lecture["slide"]}
    for table in lecture["table"]:
        found = {int(n) for row in table["row"] for cell in row["cells"] for n in re.findall(r"\[(\d+)\]", cell)}
        assert found <= cites[table["slide"]], table["key"]


def test_references_are_in_the_order_of_their_first_author(lecture):
    def surname(authors):
        first = re.split(r",| and | et al", authors)[0]
        return first.split()[-1].casefold()

    names = [surname(reference["authors"]) for reference in lecture["reference"]]
    assert names == sorted(names)


# ---- chapter 1: sizes of networks that can be built here ----


@pytest.mark.parametrize(
    "table, row, build",
    [
        ("imagenet", "resnet50", lambda models: models.resnet50()),
        ("imagenet", "efficientnet_v2_s", lambda models: models.efficientnet_v2_s()),
        (
            "cityscapes",
            "deeplabv3_r101",
            lambda models: models.segmentation.deeplabv3_resnet101(
                weights_backbone=None, num_classes=19, aux_loss=False
            ),
        ),
    ],
)
def test_printed_parameters_are_those_of_the_network_within_a_million(tables, table, row, build):
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in build(models).parameters())
    assert abs(count / 1e6 - number(tables[table][row]["params"])) < 1  # some cells round down, some up


# ---- chapter 2: the numbers of the energy tables ----


def rated_kwh(row):
    """Power times hours of one row of the appliance table."""
    power = row["Power Rating"]
    watts = number(power) * (2 if "x 2" in power else 1)
    hours = number(row["Hours per Day"]) / (7 if "week" in row["Hours per Day"] else 1)
    return watts * hours / 1000


def test_power_times_hours_gives_the_printed_energy_but_for_the_two_errata(tables, lecture):
    wrong = set()
    for key, row in tables["appliances"].items():
        printed = row["Common Power Use in a Day"]
        if key != "total" and abs(rated_kwh(row) - number(printed)) > half_a_digit(printed):
            wrong.add(key)
    table = next(t for t in lecture["table"] if t["key"] == "appliances")
    assert wrong == {row["key"] for row in table["row"] if row.get("errata")} == {"air_con", "cooktop"}


def test_the_printed_total_is_the_sum_of_the_printed_rows(tables):
    rows = dict(tables["appliances"])
    total = rows.pop("total")["Common Power Use in a Day"]
    assert abs(sum(number(row["Common Power Use in a Day"]) for row in rows.values()) - number(total)) <= half_a_digit(
        total
    )
    assert sum(rated_kwh(row) for row in rows.values()) == pytest.approx(32.06, abs=0.005)  # what ERRATA.md states


def test_the_printed_shares_follow_from_the_printed_energies(tables):
    rows = {key: row for key, row in tables["appliances"].items() if key != "total"}
    total = sum(number(row["Common Power Use in a Day"]) for row in rows.values())
    for key, row in rows.items():
        share = row["Percentage of Power for the Day"]
        assert abs(100 * number(row["Common Power Use in a Day"]) / total - number(share)) <= half_a_digit(share), key


def test_the_x_factors_follow_from_the_printed_tops(tables):
    rows = tables["formats"]
    for key, row in rows.items():
        base = number(rows["v100_fp32" if row["GPU"] == "V100" else "a100_fp32"]["TOPS"])
        assert round(number(row["TOPS"]) / base) == number(row["X-factor vs. FFMA"]), key
        if row["sparse TOPS"] != "-":
            assert number(row["sparse TOPS"]) == 2 * number(row["TOPS"]), key
            assert number(row["sparse X-factor vs. FFMA"]) == 2 * number(row["X-factor vs. FFMA"]), key


def test_inches_and_millimetres_of_the_cards_agree(tables):
    for cell in list(tables["gpus"]["length"].values())[1:]:
        inches, millimetres = (number(part) for part in cell.split("/"))
        assert abs(millimetres / 25.4 - inches) <= 0.5, cell


# ---- the pages ----


def test_references_page_has_an_anchor_for_every_entry_once(root):
    anchors = re.findall(
        r'<a id="ref-(\d+)"></a>\*\*\[(\d+)\]\*\*', (root / "course" / "references.md").read_text("utf-8")
    )
    assert [(int(a), int(b)) for a, b in anchors] == [(n, n) for n in NUMBERS["reference"]]


def test_references_page_names_slides_and_notebooks_as_lecture_toml_does(root, lecture):
    page = (root / "course" / "references.md").read_text("utf-8")
    for reference in lecture["reference"]:
        n = reference["number"]
        entry = re.search(rf'<a id="ref-{n}"></a>.*<br>(.*)', page).group(1)
        slides, here = entry.split("; here: ")
        assert {int(s) for s in re.findall(r"\d+", slides)} == {
            slide["number"] for slide in lecture["slide"] if n in slide.get("cites", [])
        }
        assert set(re.findall(r"\]\((.*?)\)", here)) == {path.removeprefix("course/") for path in notebooks(reference)}
        assert set(re.findall(r"\*(\w+)\*", here)) == {
            PurePosixPath(path).stem for path in notebooks(reference.get("planned", {}))
        }


def notebooks(pointers):
    found = pointers.get("notebook", [])
    return [found] if isinstance(found, str) else found


def test_every_erratum_has_its_own_anchor_and_every_link_leads_somewhere(root):
    page = (root / "ERRATA.md").read_text("utf-8")
    anchors = re.findall(r'<a id="([\w-]+)">', page)
    assert len(anchors) == len(set(anchors))
    for link in re.findall(r"\]\(([^)#:]+)", page):
        assert (root / link).is_file(), link


def test_every_test_that_errata_names_exists(root):
    pointers, count = Pointers(root), 0
    for path, name in re.findall(r"\[test\]\((tests/[\w/]+\.py)\) `(\w+)`", (root / "ERRATA.md").read_text("utf-8")):
        count += 1
        assert pointers.why_dead("test", f"{path}::{name}") == ""
    assert count >= 10


def test_every_erratum_is_pointed_at_from_the_lecture(root, lecture):
    anchors = set(re.findall(r'<a id="([\w-]+)">', (root / "ERRATA.md").read_text("utf-8")))
    entries = [entry for kind in ("slide", "equation", "table", "reference") for entry in lecture[kind]]
    entries += [row for table in lecture["table"] for row in table["row"]]
    assert anchors == {erratum for entry in entries for erratum in entry.get("errata", [])}


def test_notation_links_lead_to_errata_that_exist(root):
    anchors = set(re.findall(r'<a id="([\w-]+)">', (root / "ERRATA.md").read_text("utf-8")))
    links = re.findall(r"ERRATA\.md#([\w-]+)", (root / "course" / "notation.md").read_text("utf-8"))
    assert links
    assert set(links) <= anchors
