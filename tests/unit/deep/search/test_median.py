from __future__ import annotations

import itertools
import random

import pytest

from hindcast.deep.search.median import Race


def ended(*courses: list[float], epochs: int = 4, grace: int = 1) -> list[int | None]:
    """The epoch that stops each trial, when all of them have trained to their end."""
    race = Race([epochs] * len(courses), grace)
    for trial, losses in enumerate(courses):
        race.end(trial, losses, complete=True)
    return [course.stopped for course in race.courses]


# Running means: 1, .8, .7, .65 and 2, 1.6, 1.4, 1.3; their medians: 1.5, 1.2, 1.05.
TWO = ([1.0, 0.6, 0.5, 0.5], [2.0, 1.2, 1.0, 1.0])


@pytest.mark.parametrize(
    ("losses", "stops"),
    [
        ([1.5, 1.2, 1.05, 0.1], None),  # as good as the median is not worse
        ([1.51, 0.1, 0.1, 0.1], 1),
        ([1.4, 1.3, 0.1, 0.1], 2),
        ([1.1, 5.0, 5.0, 5.0], 3),  # the best so far counts, not the last
        ([1.0, 9.0, 9.0, 9.0], None),
        ([1.4, 1.1, 1.06, 0.1], 3),
        ([1.04, 9.0, 9.0], None),
    ],
)
def test_a_trial_is_stopped_when_its_best_is_worse_than_the_median_of_the_others_means(
    losses: list[float], stops: int | None
) -> None:
    assert ended(*TWO, losses) == [None, None, stops]


def test_one_other_trial_has_no_median() -> None:
    assert ended([0.1] * 4, [9.0] * 4) == [None, None]


def test_the_last_epoch_stops_nothing() -> None:
    assert ended(*TWO, [1.0, 1.0, 1.0, 9.0])[2] is None
    assert ended(*TWO, [1.0, 1.0, 1.06, 9.0], epochs=3)[2] is None


def test_no_verdict_falls_before_the_grace_is_over() -> None:
    assert ended(*TWO, [9.0] * 4, grace=3)[2] == 3
    assert ended(*TWO, [9.0] * 4, grace=4)[2] is None


@pytest.mark.parametrize(("complete", "stops"), [(True, 3), (False, None)])
def test_what_was_complete_early_still_counts_and_what_failed_only_as_far_as_it_came(complete: bool, stops: int | None) -> None:
    race = Race([4] * 3)
    race.end(0, [3.0, 3.0, 0.0, 0.0], complete=True)  # means 3, 3, 2, 1.5
    race.end(1, [4.0, 4.0], complete=complete)  # the median falls from 3.5 to 3; of one trial there is none
    race.end(2, [3.2, 9.0, 9.0, 9.0], complete=True)
    assert [course.stopped for course in race.courses] == [None, None, stops]


def test_a_trial_that_was_stopped_does_not_count_after_its_end() -> None:
    # The medians for the last one are 2, of 1, 2 and 9, and then 1.5, of 1 and 2.
    assert ended([1.0] * 4, [2.0] * 4, [9.0] * 4, [1.8, 9.0, 9.0, 9.0]) == [None, None, 1, 2]


def test_a_trial_is_stopped_at_once_where_those_that_are_behind_cannot_save_it() -> None:
    assert not Race([4] * 5).report(4, [9.0]), "nothing is known of the others"
    for loss, stops in ((1.0, False), (1.1, True)):  # the median of three ones and anything is 1
        race = Race([4] * 5)
        for trial in range(3):
            race.report(trial, [1.0])
        assert race.report(4, [loss]) is stops


def test_a_trial_that_went_on_is_stopped_when_those_behind_have_come_so_far() -> None:
    race = Race([4] * 3)
    race.report(0, [1.0])
    assert not race.report(2, [2.0])
    assert not race.report(2, [2.0, 0.1])
    race.report(1, [2.5])  # the median is 1.75
    assert race.report(2, [2.0, 0.1, 0.1])
    assert race.courses[2].stopped == 1


def test_a_trial_that_has_ended_may_yet_turn_out_to_have_been_stopped() -> None:
    race = Race([4] * 4)
    race.report(0, [1.0, 1.0])
    race.end(2, [3.0], complete=True)
    assert not race.report(3, [0.6, 0.6])
    race.report(1, [0.0, 0.0])  # stops the third, so that the medians for the last are 1, of 1, 0 and 3, and then 0.5
    assert race.report(3, [0.6, 0.6])
    assert [course.stopped for course in race.courses] == [None, None, 1, 2]


def courses_of(seed: int) -> tuple[list[list[float]], list[bool]]:
    rng = random.Random(seed)
    lengths = [rng.choice([0, 1, 3, 6, 6, 6]) for _ in range(7)]
    return [[rng.random() * level for _ in range(n)] for n, level in zip(lengths, rng.choices([1, 1.5, 3], k=7), strict=True)], [
        rng.random() < 0.8 for _ in range(7)
    ]


@pytest.mark.parametrize("seed", range(40))
def test_verdicts_are_the_same_whichever_trial_is_quicker(seed: int) -> None:
    courses, complete = courses_of(seed)
    rng = random.Random(seed)
    found = set()
    for _ in range(10):
        race = Race([6] * len(courses))
        at, stopped = [0] * len(courses), [False] * len(courses)
        waiting = list(range(len(courses)))
        while waiting:
            # As many at a time as there are slots: those of the lowest numbers.
            trial = rng.choice(waiting[: 2 + seed % 4])
            if at[trial] < len(courses[trial]) and not stopped[trial]:
                at[trial] += 1
                stopped[trial] = race.report(trial, courses[trial][: at[trial]])
            else:
                race.end(trial, courses[trial][: at[trial]], complete[trial] and not stopped[trial])
                waiting.remove(trial)
        found.add(tuple(course.stopped for course in race.courses))
    assert len(found) == 1
    in_a_row = Race([6] * len(courses))
    for trial, losses in enumerate(courses):
        in_a_row.end(trial, losses, complete[trial])
    assert found == {tuple(course.stopped for course in in_a_row.courses)}


def test_some_of_those_searches_stop_trials() -> None:
    counts = []
    for seed in range(40):
        courses, complete = courses_of(seed)
        race = Race([6] * len(courses))
        for trial, losses in enumerate(courses):
            race.end(trial, losses, complete[trial])
        counts.append(sum(course.stopped is not None for course in race.courses))
    assert sum(counts) > 40


def test_losses_that_are_told_again_change_nothing() -> None:
    race = Race([4] * 3)
    for losses in itertools.chain(([2.0], [2.0, 1.0]), ([2.0],)):
        race.report(0, losses)
    assert race.courses[0].losses == (2.0, 1.0)
