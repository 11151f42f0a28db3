"""GPU requests and the texts of behaviour.md 6.12."""

from __future__ import annotations

import pytest

from extender.model import gpu
from extender.model.gpu import GpuRequest, GpuRequestError, parse_gpu_request

WHOLE = "nvidia.com/gpu"
MIG = "nvidia.com/mig-1g.5gb"

# Verbatim from the reference: a constant that is changed by accident fails here.
BOTH = "cannot have both GPU fraction request and whole GPU resource request/limit"
WITH_MEMORY = "cannot request both GPU and GPU memory"
COUNT_ALONE = "cannot request multiple fractional devices without specifying fraction portion or gpu-memory"
MEMORY = "gpu-memory annotation value must be a positive integer greater than 0"
FRACTION = "gpu-fraction annotation value must be a positive number smaller than 1.0"
COUNT = "fraction count annotation value must be a positive integer greater than 0"
MPS = "MPS is only supported with GPU fraction request"


@pytest.mark.parametrize(
    ("annotations", "resources", "request_"),
    [
        pytest.param({}, {}, gpu.NO_GPU, id="cpu only"),
        pytest.param({}, {WHOLE: 0}, gpu.NO_GPU, id="zero GPUs"),
        pytest.param({}, {WHOLE: 2}, GpuRequest(devices=2), id="two whole"),
        pytest.param({"gpu-fraction": "0.5"}, {}, GpuRequest(devices=1, share_milli=500), id="half"),
        pytest.param({"gpu-fraction": ".25"}, {}, GpuRequest(devices=1, share_milli=250), id="no leading zero"),
        pytest.param({"gpu-fraction": "0.50"}, {}, GpuRequest(devices=1, share_milli=500), id="trailing zero"),
        pytest.param({"gpu-fraction": "0.3333"}, {}, GpuRequest(devices=1, share_milli=334), id="rounds up"),
        pytest.param({"gpu-fraction": "0.0001"}, {}, GpuRequest(devices=1, share_milli=1), id="smallest"),
        pytest.param({"gpu-fraction": "0.9999"}, {}, GpuRequest(devices=1, share_milli=1000), id="largest"),
        pytest.param({"gpu-fraction": "0.5"}, {WHOLE: 0}, GpuRequest(devices=1, share_milli=500), id="zero beside"),
        pytest.param(
            {"gpu-fraction": "0.5", "gpu-fraction-num-devices": "3"},
            {},
            GpuRequest(devices=3, share_milli=500),
            id="several devices",
        ),
        pytest.param({"gpu-memory": "4096"}, {}, GpuRequest(devices=1, memory_mib=4096), id="memory"),
        pytest.param(
            {"gpu-memory": "4096", "gpu-fraction-num-devices": "2"},
            {},
            GpuRequest(devices=2, memory_mib=4096),
            id="memory on several",
        ),
        pytest.param({}, {MIG: 2}, GpuRequest(mig=((MIG, 2),)), id="mig"),
        pytest.param({}, {MIG: 0}, gpu.NO_GPU, id="no mig"),
        pytest.param({"gpu-fraction": "0.5", "mps": "true"}, {}, GpuRequest(devices=1, share_milli=500), id="mps"),
        pytest.param({"mps": "false"}, {WHOLE: 1}, GpuRequest(devices=1), id="mps off"),
    ],
)
def test_what_is_asked_for(annotations: dict[str, str], resources: dict[str, int], request_: GpuRequest) -> None:
    assert parse_gpu_request(annotations, resources) == request_


HOSTILE_FRACTIONS = [
    "NaN", "nan", "-1", "-0.5", "+0.5", "1e309", "1e-1", "1e-400", "inf", "0.5,0.5", "1.0", "1", "0", "0.0", "0.0000",
    "½", "٠.٥", " 0.5", "0.5 ", "0.5\n", "0,5", "00.5", "0.", ".", "", "0x1p-1", "0.5f", "0.33333", "0." + "3" * 400,
    "5" * 400, "2", "0.5.5", "0_.5", "None", "true", "0.5\x00",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE_FRACTIONS)
def test_a_fraction_that_is_none(text: str) -> None:
    with pytest.raises(GpuRequestError) as refused:
        parse_gpu_request({"gpu-fraction": text}, {})
    assert str(refused.value) == FRACTION


