"""A check tells each kind of failure apart, explains the smallest one, and never changes its mind."""

import json
import random
import re
import time
import warnings
from dataclasses import dataclass
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from frugal.core.errors import CheckFailed
from frugal.quant.affine import QParams, choose_qparams
from frugal.show import attempt as attempt_module
from frugal.show.attempt import attempt
from frugal.show.check import case, check, examine, holds, raises
from frugal.show.unblock import go_on
from frugal.show.words import in_words, number, two_numbers

X = torch.tensor([0.4, 1.5, 2.6])
CODES = torch.tensor([0, 2, 3], dtype=torch.int8)
ROUNDS = case("three values", X, expect=CODES)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def right(x):
    return x.round().to(torch.int8)


def verdict_of(function, *cases):
    return examine(function, *(cases or (ROUNDS,)))


def told(function, *cases):
    verdict = verdict_of(function, *cases)
    return verdict.status, " | ".join(verdict.first_failure.told)


# ---- kinds of failure ----


def test_a_right_answer_passes_and_says_what_was_tested(capsys):
    check(right, ROUNDS, case("empty", torch.zeros(0), expect=torch.zeros(0, dtype=torch.int8)))
    said = capsys.readouterr()
    assert said.out.splitlines() == ["right: 2 cases pass", "  ✔ pass  three values", "  ✔ pass  empty"]
    assert said.err == ""


def test_an_untouched_exercise_is_not_attempted():
    def quantize(x):
        # YOUR CODE HERE
        raise NotImplementedError()

    status, words = told(quantize)
    assert status == "not attempted"
    assert "write the body" in words
    assert verdict_of(quantize).headline == "quantize: not attempted yet"


def test_a_refusal_that_was_asked_for_does_not_hide_an_untouched_exercise():
    def quantize(x):
        raise NotImplementedError()

    assert verdict_of(quantize, case("refused", X, expect=raises(RuntimeError))).status == "not attempted"


def test_a_raise_left_in_an_answer_is_named_with_its_line():
    def quantize(x):
        if x.numel():
            raise NotImplementedError
        return x

    status, words = told(quantize)
    assert status == "not attempted"
    assert "raise NotImplementedError" in words
    assert "still raises" in words


def test_a_crash_tells_error_message_and_the_students_line():
    def broken(x):
        y = x.reshape(7)
        return y

    status, words = told(broken)
    assert status == "crashed"
    assert "RuntimeError: shape '[7]' is invalid for input of size 3" in words
    assert "y = x.reshape(7)" in words


def test_a_crash_inside_a_helper_of_the_same_file_shows_the_helpers_line():
    assert "return 1 / 0" in told(lambda x: _helper())[1]


def _helper():
    return 1 / 0


@pytest.mark.parametrize("error", [SystemExit, RecursionError, GeneratorExit, MemoryError])
def test_nothing_that_an_answer_raises_stops_the_check(error):
    def hostile(x):
        raise error("no")

    assert told(hostile)[0] == "crashed"


