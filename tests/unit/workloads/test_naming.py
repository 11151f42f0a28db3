"""Names: behaviour.md 2.8 and the vectors of 12.9."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.workloads.naming import child_name, name_problem, next_name, timestamped

WRONG = (
    "Job names must consist of lower case alphanumeric characters or '-' and start with an alphabetic character "
    "(e.g. 'my-name',  or 'abc-123')"
)


@pytest.mark.parametrize(
    ("taken", "name"),
    [
        ([], "job-0"),
        (["job-0"], "job-1"),
        (["job-0", "job-2"], "job-1"),
        (["job-0", "job-1", "job-2"], "job-3"),
        (["job-1"], "job-0"),
        (["job-01", "other-0", "job"], "job-0"),
    ],
)
def test_12_9_the_next_number(taken: list[str], name: str) -> None:
    assert next_name("job", taken) == name


def test_12_8_a_prefix_of_ones_own() -> None:
    assert next_name("hpo", {"hpo-0", "hpo-2"}) == "hpo-1"


@pytest.mark.parametrize("name", ["a", "my-name", "abc-123", "a--b", "a" * 49])
def test_12_7_names_that_jobs_can_have(name: str) -> None:
    assert name_problem(name) == ""


@pytest.mark.parametrize("name", ["", "1abc", "Abc", "a_b", "a-", "-a", "a.b", "ä", "a\n", "a b"])
def test_12_7_names_that_jobs_cannot_have(name: str) -> None:
    assert name_problem(name) == WRONG


def test_12_7_names_that_are_too_long() -> None:
    name = "a" * 50
    assert name_problem(name) == f"The len 50 of name {name} is too long, it should be less than 49"


@pytest.mark.parametrize("stamp", ["2022-05-02T08:50:57Z", "2022-05-02t08:50:57"])
def test_12_9_the_resource_that_submits(stamp: str) -> None:
    assert timestamped("job-0", stamp) == "job-0-2022-05-02t08-50-57"


@pytest.mark.parametrize(
    ("job", "label", "name"),
    [
        ("jupyter-1", "jupyter", "jupyter-1-jupyter"),
        ("job-0", "0", "job-0-0"),
        ("job-0", "port-8080", "job-0-port-8080"),
        ("job-0", "My_Data", "job-0-my-data-3218a2bf"),
        ("job-0", "", "job-0-c95b09b2"),
    ],
)
def test_names_of_children_say_what_they_are_for(job: str, label: str, name: str) -> None:
    assert child_name(job, label) == name


LABELS = st.text("ab-_A", max_size=5) | st.text(max_size=80)
JOBS = st.from_regex(r"[ab]([-ab]{0,6}[ab])?|a{40,49}", fullmatch=True)


@given(JOBS, st.lists(LABELS, min_size=2, max_size=30, unique=True), st.sampled_from([63, 49 + 9, 30]))
def test_children_of_other_labels_have_other_names_run_21948(job: str, labels: list[str], longest: int) -> None:
    names = [child_name(job, label, longest) for label in labels]
    assert len(set(names)) == len(labels)
    for name in names:
        assert len(name) <= longest
        assert name[0].isalpha()
        assert name_problem(name[:1] + name[-40:]) == ""
        assert name.isascii()
