"""No attack of the catalogue earns a point, shows a hidden line, breaks the judge, stays, or touches who comes next."""

import pytest
from attack import AFFINE, RACE, Attack, solved_path
from catalogue import ATTACKS, TWICE
from proof import launch
from students import PAIRS, Pair

from frugal.show.cpp import available

EACH = 12  # attacks between two honest submissions
QUICK = (  # a kernel that is compiled takes a second: of these one of each way in is tried every time
    *("N-include-solved", "N-embed-solved", "N-has-include", "N-space", "N-open-solved", "N-constructor", "N-fork"),
    *("N-kill-parent", "N-queue-signal", "N-truncate", "N-print-inputs", "N-yes", "N-pack-call"),
)


def parameters():
    for attack in ATTACKS:
        slow = attack.slow or (attack.lab == RACE and attack.id not in QUICK) or attack.id.startswith("asserted")
        marks = [pytest.mark.slow] if slow else []
        yield pytest.param(attack, id=f"{attack.kind}/{attack.id}".replace(" ", "-"), marks=marks)


def test_every_attack_is_named_once_and_says_what_it_tries():
    assert TWICE == []
    assert all(attack.says and len(attack.says) < 100 for attack in ATTACKS)
    assert len({attack.notebook() for attack in ATTACKS if attack.raw is None}) > 0.95 * len(ATTACKS) - 15


@pytest.mark.parametrize("attack", list(parameters()))
def test_an_attack_gets_nothing(judge_of, attack: Attack, request):
    if attack.lab == RACE and not available():
        pytest.skip("no C++ compiler")
    judge = judge_of(attack.lab)
    assert launch(judge, attack).wrong == []
    seen = request.config.stash.setdefault(COUNT, {})
    seen[attack.lab] = seen.get(attack.lab, 0) + 1
    if seen[attack.lab] % EACH == 0:
        hold_honest(judge)


COUNT = pytest.StashKey[dict]()


def hold_honest(judge):
    report = judge.grade(solved_path(judge.lab.name))
    assert {each.grade_id: each.detail for each in report.results if not each.passed} == {}


@pytest.mark.parametrize("lab", [AFFINE, RACE])
def test_after_all_of_them_an_honest_submission_gets_everything(judge_of, lab):
    if lab == RACE and not available():
        pytest.skip("no C++ compiler")
    hold_honest(judge_of(lab))


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.id)
def test_a_submission_finds_nothing_of_the_one_before_it(judge_of, pair: Pair):
    judge = judge_of(AFFINE)
    assert launch(judge, pair.first).wrong == []
    second = launch(judge, pair.second)
    assert second.wrong == []
    told = " ".join(each.message + each.detail for each in second.report.results)
    assert "FOUND" not in told
    assert "nothing" in told, "the search itself has to run"


@pytest.mark.slow
def test_a_submission_finds_nothing_of_the_one_beside_it(judge_of):
    import time
    from concurrent.futures import ThreadPoolExecutor

    judge = judge_of(AFFINE)
    for pair in PAIRS:
        waits = Attack(pair.id, "beside", pair.says, {**pair.first.answers, "quantize": "import time\ntime.sleep(0.8)"})
        with ThreadPoolExecutor(2) as pool:
            one = pool.submit(judge.grade, waits.notebook())
            time.sleep(0.3)
            two = pool.submit(judge.grade, pair.second.notebook())
            told = " ".join(each.message + each.detail for each in (*one.result().results, *two.result().results))
        assert "FOUND" not in told, pair.id
