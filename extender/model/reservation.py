"""A reservation pod: it holds one device of its node for the pods that share it.

kube-scheduler, the kubelet and other schedulers see a pod with a whole GPU, and leave the device alone. Which device
that is, the kubelet decides; the pod finds out and reports it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

_PREFIX = "gpu-reservation-"
_SPEAKING = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a reservation pod says of itself.

    group:   of the sharers, as it was made; what its label says may have been edited.
    device:  our number of the device on the node; -1 when it cannot be read.
    label:   the group that its label names now.
    uuid:    of the physical device, "" until it has reported; `index` is the driver's number of it.
    healthy: False when the kubelet says that the device is not, or when the pod cannot read it any more.
    refusal: why the kubelet did not take it, "" when it did.
    """

    group: str
    device: int
    label: str = ""
    uuid: str = ""
    index: str = ""
    healthy: bool = True
    refusal: str = ""


def reservation_name(group: str, spare: int = 0) -> str:
    """The name of the pod that reserves for `group`: the same from every replica. Spares, which are made to find a
    device that was lost, are counted from 1.

    A group that cannot stand in a name, which only somebody else can have thought of, is there by its hash.
    """
    stem = group if _SPEAKING.fullmatch(group) else hashlib.sha256(group.encode()).hexdigest()[:16]
    return f"{_PREFIX}{stem}" + (f"-{spare}" if spare else "")
