import pytest

from extender.emulator.resources import PODS, Registry, Storage
from extender.emulator.store import DELETED, Event, Store

NODES = Storage("", "nodes")


def obj(name: str, namespace: str = "default", **extra: object) -> dict[str, object]:
    return {"metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}"}, **extra}


def test_versions_grow_across_all_resources() -> None:
    store = Store()
    first = store.insert(PODS, obj("a"))
    second = store.insert(NODES, obj("n", ""))
    third = store.replace(first, obj("a", spec={}))
    assert first.version < second.version < third.version == store.version


def test_only_the_current_version_can_be_replaced() -> None:
    store = Store()
    first = store.insert(PODS, obj("a"))
    store.replace(first, obj("a"))
    with pytest.raises(KeyError):
        store.replace(first, obj("a"))
    with pytest.raises(KeyError):
        store.remove(first)


def test_lists_are_sorted_and_cut_by_namespace_and_key() -> None:
    store = Store()
    for namespace, name in (("b", "x"), ("a", "z"), ("a", "y"), ("ab", "w")):
        store.insert(PODS, obj(name, namespace))
    assert [r.key for r in store.records(PODS)] == [("a", "y"), ("a", "z"), ("ab", "w"), ("b", "x")]
    assert [r.name for r in store.records(PODS, "a")] == ["y", "z"]
    assert [r.name for r in store.records(PODS, None, after=("a", "z"))] == ["w", "x"]


def test_history_answers_from_any_version_it_covers() -> None:
    store = Store()
    a = store.insert(PODS, obj("a"))
    b = store.insert(PODS, obj("b"))
    store.remove(a)
    events = store.events_after(PODS, a.version)
    assert events is not None
    assert [(e.type, e.record.name) for e in events] == [("ADDED", "b"), (DELETED, "a")]
    assert store.events_after(PODS, b.version + 1) == []


def test_history_is_bounded_and_says_so() -> None:
    store = Store(history_events=10)
    record = store.insert(PODS, obj("a"))
    for _ in range(50):
        record = store.replace(record, obj("a"))
    assert store.events_after(PODS, 2) is None
    assert store.events_after(PODS, store.floor(PODS)) is not None
    assert store.floor(NODES) == 0


def test_listeners_hear_every_change_in_order() -> None:
    store = Store()
    heard: list[Event] = []
    store.listen(heard.append)
    record = store.insert(PODS, obj("a"))
    store.remove(store.replace(record, obj("a")))
    assert [e.type for e in heard] == ["ADDED", "MODIFIED", "DELETED"]


def test_an_event_is_encoded_once_for_all_watchers() -> None:
    store = Store()
    store.insert(PODS, obj("a"))
    events = store.events_after(PODS, 0)
    pods = Registry().find("", "v1", "pods")
    assert events is not None
    assert pods is not None
    assert events[0].line(pods) is events[0].line(pods)
    assert events[0].line(pods).startswith(b'{"type":"ADDED","object":{"kind":"Pod","apiVersion":"v1","metadata":')
