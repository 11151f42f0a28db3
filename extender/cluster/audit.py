"""Do the books add up? A slow recount of the picture from its own records, for tests and `/snapshot?check=1`."""

from __future__ import annotations

from extender.cluster.ledger import NodeLedger
from extender.cluster.picture import Picture
from extender.cluster.quota import QuotaBook
from extender.model.amounts import GPU
from extender.model.names import NodeName


def check(picture: Picture) -> list[str]:
    """Every disagreement as a sentence; empty when all is well. Cost: O(pods + nodes)."""
    found: list[str] = []
    ledgers: dict[NodeName, NodeLedger] = {node.name: NodeLedger(node) for node in picture.nodes()}
    quotas = QuotaBook()
    for uid, record in picture.pods.items():
        hold = record.hold
        if hold is None:
            continue
        if record.pod.is_finished:
            found.append(f"pod {record.pod.key} ({uid}) has finished and still holds {hold.placement}")
        ledgers.setdefault(hold.placement.node, NodeLedger()).add(record.pod, hold.placement)
        if hold.charge is not None:
            quotas.charge(hold.charge)
    arrays = picture.table.arrays()
    for name, ledger in ledgers.items():
        kept = picture.ledger(name)
        if ledger.node is None:
            continue
        if kept is None or kept.pods.keys() != ledger.pods.keys() or kept.devices != ledger.devices:
            found.append(f"node {name}: the ledger and its pods disagree")
            continue
        if (kept.cpu_milli, kept.memory_mib, kept.unindexed, kept.mig) != (
            ledger.cpu_milli,
            ledger.memory_mib,
            ledger.unindexed,
            ledger.mig,
        ):
            found.append(f"node {name}: counted resources and its pods disagree")
        row = picture.table.row_of.get(name)
        free = ledger.free()
        left = [] if row is None else [milli for milli in arrays.free[row].tolist() if milli]
        if row is None or sorted(left) != sorted(milli for milli in free if milli):
            found.append(f"node {name}: its row in the table is not its ledger's")
    counted, held = picture.quotas.by_pool(), quotas.by_pool()
    found.extend(
        f"project {project} in pool {pool}: counted {counted.get((pool, project))}, "
        f"its pods hold {held.get((pool, project))}"
        for pool, project in sorted(counted.keys() | held.keys())
        if counted.get((pool, project)) != held.get((pool, project))
    )
    return found


def overcommitted(picture: Picture) -> list[str]:
    """Devices that hold more than one whole GPU, as `node/index: milli`: never through us, by hand perhaps."""
    return [
        f"{node.name}/{index}: {held}"
        for node in picture.nodes()
        if (ledger := picture.ledger(node.name)) is not None
        for index, sharers in ledger.devices.items()
        if (held := sum(milli for milli, _ in sharers.values())) > GPU
    ]
