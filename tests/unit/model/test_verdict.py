from __future__ import annotations

from extender.model.verdict import Reason, no


def test_the_text_for_kube_scheduler_never_carries_numbers() -> None:
    for reason in set(Reason) - {Reason.INVALID_GPU_REQUEST}:
        assert no(reason, "3 of 8").constant == no(reason, "5 of 8").constant
        assert no(reason).constant.startswith(f"{reason}: ")


def test_a_malformed_request_is_told_in_full() -> None:
    assert no(Reason.INVALID_GPU_REQUEST, "why").constant == "InvalidGpuRequest: why"


def test_names_that_others_read() -> None:
    assert Reason.QUEUE_DOES_NOT_EXIST == "QueueDoesNotExist"
    assert Reason.OVER_LIMIT == "OverLimit"
    assert Reason.NON_PREEMPTIBLE_OVER_QUOTA == "NonPreemptibleOverQuota"
