import pytest

from extender.emulator import selectors
from extender.emulator.resources import Registry, Resource
from extender.emulator.status import StatusError

LABELS = {"app": "train", "tier": "1", "runai/queue": "team-a"}


def resource(plural: str, group: str = "") -> Resource:
    found = Registry().find(group, "v1", plural)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app", True),
        ("!app", False),
        ("!absent", True),
        ("app=train", True),
        ("app==train,tier=1", True),
        ("app!=train", False),
        ("absent!=x", True),
        ("app in (serve, train)", True),
        ("app notin (serve)", True),
        ("absent notin (x)", True),
        ("absent in (x)", False),
        ("tier>0", True),
        ("tier<1", False),
        ("runai/queue=team-a, app", True),
        ("app=", False),
    ],
)
def test_label_selectors(text: str, matches: bool) -> None:
    assert selectors.selects(selectors.parse_labels(text), LABELS) is matches


@pytest.mark.parametrize("text", ["app in train", "=x", "app in (a", "a b", "tier>x"])
def test_malformed_label_selectors_are_refused(text: str) -> None:
    with pytest.raises(StatusError) as caught:
        selectors.parse_labels(text)
    assert caught.value.code == 400


def test_a_selector_object_without_terms_selects_everything_and_none_nothing() -> None:
    assert selectors.selects(selectors.label_selector({}), LABELS)
    assert not selectors.selects(selectors.label_selector(None), LABELS)


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("spec.nodeName=n1", True),
        ("spec.nodeName!=", True),
        ("status.phase!=Succeeded,status.phase!=Failed", True),
        ("spec.schedulerName=other", False),
        ("metadata.name=p,metadata.namespace=default", True),
        ("status.nominatedNodeName=", True),
    ],
)
def test_field_selectors(text: str, matches: bool) -> None:
    pod = {
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"nodeName": "n1", "schedulerName": "runai-scheduler"},
        "status": {"phase": "Running"},
    }
    assert selectors.parse(resource("pods"), "", text).matches(pod) is matches


def test_only_known_fields_are_selectable() -> None:
    with pytest.raises(StatusError, match=r"field label not supported: spec.image"):
        selectors.parse(resource("pods"), "", "spec.image=x")
    with pytest.raises(StatusError, match="is not a known field selector"):
        selectors.parse(resource("leases", "coordination.k8s.io"), "", "spec.holderIdentity=x")
