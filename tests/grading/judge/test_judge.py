"""The judge takes what a notebook's author expects of a function, and nothing else, from a student."""

from __future__ import annotations

import time

import pytest
from tiny_lab import ANSWERS, SECOND, TESTS, Bench, lab_cells, lost, make_lab, notebook, verdicts

from frugal.grading import confine
from frugal.grading.errors import SandboxMissing
from frugal.grading.judge import Judge
from frugal.grading.lab import Lab
from frugal.grading.limits import Limits
from frugal.grading.verdict import Report

EVERY = set(TESTS)
FOR_EVER = "while True:\n        pass"


def test_right_answers_of_every_kind_pass(bench: Bench) -> None:
    report = bench.submit()
    assert {result.grade_id: result.message for result in report.results if not result.passed} == {}
    assert report.points == report.max_points == len(EVERY)
    assert report.log == ()


def test_untouched_stubs_earn_nothing(bench: Bench) -> None:
    stubs = {name: f"def {name}(*x):\n    raise NotImplementedError('exercise {name}')" for name in EVERY}
    assert lost(bench.submit(stubs)) == EVERY


def test_an_empty_notebook_earns_nothing(bench: Bench) -> None:
    report = bench.judge.grade(b'{"cells": []}')
    assert lost(report) == EVERY
    assert "double" in report.results[0].message


@pytest.mark.parametrize(
    "raw", [b"", b"\xff\xfe", b"[1]", b"{", b'{"cells": 3}', b"[" * 100_000, b'{"cells": [3, null]}']
)
def test_what_is_no_notebook_is_told_and_earns_nothing(bench: Bench, raw: bytes) -> None:
    report = bench.judge.grade(raw)
    assert report.points == 0
    assert report.error or report.results[0].message


@pytest.mark.parametrize(
    "answer",
    [
        f"def double(x):\n    {FOR_EVER}",
        "def double(x):\n    import os\n    os._exit(0)",
        "def double(x):\n    import os, signal\n    os.kill(os.getpid(), signal.SIGKILL)",
        "def double(x):\n    return torch.ones(1 << 31)",
        "def double(x):\n    return ['x' * 100] * 10_000_000",
        "def double(x):\n    import sys\n    sys.setrecursionlimit(10**9)\n    return double(x)",
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64))\ndef double(x):\n    " + FOR_EVER,
        "import threading\ndef double(x):\n    threading.Event().wait()",
    ],
    ids=["loop", "exit", "kill", "memory", "list", "recursion", "deaf loop", "wait"],
)
def test_one_exercise_that_hangs_or_dies_costs_its_own_points_only(bench: Bench, answer: str) -> None:
    assert lost(bench.submit({"double": answer})) == {"double"}


def test_a_cell_that_never_ends_costs_the_names_it_would_have_bound(bench: Bench) -> None:
    report = bench.submit({"double": "while True:\n    double = 1"})
    assert lost(report) == {"double"}
    assert any("no answer within 1 s" in line for line in report.log)


def test_a_process_that_dies_in_every_cell_ends_in_a_report(bench: Bench) -> None:
    report = bench.submit(dict.fromkeys(EVERY, "import os\nos._exit(1)"))
    assert lost(report) == EVERY


def test_a_fork_bomb_is_held_and_leaves_nobody(bench: Bench) -> None:
    bomb = """
        import os

        def double(x):
            while True:
                try:
                    os.fork()
                except OSError:
                    pass
        """
    assert lost(bench.submit({"double": bomb})) == {"double"}
    began = time.monotonic()
    assert lost(bench.submit()) == set()
    assert time.monotonic() - began < 5


def test_a_value_that_takes_for_ever_to_look_at_is_stopped(tmp_path, bench: Bench) -> None:
    slow = "def search(f, low, high):\n    while True:\n        f(low)"
    assert lost(bench.submit({"search": slow})) == {"search"}


def test_an_answer_that_does_not_come_is_no_refusal(bench: Bench) -> None:
    # `pytest.raises` must not take a dead process, a late one, or an unreadable value for a ValueError.
    for body in (
        "import os; os._exit(1)",
        "while True: pass",
        "return object",
        "return type(x)(x) if x > 0 else (x for x in ())",
    ):
        assert "refuse" in lost(bench.submit({"refuse": f"def refuse(x):\n    {body}"}))


def test_errors_come_back_as_the_type_that_they_belong_to(bench: Bench) -> None:
    own = "class Bad(ValueError):\n    pass\n\n"
    own += "def refuse(x):\n    if x < 0:\n        raise Bad('positive')\n    return 2.0"
    assert lost(bench.submit({"refuse": own})) == set()
    other = own.replace("ValueError", "KeyError")
    assert lost(bench.submit({"refuse": other})) == {"refuse"}


