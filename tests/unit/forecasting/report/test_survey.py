"""The page on readings as they are: every number is on it, names cannot break out, and long lists end."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest

from hindcast.forecasting.report.numbers import count, short
from hindcast.forecasting.report.survey.faults import decision, faults
from hindcast.forecasting.report.survey.page import CHANNELS_DRAWN, PAIRS, ROWS, SERIES_DRAWN, closest, render, strips
from hindcast.forecasting.report.survey.strips import Axis, heat_map, strip
from hindcast.forecasting.report.survey.text import bars, box
from hindcast.forecasting.report.survey.words import lead, moment, share
from hindcast.prep.spec import Spec
from hindcast.prep.survey.findings import (
    BadRows,
    ChannelFindings,
    Correlations,
    Extreme,
    Findings,
    Gap,
    Numbers,
    SeriesFindings,
    SeriesValues,
    StepBack,
    Words,
)

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


def moved(numbers: Numbers, by: float) -> Numbers:
    """The same, `by` higher."""
    return replace(
        numbers,
        quartiles=tuple(value + by for value in numbers.quartiles),
        whiskers=tuple(value + by for value in numbers.whiskers),
        edges=tuple(value + by for value in numbers.edges),
        outliers_below=7,
        outliers_above=0,
    )


def several(names: tuple[str, ...] = ("north", "south"), **given: Any) -> Findings:
    """Findings of series, the n-th of which lies 100 n higher in x than all together; the last has no value in y."""
    numbers = channel().numbers
    assert numbers is not None
    pair = Correlations(("x", "y"), 0, ((1.0, 0.625), (0.625, 1.0)), ((9, 9), (9, 9)))
    of_series = [
        SeriesValues(
            name, {"x": moved(numbers, 100 * place)} | ({} if name == names[-1] else {"y": numbers}), pair if place == 1 else None
        )
        for place, name in enumerate(names, 1)
    ]
    listed = tuple(series(name, outliers=1200 + place) for place, name in enumerate(names))
    return replace(findings(series=listed, series_count=len(names), by_series=tuple(of_series)), **given)


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
    assert next(fault for fault in faults(unknown, spec()) if fault.name == "Out of order").extent == "unknown"
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
    assert markup.count("<figure>") == CHANNELS_DRAWN
    assert "30 more channels are not shown" in text
    assert f"the first {CHANNELS_DRAWN} of {ROWS + 30} channels of numbers" in text
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


def rows_of(markup: str, section: str) -> list[list[str]]:
    """The cells of every row of a section's tables, as they are read."""
    held = markup[markup.index(f'<section id="{section}"') :]
    held = held[: held.index("</section>")]
    rows = [
        re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in re.findall(r"<tr[^>]*>(.*?)</tr>", held, re.DOTALL)
    ]
    return [[re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", cell))).strip() for cell in row] for row in rows]


def test_every_fault_is_told_of_all_together_and_of_each_series() -> None:
    whole = replace(
        FAULTY.overall, outliers=1301, constant=("stuck",), empty=("gone",), last=START + 480 * HOUR, readings=3000, values=6000
    )
    one = replace(
        whole, name="south", bad=3, gaps=5, duplicates=6, out_of_order=8, missing=12, outliers=83, readings=90, values=180
    )
    found = several(overall=whole, series=(one,), bad=FAULTY.bad)
    head, together, south = rows_of(page(found).replace("\u00a0", " "), "series")
    assert dict(zip(head, together, strict=True)) == {
        "Series": "all together",
        "Readings": "3,000",
        "From, to": "2025-01-01 00:00 2025-01-21 00:00",
        "Span": "20 days",
        "Step": "1 h",
        "Gaps": "41 up to 7.25 days",
        "Readings missing": "443",
        "Values missing": "37 0.6 %",
        "Duplicates": "59",
        "Out of order": "61",
        "Not understood": "138",
        "Outliers": "1,301",
        "Never changes": "stuck and gone",
    }
    told = dict(zip(head, south, strict=True))
    assert (told["Series"], told["Readings"], told["Gaps"]) == ("south", "90", "5 up to 7.25 days")
    assert (told["Values missing"], told["Duplicates"], told["Out of order"]) == ("12 6.7 %", "6", "8")
    assert (told["Not understood"], told["Outliers"], told["Never changes"]) == ("3", "83", "stuck and gone")


def test_every_series_has_a_box_plot_in_every_channel() -> None:
    markup = page(several()).replace("\u00a0", " ")
    x, y = (channel.rows for channel in (strips(several(), one) for one in several().channels))
    assert [row.series for row in x] == [None, "north", "south"]
    assert [row.series for row in y] == [None, "north"]
    read = [row for row in rows_of(markup, "values") if row[0] != "Series"]
    assert [row[0] for row in read] == ["all together", "north", "south", "all together", "north"]
    assert read[2][2:] == ["210", "212", "216", "7"]
    assert read[2][1] == "quartiles 210, 212 and 216; outliers aside, from 194 to 234"
    assert read[0][-1] == "52"
    assert "All 2 series." in text_of(markup)
    assert markup.count('class="strip"') == 5
    assert 'class="strip"' not in page(findings())


def test_boxes_of_one_channel_share_an_axis() -> None:
    shown = strips(several(), several().channels[0])
    assert (shown.axis.low, shown.axis.high) == (-7.5, 234.5)
    boxes = [re.search(r'<rect x="([\d.]+)%" y="2" width="([\d.]+)%"', row.drawing) for row in shown.rows]
    for found, row in zip(boxes, shown.rows, strict=True):
        assert found is not None
        low, _, high = row.numbers.quartiles
        assert float(found[1]) == pytest.approx(100 * (low + 7.5) / 242, abs=0.05)
        assert float(found[2]) == pytest.approx(100 * (high - low) / 242, abs=0.1)
    # Three bins of 14 in 242, each as high as its share of the most.
    bins = f'viewBox="0 0 3 100" preserveAspectRatio="none"><path class="bars" d="M0 100V{100 - 100 * 101 / 702:.0f}h1V0h1V'
    assert bins in shown.rows[0].drawing
    assert f'width="{100 * 42 / 242:.1f}%"' in shown.rows[0].drawing


@pytest.mark.parametrize("edges", [(5.0, 5.0), (-1e308, 1e308)])
def test_a_series_of_one_value_or_of_huge_ones_can_be_drawn(edges: tuple[float, float]) -> None:
    middle = 0.0 if edges[0] < edges[1] else 5.0
    flat = replace(
        channel().numbers, quartiles=(edges[0], middle, edges[1]), whiskers=edges, edges=edges, counts=(9,), fences=None
    )
    axis = Axis.over([flat])
    drawing = strip(flat, axis)
    assert not re.search("nan|inf", drawing)
    assert all(0 <= float(share) <= 100 for share in re.findall(r'"([-\d.]+)%"', drawing))
    assert len(box(flat, axis, 20)) == len(bars(flat, axis, 20)) == 20


def test_many_series_are_drawn_up_to_a_number_that_is_said() -> None:
    names = tuple(f"s{index}" for index in range(90))
    numbers = channel().numbers
    assert numbers is not None
    channels = tuple(channel(f"c{index}") for index in range(63))
    values = tuple(SeriesValues(name, {one.name: numbers for one in channels}, None) for name in names)
    many = findings(*channels, series=tuple(map(series, names)), series_count=1000, by_series=values)
    markup = page(many)
    text = text_of(markup)
    assert f"The first {SERIES_DRAWN} of 1,000 series, as they stand in the table above." in text
    assert f"The first {CHANNELS_DRAWN} of 63 channels of numbers." in text
    assert markup.count('class="strip"') == CHANNELS_DRAWN * (SERIES_DRAWN + 1)
    assert markup.count("<details") == CHANNELS_DRAWN + 1
    assert len(markup) < 4_000_000


def test_it_is_said_where_outliers_were_not_counted() -> None:
    found = several()
    uncounted = replace(found, series=(*found.series, series("west", outliers=None)), series_count=3)
    assert "Outliers were counted in the first 2 of them." in text_of(page(uncounted))
    assert [row[-2] for row in rows_of(page(uncounted), "series")[-2:]] == ["1,201", "–"]
    assert "Outliers were counted" not in text_of(page(found))


def test_the_heat_map_of_a_series_has_a_square_a_pair() -> None:
    matrix = Correlations(("a", "b", "c"), 0, ((1.0, 0.5, None), (0.5, 1.0, -0.91), (None, -0.91, 1.0)), ((9,) * 3,) * 3)
    drawing = heat_map(matrix)
    assert '<path class="above" style="--weight: 50%" d="M1 0h1v1h-1zM0 1h1v1h-1z"/>' in drawing
    assert '<path class="below" style="--weight: 90%" d="M2 1h1v1h-1zM1 2h1v1h-1z"/>' in drawing
    assert drawing.count("<path") == 2
    markup = page(several())
    assert markup.count('class="squares"') == 1
    text = text_of(markup)
    assert "the first 1 of 2 series in which it can be said" in text
    assert "Closest: x, y 0.62" in text


def test_names_of_series_are_escaped_where_their_values_are_drawn() -> None:
    markup = page(several((NASTY, "b")))
    assert "<script" not in markup
    assert html.unescape(markup).count(NASTY) > 3


def test_box_plots_and_histograms_in_a_terminal() -> None:
    numbers = channel().numbers
    assert numbers is not None
    drawn = replace(numbers, quartiles=(2.0, 4.0, 6.0), whiskers=(0.0, 9.5), edges=(0.0, 5.0, 10.0), counts=(40, 10))
    assert box(drawn, Axis(0, 10), 10) == "├─▒▒┃▒▒──┤"
    assert bars(drawn, Axis(0, 10), 10) == "█████▂▂▂▂▂"
    assert bars(drawn, Axis(-10, 10), 8) == "    ██▂▂"
    # Two thirds of the first bin, then its rest and a third of the second, then two thirds of that.
    assert bars(drawn, Axis(0, 10), 3) == "█▅▂"
    assert bars(replace(drawn, counts=(10_000, 1)), Axis(0, 10), 4) == "██▁▁"
    assert bars(replace(drawn, counts=(3, 0)), Axis(0, 10), 4) == "██  "
    assert box(replace(drawn, quartiles=(0.0, 0.0, 0.0), whiskers=(0.0, 0.0)), Axis(0, 10), 4) == "┃   "


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
