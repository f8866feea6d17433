"""The committed pages are what comes out."""

from __future__ import annotations

from tests.findings import catalogue, matrix


def test_the_matrix_is_up_to_date() -> None:
    assert matrix.PAGE.read_text() == matrix.page(matrix.results()), "run `python -m tests.findings.matrix`"


def test_the_catalogue_is_up_to_date() -> None:
    assert catalogue.PAGE.read_text() == catalogue.page(), "run `python -m tests.findings.catalogue`"


def test_nothing_is_missed_and_nothing_is_a_false_alarm() -> None:
    page = matrix.PAGE.read_text()
    assert "Missed: 0. False alarms: 0." in page
    assert "**" not in page