def test_changes_to_an_argument_are_seen_and_their_absence_as_well(bench: Bench) -> None:
    assert lost(bench.submit({"clear": "def clear(x):\n    return torch.zeros_like(x)"})) == {"clear"}
    assert lost(bench.submit({"clear": "def clear(x):\n    x.data *= 0\n    return x"})) == set()


def test_a_wrong_gradient_loses(bench: Bench) -> None:
    wrong = ANSWERS["straight"].replace("return gradient", "return torch.zeros_like(gradient)")
    assert lost(bench.submit({"straight": wrong})) == {"straight"}
    assert lost(bench.submit({"straight": "def straight(x):\n    return torch.round(x)"})) == {"straight"}


def test_a_network_without_its_layers_loses(bench: Bench) -> None:
    fewer = ANSWERS["network"].replace("self.last(torch.relu(self.norm(self.first(x))))", "self.first(x)[:, :1]")
    assert lost(bench.submit({"network": fewer})) == {"network"}


def test_cells_that_no_answer_needs_do_not_run(bench: Bench) -> None:
    report = bench.submit({}, "raise RuntimeError('a picture')", "import time\ntime.sleep(60)")
    assert lost(report) == set()
    assert report.log == ()


def test_helpers_in_cells_of_their_own_run(bench: Bench) -> None:
    assert lost(bench.submit({"double": "def double(x):\n    return two * x"}, "two = 2")) == set()
    assert (
        lost(bench.submit({"double": "def double(x):\n    return table['two'] * x"}, "table = {}", "table['two'] = 2"))
        == set()
    )


def test_magics_and_shell_lines_are_left_out(bench: Bench) -> None:
    assert lost(bench.submit({"double": "%matplotlib inline\n!ls\n" + ANSWERS["double"]})) == set()


def test_output_and_warnings_cost_nothing(bench: Bench) -> None:
    noisy = "import warnings\n\ndef double(x):\n    print('x' * 100_000)\n    warnings.warn('slow')\n    return 2 * x"
    assert lost(bench.submit({"double": noisy})) == set()


def test_a_hidden_test_tells_its_sentence_and_never_its_input(bench: Bench) -> None:
    report = bench.submit({"double": "def double(x):\n    return int(x) * 2 if isinstance(x, int) else torch.zeros(2)"})
    assert report.results[0].message == "look at fractions"
    leak = (
        "def double(x):\n    if isinstance(x, int):\n        return 2 * x\n    raise ValueError(f'secret {x.tolist()}')"
    )
    report = bench.submit({"double": leak})
    assert "2.25" not in report.results[0].message
    assert report.results[0].message == "a hidden test ends in ValueError"


def test_a_known_mistake_is_named(bench: Bench) -> None:
    report = bench.submit({"double": "def double(x):\n    return x**2"})
    assert report.results[0].misconception == "You square x instead of doubling it."
    assert bench.submit({"double": "def double(x):\n    return x"}).results[0].misconception is None


def test_a_verdict_can_be_repeated_with_its_seed(bench: Bench) -> None:
    first, second = bench.submit(), bench.submit()
    assert first.seed != second.seed
    again = bench.submit(seed=first.seed)
    assert (again.seed, verdicts(again)) == (first.seed, verdicts(first))


def test_a_report_survives_json(bench: Bench) -> None:
    report = bench.submit({"double": "def double(x):\n    return 0"})
    assert Report.from_json(report.to_json()) == report


def test_submissions_may_be_judged_side_by_side(bench: Bench) -> None:
    from concurrent.futures import ThreadPoolExecutor

    wrong = {"double": "def double(x):\n    return 0"}
    with ThreadPoolExecutor(3) as pool:
        reports = list(pool.map(lambda number: bench.submit(wrong if number % 2 else {}), range(6)))
    assert [lost(report) for report in reports] == [set(), {"double"}] * 3


def test_without_a_sandbox_the_judge_refuses_by_name(tiny: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confine.shutil, "which", lambda name: None)
    with pytest.raises(SandboxMissing, match="bubblewrap: not installed"):
        Judge(tiny).__enter__()


def test_what_a_hidden_test_showed_cannot_be_told_in_a_visible_one(bench: Bench) -> None:
    # `double` meets the secret in its hidden test, `refuse` is asked below it, and its visible words are shown.
    stash = "seen = []\n\ndef double(x):\n    seen.append(str(x))\n    return 2 * x"
    tell = "def refuse(x):\n    raise KeyError(' '.join(seen))"
    report = bench.submit({"double": stash, "refuse": tell})
    assert lost(report) == {"refuse"}
    assert not any("2.25" in result.message for result in report.results)


