from __future__ import annotations

from dataclasses import replace

from extender.model.queue import Quota
from extender.pods import wake
from tests.builders import POLICY, node, pod, queue, uid, world


def test_a_pod_too_large_for_the_limit_does_not_hide_a_smaller_one() -> None:
    picture = world(node("n", gpus=4), projects=[replace(queue(), limit=Quota(memory_mib=1024))])
    for name, memory in (("large", "8Gi"), ("small", "1Gi")):
        picture.upsert_pod(pod(name, gpus=1, cpu="1", memory=memory))
    waiting = [picture.pods[uid(name)] for name in ("large", "small")]
    generation = picture.generation
    assert [one.pod.name for one in wake.passing(picture, waiting, POLICY, most=5)] == ["small"]
    assert list(picture.provisional()) == []
    assert picture.generation == generation
