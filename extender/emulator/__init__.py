"""The embedded cluster: a Kubernetes API in this process, for the first five minutes, for tests and for CI.

It is a stand-in: it knows the rules of the real API server that schedulers, controllers and kubectl run into, keeps
everything in memory, and does on demand what a real cluster does rarely (`Faults`). It does not know users, quotas or
the network. Start with `ApiServer` (HTTP in), `Store` (objects, versions, history) and `writes.Writer` (what happens to
an object on its way into the store); `resources` is the table of what is served.
"""

from extender.emulator.apiserver import ApiServer
from extender.emulator.faults import Faults
from extender.emulator.store import Store

__all__ = ["ApiServer", "Faults", "Store"]