@pytest.mark.parametrize("text", ["0", "-1", "+1", "1.5", "1e3", "NaN", "½", "", " 1", "1 ", "1Gi", "9" * 400, "٣"])
def test_memory_that_is_none(text: str) -> None:
    with pytest.raises(GpuRequestError) as refused:
        parse_gpu_request({"gpu-memory": text}, {})
    assert str(refused.value) == MEMORY


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "two", "", " 2", "9" * 400])
def test_a_device_count_that_is_none(text: str) -> None:
    with pytest.raises(GpuRequestError) as refused:
        parse_gpu_request({"gpu-fraction": "0.5", "gpu-fraction-num-devices": text}, {})
    assert str(refused.value) == COUNT


@pytest.mark.parametrize(
    ("annotations", "resources", "text"),
    [
        pytest.param({"gpu-fraction": "0.5"}, {WHOLE: 1}, BOTH, id="fraction and whole"),
        pytest.param({"gpu-fraction": "nonsense"}, {WHOLE: 1}, BOTH, id="the conflict is told first"),
        pytest.param({"gpu-fraction": "0.5"}, {MIG: 1}, BOTH, id="fraction and mig"),
        pytest.param({"gpu-memory": "1000", "gpu-fraction": "0.5"}, {}, WITH_MEMORY, id="memory and fraction"),
        pytest.param({"gpu-memory": "1000"}, {WHOLE: 1}, WITH_MEMORY, id="memory and whole"),
        pytest.param({"gpu-memory": "1000"}, {MIG: 1}, WITH_MEMORY, id="memory and mig"),
        pytest.param({"gpu-fraction-num-devices": "2"}, {}, COUNT_ALONE, id="count alone"),
        pytest.param({"gpu-fraction-num-devices": "2"}, {WHOLE: 2}, COUNT_ALONE, id="count and whole"),
        pytest.param({"mps": "true"}, {WHOLE: 1}, MPS, id="mps on a whole GPU"),
        pytest.param({}, {WHOLE: -1}, gpu.BAD_COUNT, id="fewer than none"),
        pytest.param({}, {MIG: -1}, gpu.BAD_COUNT, id="fewer slices than none"),
    ],
)
def test_requests_that_contradict_themselves(annotations: dict[str, str], resources: dict[str, int], text: str) -> None:
    with pytest.raises(GpuRequestError) as refused:
        parse_gpu_request(annotations, resources)
    assert str(refused.value) == text


def test_ten_thousand_unknown_annotations_change_nothing() -> None:
    noise = {f"example.com/{n}": "gpu-fraction" for n in range(10_000)}
    assert parse_gpu_request({**noise, "gpu-fraction": "0.5"}, {}) == GpuRequest(devices=1, share_milli=500)


@pytest.mark.parametrize(
    ("asked", "gpu_memory_mib", "share"),
    [
        (4096, 16_384, 250),
        (5461, 16_384, 334),  # up: three of them are more than one GPU has
        (1, 16_384, 1),
        (16_384, 16_384, 1000),
        (16_385, 16_384, None),
        (1, 0, None),
    ],
)
def test_a_share_by_memory_depends_on_the_node(asked: int, gpu_memory_mib: int, share: int | None) -> None:
    assert GpuRequest(devices=1, memory_mib=asked).share_on(gpu_memory_mib) == share


@pytest.mark.parametrize(
    ("request_", "gpu_memory_mib", "milli"),
    [
        (gpu.NO_GPU, 0, 0),
        (GpuRequest(devices=3), 0, 3000),
        (GpuRequest(devices=2, share_milli=300), 0, 600),
        (GpuRequest(devices=2, memory_mib=4096), 16_384, 500),
        (GpuRequest(devices=2, memory_mib=4096), 0, 2000),
        (GpuRequest(mig=((MIG, 2),)), 0, 2 * 143),
        (GpuRequest(mig=(("nvidia.com/mig-7g.40gb", 1),)), 0, 1000),
        (GpuRequest(mig=(("nvidia.com/mig-9g.99gb", 1),)), 0, 1000),
        (GpuRequest(mig=(("nvidia.com/mig-odd", 1),)), 0, 1000),
    ],
)
def test_what_a_queue_pays(request_: GpuRequest, gpu_memory_mib: int, milli: int) -> None:
    assert request_.gpu_milli_on(gpu_memory_mib) == milli


@pytest.mark.parametrize(
    ("request_", "kinds"),
    [
        (gpu.NO_GPU, (False, False, True)),
        (GpuRequest(devices=1), (False, True, False)),
        (GpuRequest(devices=1, share_milli=1), (True, False, False)),
        (GpuRequest(devices=1, memory_mib=1), (True, False, False)),
        (GpuRequest(mig=((MIG, 1),)), (False, False, False)),
    ],
)
def test_kinds_of_requests(request_: GpuRequest, kinds: tuple[bool, bool, bool]) -> None:
    assert (request_.is_shared, request_.is_whole, request_.is_cpu_only) == kinds
