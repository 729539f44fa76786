"""A record of a measurement can be read back, and says where it comes from."""

import json

import pytest

from frugal.measure.record import record, save


def test_a_record_holds_the_six_parts_and_survives_json(tmp_path):
    result = record([{"bits": 8, "accuracy_percent": 91.5}], {"best_percent": 91.5}, command="python benchmarks/x.py")
    save(result, tmp_path / "deep" / "x.json")
    read = json.loads((tmp_path / "deep" / "x.json").read_text())
    assert read == result
    assert set(read) == {"machine", "versions", "date", "command", "rows", "summary"}
    assert read["versions"]["torch"]


def test_the_command_names_no_folder_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", [str(tmp_path / "benchmarks" / "ptq.py"), "--json", str(tmp_path / "out.json")])
    assert record([{"a": 1}], {})["command"] == "python benchmarks/ptq.py --json out.json"


def test_a_module_is_recorded_as_it_is_typed(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", [str(tmp_path / "frugal" / "__main__.py"), "coverage"])
    assert record([{"a": 1}], {})["command"] == "python -m frugal coverage"


def test_nothing_measured_is_refused():
    with pytest.raises(ValueError, match="nothing was measured"):
        record([], {})


def test_a_figure_that_is_no_number_is_refused_and_leaves_the_old_file(tmp_path):
    file = tmp_path / "x.json"
    save(record([{"a": 1}], {}), file)
    before = file.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        save(record([{"a": float("nan")}], {}), file)
    assert file.read_bytes() == before
