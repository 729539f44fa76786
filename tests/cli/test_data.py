"""``python -m frugal data``: says what is here, and what to do about the rest."""

import pytest
from click.testing import CliRunner

from frugal.cli.data import data
from frugal.data import download


@pytest.fixture(autouse=True)
def _no_folder(monkeypatch):
    monkeypatch.delenv("FRUGAL_DATA", raising=False)


def test_without_a_folder_it_says_how_to_name_one():
    result = CliRunner().invoke(data, [])
    assert result.exit_code == 0
    assert "crescent" in result.output
    assert result.output.count("set FRUGAL_DATA") == 3


def test_missing_files_are_counted(tmp_path):
    result = CliRunner().invoke(data, ["--to", str(tmp_path)])
    assert result.exit_code == 0
    assert "1 of 1 files missing" in result.output
    assert "5 of 5 files missing" in result.output


def test_a_download_goes_where_it_is_told(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(download, "fetch_cifar10", lambda folder: asked.append(folder) or [folder / "one.bin"])
    result = CliRunner().invoke(data, ["--download", "--to", str(tmp_path)])
    assert asked == [tmp_path]
    assert "one.bin" in result.output


def test_a_download_without_a_folder_is_refused():
    result = CliRunner().invoke(data, ["--download"])
    assert result.exit_code == 2
    assert "--to FOLDER" in result.output


def test_a_contact_sheet_is_a_picture(tmp_path):
    path = tmp_path / "sheet.ppm"
    assert CliRunner().invoke(data, ["--sheet", str(path)]).exit_code == 0
    header = b"P6 512 320 255\n"
    content = path.read_bytes()
    assert content.startswith(header)
    assert len(content) == len(header) + 512 * 320 * 3
    assert len(set(content[len(header) :])) == 256


@pytest.mark.real_data
def test_real_pictures_are_counted(real_data):
    result = CliRunner().invoke(data, ["--to", str(real_data)])
    assert "cifar10  test     10,000 pictures" in result.output