def test_networks_and_generators_of_a_test_reach_an_answer_and_come_back(tmp_path) -> None:
    answers = {
        "halve": "def halve(net):\n    with torch.no_grad():\n        net[0].weight *= 0.5\n    return net",
        "twice": "def twice(net, x):\n    return net(net(x))",
        "draw": "def draw(n, generator):\n    return torch.rand(n, generator=generator)",
        "box": "class Box:\n    def __init__(self, x):\n        self.x = x\n\n"
        "    def put(self, x):\n        self.x = self.x + x",
    }
    tests = {
        "halve": """
            net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())
            came = halve(net)
            assert torch.equal(came[0].weight, net[0].weight / 2)
            x = torch.randn(3, 2)
            assert torch.allclose(came(x), torch.relu(x @ net[0].weight.T / 2 + net[0].bias))
            """,
        "twice": """
            came = halve(torch.nn.Sequential(torch.nn.Linear(2, 2)))
            assert torch.allclose(twice(came, x), came(came(x)))
            with torch.no_grad():
                came[0].bias.fill_(1.0)
            assert torch.allclose(twice(came, x), came(came(x))), "what changed here is sent first"
            """,
        "draw": """
            seeded = torch.Generator().manual_seed(3)
            assert torch.equal(draw(5, seeded), torch.rand(5, generator=torch.Generator().manual_seed(3)))
            """,
        "box": """
            one = Box(torch.ones(2))
            one.put(2)
            assert one.x.tolist() == [3, 3]
            one.x = 7
            assert one.x == 7
            """,
    }
    lab = make_lab(tmp_path, answers, tests)
    with Judge(lab, limits=SECOND) as judge:
        report = judge.grade(lab.path)
    assert {result.grade_id: result.detail for result in report.results if not result.passed} == {}


def test_a_test_that_never_ends_on_what_came_back_costs_itself_alone(tmp_path) -> None:
    answers = {"count": "def count():\n    return 3", "after": "def after():\n    return 1"}
    tests = {"count": "three = 3\nfor _ in range(count()):\n    pass", "after": "assert after() == three - 2"}
    lab = make_lab(tmp_path, answers, tests)
    with Judge(lab, limits=Limits(call_seconds=1, test_seconds=1, submission_seconds=20)) as judge:
        assert judge.grade(lab.path).points == 2
        report = judge.grade(lab.path.read_bytes().replace(b"return 3", b"return 10**12"))
    assert lost(report) == {"count"}
    assert "takes too long to look at" in report.results[0].message


def test_time_for_a_whole_submission_ends_too(tmp_path) -> None:
    slow = "import time\n\ndef {0}():\n    time.sleep(0.8)\n    return 1"
    names = ["a", "b", "c", "d"]
    lab = make_lab(tmp_path, {n: slow.format(n) for n in names}, {n: f"assert {n}() == 1" for n in names})
    with Judge(lab, limits=Limits(call_seconds=1, test_seconds=1, submission_seconds=2)) as judge:
        report = judge.grade(lab.path)
    assert 1 <= report.points <= 2
    assert "took longer than 2 s" in report.results[-1].message
    assert report.seconds < 4


def test_unsafe_judges_without_a_sandbox_and_with_the_masked_library(
    tiny: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confine, "missing", lambda: ["bubblewrap: not installed"])
    with Judge(tiny, limits=SECOND, unsafe=True) as judge:
        assert judge.grade(tiny.path).points == len(EVERY)
        peek = "import frugal.quant.affine as a\n\ndef double(x):\n    a.quantize(x, x)"
        message = Bench(judge).submit({"double": peek}).results[0].message
        assert "calls a function of the library that is not at hand" in message


def test_a_function_of_torch_that_a_lab_masks_is_not_at_hand(tmp_path) -> None:
    answers = {"own": "def own(x):\n    return x.floor()", "use": "def use(x):\n    return torch.ceil(x)"}
    tests = {name: f"assert {name}(torch.tensor(1.0)) == torch.round(torch.tensor(1.0))" for name in answers}
    cells = lab_cells(answers, tests)
    cells[1]["metadata"]["frugal"] = {"mask": ["torch:ceil"]}
    path = tmp_path / "tiny.ipynb"
    path.write_bytes(notebook(cells))
    with Judge(Lab.load(path), limits=SECOND) as judge:
        report = judge.grade(path)
    assert lost(report) == {"use"}
    assert "write what it does yourself" in report.results[1].message


def test_what_a_student_returns_cannot_fill_the_memory_of_the_machine(tmp_path) -> None:
    answers = {"big": "def big():\n    return torch.zeros(4_000_000)", "small": "def small():\n    return 1"}
    tests = {"big": "kept = [big() for _ in range(200)]", "small": "assert small() == 1"}
    lab = make_lab(tmp_path, answers, tests)
    with Judge(lab, limits=Limits(memory_bytes=1 << 30)) as judge:
        assert lost(judge.grade(lab.path)) == {"big"}