def test_pressing_stop_is_not_a_failure_of_the_answer():
    def interrupted(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verdict_of(interrupted)


@pytest.mark.parametrize(
    "function, words",
    [
        (lambda x: None, "got None, expected a tensor; does the function end in return?"),
        (lambda x: [0, 2, 3], "got a list, expected a tensor"),
        (lambda x: x.round(), "got dtype float32, expected int8"),
        (lambda x: right(x)[None], "got shape [1, 3], expected [3]"),
        (lambda x: torch.nn.Parameter(x.round()), "got a Parameter, expected a tensor"),
    ],
)
def test_type_dtype_and_shape_come_before_values(function, words):
    status, line = told(function)
    assert status == "wrong type or shape"
    assert words in line


def test_wrong_codes_are_told_in_steps_with_the_first_index_and_the_count():
    status, words = told(lambda x: x.ceil().to(torch.int8))
    assert status == "wrong value"
    assert "value [0]: got 1, expected 0 (1 step too high); 1 of 3 values differ" in words
    assert "input: your answer(float32 [0.4, 1.5, 2.6])" in words


def test_unsigned_codes_do_not_wrap_when_they_are_compared():
    expect = torch.tensor([[0, 250]], dtype=torch.uint8)
    _, words = told(lambda x: torch.tensor([[0, 3]], dtype=torch.uint8), case("u", X, expect=expect))
    assert "value [0, 1]: got 3, expected 250 (247 steps too low); 1 of 2 values differ" in words


def test_wrong_reals_are_told_with_their_distance_and_the_room_allowed():
    expect = torch.tensor([1.0, 4.0])
    status, words = told(lambda x: torch.tensor([1.0, 4.5]), case("r", X, expect=expect))
    assert status == "wrong value"
    allowed = 8 * torch.finfo(torch.float32).eps * 4
    assert f"value [1]: got 4.5, expected 4 (0.5 too high, {allowed:.2g} allowed); 1 of 2 values differ" in words


def test_numbers_that_print_alike_get_more_digits():
    _, words = told(lambda x: 0.1 + 1e-7, case("n", X, expect=0.1))
    assert "got 0.1000001, expected 0.1" in words


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_reals_have_room_for_eight_units_in_the_last_place_of_the_largest(dtype):
    eps = torch.finfo(dtype).eps
    expect = torch.tensor([1.0, 0.25], dtype=dtype)
    near, far = (torch.tensor([1.0, 0.25 + ulps * eps], dtype=dtype) for ulps in (8, 10))
    assert verdict_of(lambda x: near, case("near", X, expect=expect)).passed
    assert not verdict_of(lambda x: far, case("far", X, expect=expect)).passed
    assert verdict_of(lambda x: far, case("wider", X, expect=expect, ulps=10)).passed
    assert verdict_of(lambda x: far, case("absolute", X, expect=expect, atol=0.1)).passed
    assert not verdict_of(lambda x: near, case("exact", X, expect=expect, ulps=0)).passed


def test_nan_matches_nan_only_and_infinity_its_own_sign():
    expect = torch.tensor([torch.nan, torch.inf, 1.0])
    assert verdict_of(lambda x: expect.clone(), case("same", X, expect=expect)).passed
    for wrong in ([0.0, torch.inf, 1.0], [torch.nan, -torch.inf, 1.0], [torch.nan, torch.inf, torch.nan]):
        assert (
            verdict_of(lambda x, wrong=wrong: torch.tensor(wrong), case("wrong", X, expect=expect)).status
            == "wrong value"
        )


def test_empty_and_broadcastable_answers_do_not_pass_for_full_ones():
    for wrong in (torch.zeros(0, dtype=torch.int8), torch.tensor(0, dtype=torch.int8), CODES[:1]):
        assert told(lambda x, wrong=wrong: wrong)[0] == "wrong type or shape"


class AlwaysEqual:
    def __eq__(self, other):
        return True


class Yes(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return torch.ones(3, dtype=torch.bool)


@pytest.mark.parametrize("answer", [AlwaysEqual(), torch.zeros(3, dtype=torch.int8).as_subclass(Yes)])
def test_objects_that_agree_with_everything_are_refused(answer):
    assert told(lambda x: answer)[0] == "wrong type or shape"
    assert told(lambda x: (answer,), case("inside", X, expect=(CODES,)))[0] == "wrong type or shape"


@pytest.mark.parametrize(
    "got, expect, words",
    [
        (True, 1, "got a bool, expected an int"),
        (7, 7.0, "got an int, expected a float"),
        (9, 7, "got 9, expected 7 (2 too high)"),
        ("int7", "int8", "got 'int7', expected 'int8'"),
        ((1, 2), (1, 3), "[1]: got 2, expected 3 (1 too low)"),
        ((1, 2), (1, 2, 3), "got 2 items, expected 3"),
        ([1], (1,), "got a list, expected a tuple"),
        ({"a": 1}, {"b": 1}, "got the keys ['a'], expected ['b']"),
        ({"a": [1]}, {"a": [2]}, "['a'][0]: got 1, expected 2 (1 too low)"),
        (torch.int8, torch.uint8, "got int8, expected uint8"),
        (np.float32(1), 1.0, "got a float32, expected a float"),
        (np.arange(3), np.arange(3) + 1, "value [0]: got 0, expected 1 (1 too low); 3 of 3 values differ"),
        (torch.tensor([True]), torch.tensor([False]), "value [0]: got True, expected False"),
    ],
)
def test_any_plain_value_can_be_expected(got, expect, words):
    assert words in told(lambda x: got, case("plain", X, expect=expect))[1]
    assert verdict_of(lambda x: expect, case("plain", X, expect=expect)).passed


def test_parameters_are_compared_field_by_field_and_the_field_is_named():
    expect = QParams(torch.tensor([0.5, 1.0]), torch.tensor([0, 3], dtype=torch.int32), -8, 7)
    wrong = QParams(torch.tensor([0.5, 1.0]), torch.tensor([0, 5], dtype=torch.int32), -8, 7)
    status, words = told(lambda x: wrong, case("parameters", X, expect=expect))
    assert status == "wrong value"
    assert "zero_point [1]: got 5, expected 3 (2 too high); 1 of 2 values differ" in words
    assert verdict_of(lambda x: expect, case("parameters", X, expect=expect)).passed


def test_a_class_defined_twice_is_called_so():
    def define():
        @dataclass(frozen=True)
        class Range:
            low: float

        return Range

    _, words = told(lambda x: define()(1.0), case("stale", X, expect=define()(1.0)))
    assert "run the cell that defines it once more" in words


def test_changing_an_argument_is_found_even_when_the_result_is_right():
    def rounds_in_place(x):
        return x.round_().to(torch.int8)

    status, words = told(rounds_in_place)
    assert status == "changed its input"
    assert "x = x.clone()" in words


def test_changes_are_found_inside_parameters_and_keywords():
    qparams = QParams(torch.tensor(0.5), torch.tensor(3, dtype=torch.int32), -8, 7)

    def doubles_the_scale(x, *, qparams):
        qparams.scale.mul_(2)
        return 1

    assert told(doubles_the_scale, case("nested", X, qparams=qparams, expect=1))[0] == "changed its input"
    assert qparams.scale.item() == 0.5


def test_refusals_can_be_expected():
    nan = torch.tensor([torch.nan])
    refused = case("nan", nan, expect=raises(ValueError))
    assert verdict_of(choose_qparams, refused).passed
    assert told(lambda x: 3, refused)[1].startswith("got 3, expected ValueError")
    status, words = told(lambda x: 1 / 0, refused)
    assert status == "crashed"
    assert "ZeroDivisionError: division by zero, expected ValueError" in words


@pytest.mark.parametrize("on_main", [True, False])
def test_an_endless_answer_is_stopped(on_main, monkeypatch):
    monkeypatch.setattr(attempt_module, "LIMIT_S", 0.1)
    if not on_main:
        monkeypatch.setattr(attempt_module, "_call_with_alarm", attempt_module._call_in_thread)

    def endless(x):
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            time.sleep(0.001)
        return CODES

    started = time.monotonic()
    verdict = verdict_of(endless, ROUNDS, ROUNDS, ROUNDS)
    assert time.monotonic() - started < 0.9  # one case was stopped, the two others not started
    assert [row.status for row in verdict.rows] == ["too slow"] * 3


def test_an_answer_cannot_swallow_its_time_limit(monkeypatch):
    monkeypatch.setattr(attempt_module, "LIMIT_S", 0.1)

    def stubborn(x):
        try:
            time.sleep(1)
        except Exception:
            return CODES

    assert told(stubborn)[0] == "too slow"


def test_an_alarm_of_somebody_else_still_rings():
    import signal

    rang = []
    before = signal.signal(signal.SIGALRM, lambda *_: rang.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.15)
        attempt(lambda: time.sleep(0.05))
        time.sleep(0.2)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert rang == [1]


# ---- properties ----


def test_a_property_holds_or_tells_what_to_look_at():
    assert verdict_of(right, holds("true", lambda: True)).passed
    assert verdict_of(right, holds("a tensor that says yes", lambda: torch.tensor([1, 2]).sum() == 3)).passed
    status, words = told(right, holds("never", lambda: False, tell="the largest code"))
    assert status == "wrong value"
    assert words == "this does not hold | look at: the largest code"


def test_a_property_may_assert_with_its_own_words():
    def order_is_kept():
        assert [1, 2] == [2, 1], "codes 1 and 2 are swapped"

    assert told(right, holds("order", order_is_kept))[1].startswith("codes 1 and 2 are swapped")


def test_a_property_that_meets_an_open_exercise_is_not_attempted():
    def quantize(x):
        raise NotImplementedError

    assert verdict_of(quantize, holds("order", lambda: quantize(X) is not None)).status == "not attempted"


def test_a_property_must_say_true_or_false():
    assert told(right, holds("what", lambda: "yes"))[0] == "wrong type or shape"
    assert told(right, holds("always equal", lambda: AlwaysEqual()))[0] == "wrong type or shape"


# ---- the whole verdict ----


def test_only_the_smallest_failing_case_is_explained():
    verdict = verdict_of(lambda x: x.floor().to(torch.int8), case("one", X[:1], expect=CODES[:1]), ROUNDS, ROUNDS)
    assert [row.passed for row in verdict.rows] == [True, False, False]
    assert repr(verdict).count("expected") == 1
    assert verdict._repr_html_().count("expected") == 1
    assert verdict.headline == "your answer: 2 of 3 cases fail"


def test_a_failed_check_raises_two_lines_and_shows_no_traceback(capsys):
    with pytest.raises(CheckFailed) as failure:
        check(lambda x: x.ceil().to(torch.int8), ROUNDS, title="quantize")
    assert failure.value.status == "wrong value"
    assert re.fullmatch("[0-9a-f]{16}", failure.value.digest)
    lines = failure.value._render_traceback_()
    assert [line.strip() for line in lines] == [
        "quantize: 1 of 1 case fails",
        "three values: value [0]: got 1, expected 0 (1 step too high); 1 of 3 values differ",
    ]
    assert capsys.readouterr().err == ""


def test_ten_runs_give_one_verdict_and_leave_the_random_state_alone():
    def draws(x):
        return x + torch.rand(3) + random.random() + float(np.random.rand())  # noqa: NPY002

    torch.manual_seed(5)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    verdicts = {repr(verdict_of(draws, case("noise", X, expect=X))) for _ in range(10)}
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1]  # noqa: NPY002
    assert len(verdicts) == 1
    assert torch.equal(before[0], after[0])
    assert before[1] == after[1]
    assert (before[2] == after[2]).all()


def test_a_case_gives_fresh_copies_on_every_run():
    seen = []

    def appends(values, x):
        seen.append((len(values), x[0].item()))
        values.append(1)
        x.add_(1)

    kept = case("default state", [], X, expect=None)
    for _ in range(3):
        verdict_of(appends, kept)
    assert seen == [(0, X[0].item())] * 3


def test_copies_keep_strides_gradients_and_generators():
    strided = torch.arange(12.0).reshape(3, 4).t()[::2]
    leaf = torch.ones(2, requires_grad=True)
    grown = leaf * 2
    generator = torch.Generator().manual_seed(3)
    seen = []

    def looks(x, leaf, grown, generator):
        seen.append((x.stride(), leaf.requires_grad, grown.requires_grad, torch.rand(1, generator=generator).item()))

    kept = case("as they were", strided, leaf, grown, generator, expect=None)
    assert verdict_of(looks, kept).passed
    assert verdict_of(looks, kept).passed
    assert seen[0] == seen[1]
    assert seen[0][:3] == (strided.stride(), True, True)


def test_warnings_of_an_answer_stay_silent(capsys):
    def warns(x):
        warnings.warn("careful", stacklevel=1)
        return CODES

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check(warns, ROUNDS)
    assert caught == []
    assert capsys.readouterr().err == ""


def test_addresses_and_long_messages_are_cut():
    def crashes(x):
        raise ValueError(f"{object()} " + "long " * 200)

    _, words = told(crashes)
    assert "0x…" in words
    assert max(len(part) for part in words.split(" | ")) <= 200


@pytest.mark.parametrize("cases", [(), (3,), ("case",)])
def test_a_check_without_cases_is_the_authors_mistake(cases):
    with pytest.raises(TypeError, match="made with case"):
        check(right, *cases)


def test_arguments_of_the_wrong_kind_are_the_authors_mistake():
    with pytest.raises(TypeError, match="needs a function first"):
        check(ROUNDS)
    with pytest.raises(TypeError, match="such as lambda"):
        holds("name", True)
    with pytest.raises(TypeError, match="exception classes"):
        raises("ValueError")


# ---- what go_on borrowed ----


def test_the_librarys_version_is_not_taken_for_an_answer(capsys):
    def quantize(x):
        raise NotImplementedError

    borrowed = go_on(quantize, fallback=right)
    assert torch.equal(borrowed(X), CODES)
    with pytest.raises(CheckFailed, match="your exercise is still open; run your own cell again") as failure:
        check(borrowed, ROUNDS)
    assert failure.value.status == "not attempted"
    assert str(failure.value).startswith("quantize: not attempted yet")


def test_going_on_with_an_answer_whose_check_failed_says_so(capsys):
    answer = lambda x: x.ceil().to(torch.int8)  # noqa: E731
    with pytest.raises(CheckFailed):
        check(answer, ROUNDS)
    capsys.readouterr()
    assert go_on(answer, fallback=right) is answer
    assert capsys.readouterr().out == "your answer: the lab goes on with yours, although its check fails.\n"
    check(answer, case("one", X[2:], expect=CODES[2:]))
    capsys.readouterr()
    go_on(answer, fallback=right)
    assert "fails" not in capsys.readouterr().out


# ---- known mistakes ----


def truncates(x):
    return x.to(torch.int8)


def test_a_catalogued_mistake_is_called_by_its_name(tmp_path):
    digest = verdict_of(truncates).digest
    entry = {"name": "truncates", "says": "Codes are cut towards zero.", "hint": "look at 1.5"}
    (tmp_path / "misconceptions.json").write_text(json.dumps({"quantize": {digest: entry}}))
    with pytest.raises(CheckFailed, match="One mistake that gives exactly these results: Codes are cut towards zero"):
        check(lambda values: torch.trunc(values).char(), ROUNDS, title="quantize")
    verdict = examine(lambda x: x.ceil().char(), ROUNDS, title="quantize")
    assert verdict.diagnosis == ()
    assert examine(truncates, ROUNDS).diagnosis == ()  # catalogued for quantize, not for truncates


def test_a_mistake_is_recognised_when_it_is_written_in_another_way(tmp_path):
    x = torch.linspace(-3, 5, 50)
    step = case("step", x, expect=8 / 255)
    digest = examine(lambda x: ((x.max() - x.min()) / 256).item(), step).digest
    (tmp_path / "misconceptions.json").write_text(json.dumps({"step": {digest: {"name": "n", "says": "2^b steps"}}}))
    other = examine(lambda x: float(x.max()) / 256 - float(x.min()) / 256 + 1e-10, step, title="step")
    assert other.diagnosis == ("One mistake that gives exactly these results: 2^b steps",)


def test_two_mistakes_at_once_are_recognised_by_the_first_failing_case(tmp_path):
    small, large = case("small", torch.tensor([1.7]), expect=torch.tensor([2], dtype=torch.int8)), ROUNDS
    first = examine(truncates, small, large).first_failing
    assert first.startswith("small:")
    entry = {"name": "truncates", "says": "Codes are cut towards zero.", "hint": "look at 1.7"}
    (tmp_path / "misconceptions.json").write_text(json.dumps({"quantize": {"first_failing": {first: entry}}}))
    told = examine(lambda x: truncates(x) * (1 if len(x) == 1 else 2), small, large, title="quantize").diagnosis
    assert told == ("Possibly: Codes are cut towards zero.", "Hint: look at 1.7")
    assert examine(lambda x: truncates(x) + 2, small, large, title="quantize").diagnosis == ()
    assert examine(lambda x: truncates(x).int(), small, large, title="quantize").diagnosis == ()  # another dtype


def test_a_property_alone_recognises_nothing_and_a_right_answer_has_no_failing_case():
    assert examine(right, holds("never", lambda: False), ROUNDS).first_failing == ""
    assert examine(right, ROUNDS).first_failing == ""


def test_crashes_over_two_dtypes_are_two_mistakes():
    def zero_point_of(dtype):
        return lambda x: QParams(torch.tensor(0.5), torch.tensor(3, dtype=dtype), -8, 7)

    crashes = [examine(zero_point_of(dtype), ROUNDS) for dtype in (torch.float32, torch.int64)]
    assert [verdict.status for verdict in crashes] == ["crashed", "crashed"]
    assert crashes[0].digest != crashes[1].digest
    assert crashes[0].first_failing != crashes[1].first_failing


def test_crashes_that_differ_in_numbers_and_addresses_are_one_mistake():
    def raising(words):
        def crashes(x):
            raise ValueError(words)

        return crashes

    one, same, other = ("3 steps of 0.25 at 0x7f00aa", "12 steps of -1e-05 at 0x7f11bb", "3 codes of 0.25 at 0x7f00aa")
    digests = [examine(raising(words), ROUNDS).digest for words in (one, same, other)]
    assert digests[0] == digests[1] != digests[2]


def test_the_digest_covers_every_case_and_property():
    digests = {
        examine(right, ROUNDS).digest,
        examine(right, ROUNDS, ROUNDS).digest,
        examine(right, ROUNDS, holds("p", lambda: False)).digest,
        examine(right, ROUNDS, holds("p", lambda: True)).digest,
        examine(lambda x: x.round_().char(), ROUNDS).digest,
        examine(truncates, ROUNDS).digest,
    }
    assert len(digests) == 6


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"quantize": 3}',
        '{"quantize": {"DIGEST": 3}}',
        '{"quantize": {"DIGEST": {}}}',
        '{"quantize": {"first_failing": {"FIRST": 3}}}',
    ],
)
def test_a_broken_catalogue_is_a_note_and_not_a_failure(text, tmp_path):
    verdict = verdict_of(truncates)
    text = text.replace("DIGEST", verdict.digest).replace("FIRST", verdict.first_failing)
    (tmp_path / "misconceptions.json").write_text(text)
    verdict = examine(truncates, ROUNDS, title="quantize")
    assert "could not be read" in verdict.diagnosis[0]
    assert verdict.status == "wrong value"


