"""What comes next in a plan is a pure rule of the roles of its steps and of what came of those before."""

import pytest

from routoo_core.answer import Answer
from routoo_core.plans import (
    Appraisal,
    Ask,
    Cascade,
    Consensus,
    Contribution,
    GiveUp,
    Mixture,
    Role,
    Take,
)
from routoo_core.request import RoutedRequest

REQUEST = RoutedRequest.from_text("How many legs do three spiders have together?")
JUDGED = Cascade(name="judged", experts=("one", "two", "three"), judge="judge")
CHECKED = Cascade(name="checked", experts=("one", "two", "three"))
RANKED = Mixture(name="ranked", experts=("one", "two"), aggregator="three", ranker="judge")


def outcomes(plan, *texts):
    """Contributions of a plan's first steps; ``None`` is a failure."""
    contributions = []
    for step, text in enumerate(texts):
        reply = None if text is None else Answer(text)
        contributions.append(Contribution(step, plan.steps[step].expert, 0.5, reply))
    return contributions


def next_places(plan, contributions):
    verdict = plan.verdict(REQUEST, contributions)
    assert isinstance(verdict, Ask)
    return verdict.steps


@pytest.mark.parametrize(
    ("plan", "roles"),
    [
        (JUDGED, ["answer", "judgement", "answer", "judgement", "answer"]),
        (CHECKED, ["answer", "answer", "answer"]),
        (RANKED, ["answer", "answer", "ranking", "aggregation"]),
        (Consensus(name="pair", experts=("one", "two"), then="three"), ["answer"] * 3),
    ],
    ids=["judged", "checked", "ranked", "consensus"],
)
def test_every_step_says_what_it_is_for(plan, roles):
    assert [step.role for step in plan.steps] == roles


def test_an_answer_is_shown_others_and_checked_by_its_role():
    sees_answers = {step.role: step.sees_answers for step in (*JUDGED.steps, *RANKED.steps)}
    is_checked = {step.role: step.is_checked for step in (*JUDGED.steps, *RANKED.steps)}
    assert sees_answers == {role: role is not Role.ANSWER for role in Role}
    assert is_checked == {
        Role.ANSWER: True,
        Role.JUDGEMENT: False,
        Role.RANKING: False,
        Role.AGGREGATION: True,
    }


def test_an_answer_is_judged_and_the_next_one_asked_where_it_is_not_accepted():
    assert next_places(JUDGED, outcomes(JUDGED, "24")) == (1,)
    assert next_places(JUDGED, outcomes(JUDGED, "24", "no")) == (2,)
    assert JUDGED.verdict(REQUEST, outcomes(JUDGED, "24", "yes")) == Take(0)


def test_an_answer_that_failed_or_was_cut_is_not_judged():
    assert next_places(JUDGED, outcomes(JUDGED, None)) == (2,)
    cut = Contribution(0, "one", 0.5, Answer("24", is_cut=True))
    assert next_places(JUDGED, [cut]) == (2,)
    assert next_places(CHECKED, outcomes(CHECKED, None)) == (1,)


def test_where_the_last_expert_fails_an_answer_stands_and_never_a_judgement():
    contributions = [
        Contribution(0, "one", 0.5, Answer("24")),
        Contribution(1, "judge", 0.5, Answer("no")),
        Contribution(2, "two", 0.5, None),
        Contribution(4, "three", 0.5, None),
    ]
    assert JUDGED.verdict(REQUEST, contributions) == Take(0, is_accepted=False)
    assert JUDGED.verdict(REQUEST, contributions[2:]) == GiveUp()


def test_a_consensus_compares_what_was_read_of_the_answers():
    plan = Consensus(name="pair", experts=("one", "two"), then="three")

    def contributions(*statements):
        return [
            Contribution(step, plan.steps[step].expert, 0.6, Answer("any"), Appraisal(statement))
            for step, statement in enumerate(statements)
        ]

    assert isinstance(plan.verdict(REQUEST, contributions("24", "24")), Take)
    assert next_places(plan, contributions("24", "25")) == (2,)
    assert next_places(plan, contributions(None, None)) == (2,)
    assert plan.verdict(REQUEST, contributions("24", "25", "25")).position in {1, 2}


@pytest.mark.parametrize(
    ("places", "message"), [((), "names no step"), ((1, 0, 1), "names a step twice")]
)
def test_a_round_that_asks_nobody_or_somebody_twice_is_refused(places, message):
    with pytest.raises(ValueError, match=message):
        Ask(places)
