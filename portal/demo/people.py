"""Who is in the demo. All are invented, on example.com."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Person:
    """A demo customer; without `has_meter` they wait for one."""

    name: str
    email: str
    region: str
    has_meter: bool = True


STAFF_PASSWORD = "operator123"  # noqa: S105 - printed at the start, and only on a loopback address
ADMIN_EMAIL, ADMIN_PASSWORD = "admin@segs.com", "admin123"
OPERATOR_EMAIL = "operator@example.com"
CUSTOMER_PASSWORD = "monsoon mango bus"  # noqa: S105

# Holds the real household year.
HOUSEHOLD = Person("Meera Joshi", "meera.joshi@example.com", "Pune-West")

PEOPLE = (
    HOUSEHOLD,
    Person("Rohan Deshmukh", "rohan.deshmukh@example.com", "Pune-East"),
    Person("Fatima Shaikh", "fatima.shaikh@example.com", "Mumbai-North"),
    Person("Joseph D'Souza", "joseph.dsouza@example.com", "Mumbai-South"),
    Person("Gurpreet Singh Bedi", "gurpreet.bedi@example.com", "Delhi-North"),
    Person("Ananya Bhattacharya", "ananya.b@example.com", "Delhi-South"),
    Person("Lakshmi Narayanan", "lakshmi.n@example.com", "Chennai-North"),
    Person("Deepika Nair", "deepika.nair@example.com", "Bangalore-East"),
    Person("Venkat Reddy", "venkat.reddy@example.com", "Hyderabad-Central"),
    Person("Tushar Gaikwad", "tushar.gaikwad@example.com", "Pune-West", has_meter=False),
    Person("Leela Fernandes", "leela.fernandes@example.com", "Mumbai-North", has_meter=False),
    Person("Bhavesh Patel", "bhavesh.patel@example.com", "Bangalore-West", has_meter=False),
)

# Leaves a bill unpaid, so that there is one overdue.
LATE_PAYER = "rohan.deshmukh@example.com"

# These failed on the test bench, so three people still wait.
FAULTY = ("MTR-00000010", "MTR-00000011", "MTR-00000012")