# ---- how it looks ----


class Tags(HTMLParser):
    """Collects tags, and insists that every tag is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_table_is_sound_html_with_words_beside_signs():
    verdict = verdict_of(truncates, ROUNDS, case("<b>bold</b> & more", X[:1], expect=CODES[:1]))
    page = verdict._repr_html_()
    tags = Tags(page)
    assert [tag for tag, _ in tags.seen].count("tr") == 1 + 2
    assert "✘ fail" in page
    assert "✔ pass" in page
    assert "<b>" not in page
    assert all(attrs["scope"] == "col" for tag, attrs in tags.seen if tag == "th")


def test_a_green_verdict_keeps_its_table_folded():
    tags = Tags(verdict_of(right)._repr_html_())
    assert "details" in [tag for tag, _ in tags.seen]


def test_under_a_drawn_table_the_message_is_one_line_and_keeps_its_reason_for_programs():
    verdict = verdict_of(truncates)
    drawn = verdict.error(drawn=True)
    assert drawn._render_traceback_() == [verdict.headline]
    assert str(drawn) == str(verdict.error())
    assert len(verdict.error()._render_traceback_()) == 2


@pytest.mark.parametrize(
    "value, words",
    [
        (torch.tensor([[1, 2], [3, 4]], dtype=torch.int8), "int8 [[1, 2], [3, 4]]"),
        (torch.tensor([[-0.0], [0.5]]), "float32 [[0], [0.5]]"),
        (torch.zeros(3, 64), "float32 of shape 3 × 64"),
        (torch.full((17,), torch.nan), "float32 of shape 17 (17 of 17 values not finite)"),
        (torch.zeros(2, 0), "float32 of shape 2 × 0 (empty)"),
        (torch.zeros(2, device="meta"), "float32 of shape 2 (without values)"),
        (torch.eye(3).to_sparse(), "float32 of shape 3 × 3 (sparse_coo)"),
        (torch.tensor(-0.0), "0"),
    ],
)
def test_small_tensors_are_written_out_and_large_ones_told_by_their_shape(value, words):
    assert in_words(value) == words


def test_no_number_is_minus_zero():
    assert number(-0.0) == "0"
    assert two_numbers(-0.0, 1.0) == ("0", "1")
