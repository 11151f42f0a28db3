"""A fake NVML below the real binding: the devices are those of a JSON file, read anew at each start of NVML.

The file: `{"devices": [{"uuid": "GPU-1", "minor": 3, "is_cut": false}], "error": 15}`. `start_error` is NVML's number
of the error with which the start fails, `error` of that with which counting the devices does. As a program it runs
`runai-scheduler` over that driver: `python -m tests.service.fake_nvml FILE reserve-gpu …`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pynvml


def functions(file: Path) -> dict[str, Any]:
    """The functions of `pynvml` that are ours."""
    state: dict[str, Any] = {}

    def start() -> None:
        state.clear()
        state.update(json.loads(file.read_text()))
        if number := state.get("start_error"):
            raise pynvml.NVMLError(number)

    def count() -> int:
        if number := state.get("error"):
            raise pynvml.NVMLError(number)
        return len(state["devices"])

    def minor(device: dict[str, Any]) -> int:
        if device.get("minor") is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return int(device["minor"])

    def mig_mode(device: dict[str, Any]) -> list[int]:
        if "is_cut" not in device:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return [int(device["is_cut"]), int(device["is_cut"])]

    return {
        "nvmlInit": start,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": count,
        "nvmlDeviceGetHandleByIndex": lambda number: state["devices"][number],
        "nvmlDeviceGetUUID": lambda device: device["uuid"],
        "nvmlDeviceGetMinorNumber": minor,
        "nvmlDeviceGetMigMode": mig_mode,
    }


if __name__ == "__main__":
    for name, function in functions(Path(sys.argv[1])).items():
        setattr(pynvml, name, function)
    sys.argv[1:] = sys.argv[2:]
    from extender.cli.scheduler import main

    main()
