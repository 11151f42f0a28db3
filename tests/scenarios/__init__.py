"""Scenarios as data, run alike on the embedded cluster and on a real control plane.

A scenario is a YAML file: nodes, projects, steps, expectations (`runner` says every key). `runner.run` plays
it on a `cluster.Cluster`; the extender is a process of its own, as in production. What must be true is
counted anew from API objects by `recount`, which shares no code with the product.
"""
