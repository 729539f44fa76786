"""A stored measurement is read whole, or refused with what to do."""

import pytest

from frugal.core.errors import CourseFileMissing
from frugal.measure.record import record, save
from frugal.measure.results import lay_out, provenance, read, rows_where

ROWS = [{"bits": "W8A8", "accuracy_percent": 91.8}, {"bits": "W4A4", "accuracy_percent": 82.1}]


@pytest.fixture
def stored(tmp_path):
    file = tmp_path / "ptq.json"
    save(record(ROWS, {"best": 91.8}, command="python benchmarks/ptq.py"), file)
    return file


def test_what_was_recorded_is_read_back(stored):
    result = read(stored)
    assert result["rows"] == ROWS
    assert rows_where(result, bits="W4A4") == ROWS[1:]
    assert rows_where(result, bits="W2A2") == []


def test_provenance_names_date_machine_and_command(stored):
    result = read(stored)
    words = provenance(result)
    for part in (result["date"][:10], result["machine"]["processor"], "python benchmarks/ptq.py"):
        assert part in words


def test_a_missing_file_says_which_command_makes_it(tmp_path):
    with pytest.raises(CourseFileMissing, match=r"no measurement gemm.json; python benchmarks/gemm.py --json"):
        read(tmp_path / "gemm.json")


@pytest.mark.parametrize(
    "text, told",
    [("{", "is not JSON"), ("[1]", "lacks machine"), ('{"machine": {}, "rows": []}', "lacks versions, date")],
)
def test_what_is_no_record_is_refused(tmp_path, text, told):
    file = tmp_path / "ptq.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=told):
        read(file)


def test_a_table_with_a_short_row_is_refused():
    with pytest.raises(ValueError, match="every row needs 2 cells"):
        lay_out(("a", "b"), [("1",)])
