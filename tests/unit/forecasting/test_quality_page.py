"""The page on readings as they are: every number is on it, names cannot break out, and long lists end."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest

from forecasting.report.numbers import count, short
from forecasting.report.quality import DRAWN, PAIRS, ROWS, closest, render
from forecasting.report.quality_faults import decision, faults
from forecasting.report.quality_words import lead, moment, share
from prep.quality.findings import (
    BadRows,
    ChannelFindings,
    Correlations,
    Extreme,
    Findings,
    Gap,
    Numbers,
    SeriesFindings,
    StepBack,
    Words,
)
from prep.spec import Spec

HOUR = 3_600_000_000
START = 1_735_689_600_000_000  # 2025-01-01
NASTY = '<script>alert("x")</script> & $x^2$'


def series(name: str = "a", **given: Any) -> SeriesFindings:
    base = SeriesFindings(
        name=name,
        readings=1000,
        bad=0,
        first=START,
        last=START + 999 * HOUR,
        step=HOUR,
        intervals=999,
        on_step=999,
        gaps=0,
        steps_missing=0,
        longest_gap=None,
        splits=0,
        duplicates=0,
        repeats=0,
        out_of_order=0,
        furthest_back=None,
        values=2000,
        missing=0,
    )
    return replace(base, **given)


def channel(name: str = "x", **given: Any) -> ChannelFindings:
    numbers = Numbers(
        lowest=Extreme(-91.25, "a", START),
        highest=Extreme(117.5, "a", START + HOUR),
        mean=13.25,
        deviation=4.125,
        quartiles=(10.5, 12.5, 16.5),
        fences=(-7.5, 34.5),
        whiskers=(-6.5, 33.5),
        outliers_below=23,
        outliers_above=29,
        edges=(-7.5, 6.5, 20.5, 34.5),
        counts=(101, 702, 145),
    )
    base = ChannelFindings(
        name=name, kind="real", present=1000, missing=0, constant=False, constant_series=0, empty_series=0, numbers=numbers
    )
    return replace(base, **given)


def findings(*channels: ChannelFindings, **given: Any) -> Findings:
    channels = channels or (channel("x"), channel("y"))
    names = tuple(one.name for one in channels if one.numbers is not None)
    values = tuple(tuple(1.0 if i == j else -0.375 for j in range(len(names))) for i in range(len(names)))
    base = Findings(
        overall=series(""),
        series_count=1,
        with_gaps=0,
        with_duplicates=0,
        with_out_of_order=0,
        with_missing=0,
        with_bad=0,
        with_constant=0,
        other_step=0,
        series=(series(),),
        gaps=(),
        bad=(),
        channels=channels,
        correlations=Correlations(names, 0, values, tuple((998,) * len(names) for _ in names)),
    )
    return replace(base, **given)


def spec(**tables: dict[str, Any]) -> Spec:
    return Spec.model_validate({"readings": {"path": "my.csv"}, "windows": {"context": 4, "horizon": 2}} | tables)


def page(found: Findings, what: Spec | None = None) -> str:
    return render(found, what or spec(), created=datetime(2026, 1, 2, 3, 4, tzinfo=UTC), command="hindcast readings spec.toml")


def text_of(markup: str) -> str:
    """What a reader reads, and is told of pictures."""
    body = markup[markup.index("<body>") :]
    told = " ".join(re.findall(r'aria-label="([^"]*)"|title="([^"]*)"', body)[0])
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body))) + told


FAULTY = findings(
    channel("x", missing=37, present=963),
    channel("stuck", constant=True, numbers=None, present=1000),
    channel("state", kind="category", numbers=None, words=Words(3, (("open", 611), ("shut", 302), ("stuck", 87)))),
    overall=series(
        "",
        gaps=41,
        steps_missing=443,
        longest_gap=Gap("a", START, START + 174 * HOUR),
        splits=17,
        duplicates=59,
        repeats=53,
        out_of_order=61,
        furthest_back=StepBack("a", START + 5 * HOUR, 2 * HOUR),
        missing=37,
        on_step=947,
    ),
    gaps=(Gap("a", START, START + 174 * HOUR), Gap("a", START + 300 * HOUR, START + 313 * HOUR, 19)),
    bad=(BadRows("x", 67, "/data/my.csv", '{"x": "ERR"}'), BadRows("_ragged", 71, "/data/my.csv", '{"x": "1"}')),
)


def test_the_page_holds_every_number() -> None:
    text = text_of(page(FAULTY))
    expected = ["1,000", "41", "443", "7.25 days", "17", "59", "53", "61", "37", "67", "71", "138", "ERR", "13 h", "19"]
    expected += ["−91.2", "118", "13.2", "4.12", "10.5", "12.5", "16.5", "52", "611", "302", "87", "too few or too many fields"]
    expected += ["2025-01-01 00:00", "2025-01-08 06:00", "23 below −7.50, the lowest −91.2", "29 above 34.5, the highest 118"]
    text = text.replace("\u00a0", " ")
    assert [number for number in expected if number not in text] == []


@pytest.mark.parametrize("number", [-91.25, 13.25])
def test_numbers_are_written_as_on_the_other_page(number: float) -> None:
    assert short(number) in page(FAULTY)


def test_the_headline_says_what_matters_first() -> None:
    assert lead(findings()) == "1,000 readings of 2 channels, hourly: nothing missing, nothing twice, all in order."
    found = lead(FAULTY).replace("\u00a0", " ")
    assert found.startswith(
        "1,000 readings of 3 channels, hourly: 138 rows that cannot be understood, 41 gaps, the longest 7.25 days"
    )
    assert "1 channel that never changes" in found
    assert "in order" not in lead(findings(overall=series(out_of_order=None)))
    assert (
        lead(findings(overall=series(readings=0, values=0, step=None, first=None, last=None))) == "There is not one reading here."
    )


def test_what_prep_does_follows_the_settings() -> None:
    by_name = {fault.name: fault for fault in faults(FAULTY, spec())}
    assert by_name["Duplicates"].stops
    assert by_name["Rows not understood"].stops
    assert decision(FAULTY, spec()) == (
        "As the settings stand, hindcast prep stops at rows not understood and duplicates: "
        "decide on readings.bad_rows and grid.duplicates."
    )
    lenient = spec(
        readings={"path": "my.csv", "bad_rows": "quarantine"}, grid={"duplicates": "mean", "fill": "linear", "max_gap": "6h"}
    )
    by_name = {fault.name: fault for fault in faults(FAULTY, lenient)}
    assert not any(fault.stops for fault in by_name.values())
    assert by_name["Duplicates"].treatment == "Keeps their mean."
    assert by_name["Gaps"].settings == ('grid.max_gap = "6h"', 'grid.fill = "linear"')
    treatment = by_name["Gaps"].treatment.replace("\u00a0", " ")
    assert treatment == "Fills 24 with a straight line, up to 6 h; splits the series at 17, which no sequence crosses."
    assert (
        "Fills none"
        in next(fault for fault in faults(FAULTY, spec(grid={"fill": "none"})) if fault.name == "Missing values").treatment
    )


def test_an_order_that_is_not_known_is_not_judged() -> None:
    unknown = findings(overall=series(out_of_order=None), series=(series(out_of_order=None),))
    assert next(fault for fault in faults(unknown, spec()) if fault.name == "Out of order").found == "unknown"
    assert "unknown" in text_of(page(unknown))


def test_names_are_escaped_and_nothing_is_requested() -> None:
    nasty = findings(
        channel(NASTY),
        channel("y"),
        channel("z", kind="category", numbers=None, words=Words(1, ((NASTY, 3),))),
        series=(series(NASTY),),
        gaps=(Gap(NASTY, START, START + HOUR),),
        bad=(BadRows(NASTY, 1, NASTY, NASTY),),
    )
    markup = page(nasty, spec(readings={"path": NASTY}))
    tags: list[str] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append(tag)
            held = dict(attrs)
            assert not (held.keys() & {"src", "srcset", "data", "onerror", "onload"})
            assert str(held.get("href", "#")).startswith("#")

    Tags().feed(markup)
    assert not {"script", "link", "img", "iframe", "object"} & set(tags)
    assert not re.search(r"url\((?!#)|@import", markup)
    assert html.escape(NASTY, quote=False) in markup.replace("&#34;", '"')


def test_long_lists_end_and_say_so() -> None:
    channels = tuple(channel(f"c{index}") for index in range(ROWS + 30))
    many = findings(*channels, series=tuple(series(f"s{index}") for index in range(90)), series_count=1000)
    first = Correlations(tuple(f"c{index}" for index in range(60)), 170, ((0.25,) * 60,) * 60, ((9,) * 60,) * 60)
    many = replace(many, correlations=first)
    markup = page(many)
    text = text_of(markup)
    assert markup.count("<figure>") == DRAWN
    assert "30 more channels are not shown" in text
    assert f"the first {DRAWN} of {ROWS + 30} channels of numbers" in text
    assert "90 of 1,000 series; 910 are not shown" in text
    assert "170 more are left out" in text
    assert len(markup) < 2_500_000


def test_figures_have_words_for_those_who_cannot_see_them() -> None:
    labels = [html.unescape(label) for label in re.findall(r'role="img" aria-label="([^"]*)"', page(findings()))]
    assert len(labels) == 2
    assert "quartiles 10.5, 12.5 and 16.5" in labels[0]
    assert "23 below −7.50" in labels[0]


@pytest.mark.parametrize("edges", [(5.0, 5.0), (0.0, 0.0), (1e300, 1e300), (-1e-300, -1e-300)])
def test_a_channel_that_never_changes_can_be_drawn(edges: tuple[float, float]) -> None:
    value = edges[0]
    flat = replace(
        channel().numbers,
        lowest=Extreme(value, "a", START),
        highest=Extreme(value, "a", START),
        quartiles=(value,) * 3,
        fences=None,
        whiskers=edges,
        outliers_below=0,
        outliers_above=0,
        edges=edges,
        counts=(1000,),
    )
    found = findings(channel("x", numbers=flat, constant=True))
    found = replace(found, correlations=Correlations(("x",), 0, ((None,),), ((1000,),)))
    text = text_of(page(found))
    assert "no rule: the quartiles are equal" in text
    assert "What goes together" not in text


def test_the_closest_pairs_come_first() -> None:
    values = ((1.0, 0.5, None), (0.5, 1.0, -0.9), (None, -0.9, 1.0))
    pairs = closest(Correlations(("a", "b", "c"), 0, values, ((9,) * 3,) * 3))
    assert [(pair.first, pair.second, pair.value) for pair in pairs] == [("b", "c", -0.9), ("a", "b", 0.5)]
    assert len(pairs) <= PAIRS


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [(0, 9, "0 %"), (9, 9, "100 %"), (0, 0, "0 %"), (9999, 10_000, "> 99 %"), (1, 10**6, "< 0.1 %"), (1, 4, "25 %")],
)
def test_a_share_is_nothing_or_all_only_where_it_is(part: int, whole: int, expected: str) -> None:
    assert share(part, whole).replace("\u00a0", " ") == expected


def test_times_are_as_exact_as_they_need_be() -> None:
    assert moment(START) == "2025-01-01 00:00"
    assert moment(START + 1_000_000) == "2025-01-01 00:00:01"
    assert moment(START + 1) == "2025-01-01 00:00:00.000001"
    assert count(1234) == "1,234"
