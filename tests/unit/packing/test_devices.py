from __future__ import annotations

import pytest

from extender.model.gpu import NO_GPU, GpuRequest
from extender.packing.devices import choose
from extender.packing.strategy import Strategy

PACK, SPREAD = Strategy.BINPACK, Strategy.SPREAD
S9 = [500, 750, 1000]


def share(milli: int, devices: int = 1) -> GpuRequest:
    return GpuRequest(devices=devices, share_milli=milli)


def whole(devices: int) -> GpuRequest:
    return GpuRequest(devices=devices)


@pytest.mark.parametrize(
    ("request_", "free", "strategy", "chosen"),
    [
        pytest.param(share(500), S9, PACK, (0,), id="S9 half: the fullest that fits"),
        pytest.param(share(750), [0, 750, 1000], PACK, (1,), id="S9 then three quarters"),
        pytest.param(share(300), [0, 0, 1000], PACK, (2,), id="S9 then a fresh one"),
        pytest.param(share(500), S9, SPREAD, (2,), id="spread: the emptiest"),
        pytest.param(share(300), [600, 600], PACK, (0,), id="equals: the lowest index"),
        pytest.param(share(300), [600, 600], SPREAD, (0,), id="equals, spread: the lowest index"),
        pytest.param(share(1000), [999, 1000], PACK, (1,), id="a share of one whole"),
        pytest.param(share(1000), [999, 999], PACK, None, id="no such share"),
        pytest.param(share(250, 2), [1000, 300, 500], PACK, (1, 2), id="two devices, the fullest, in index order"),
        pytest.param(share(250, 2), [1000, 300, 500], SPREAD, (0, 2), id="two devices, the emptiest"),
        pytest.param(share(250, 3), [1000, 300, 0], PACK, None, id="never twice on one device"),
        pytest.param(share(1, 999_999_999), S9, PACK, None, id="more devices than there are"),
        pytest.param(whole(1), S9, PACK, (2,), id="S9 whole: none with a fraction"),
        pytest.param(whole(2), S9, PACK, None, id="whole: not two here"),
        pytest.param(whole(2), [1000, 0, 1000, 1000], PACK, (0, 2), id="whole: the lowest"),
        pytest.param(whole(2), [1000, 0, 1000, 1000], SPREAD, (0, 2), id="whole, spread: the lowest too"),
        pytest.param(whole(1), [], PACK, None, id="no devices"),
        pytest.param(NO_GPU, [], PACK, (), id="cpu only"),
        pytest.param(GpuRequest(mig=(("nvidia.com/mig-1g.5gb", 1),)), S9, PACK, (), id="mig takes no device"),
    ],
)
def test_which_devices(
    request_: GpuRequest, free: list[int], strategy: Strategy, chosen: tuple[int, ...] | None
) -> None:
    assert choose(request_, free, 16_384, strategy) == chosen


def test_a_share_by_memory_counts_in_this_nodes_memory() -> None:
    request_ = GpuRequest(devices=1, memory_mib=8192)
    assert choose(request_, [500, 499], 16_384, PACK) == (0,)
    assert choose(request_, [500, 499], 8192, PACK) is None
    assert choose(request_, [1000, 499], 8192, PACK) == (0,)
    assert choose(request_, [1000], 4096, PACK) is None
    assert choose(request_, [1000], 0, PACK) is None
