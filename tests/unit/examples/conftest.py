"""What the tests of the flights example share: the year, read once."""

import pytest

from examples.flights.data import Year, read_year
from examples.flights.expected import Totals, expected_totals


@pytest.fixture(scope="session")
def year() -> Year:
    """The whole file as typed rows."""
    return read_year()


@pytest.fixture(scope="session")
def expected() -> dict[str, Totals]:
    """The totals of the whole file."""
    return expected_totals()
