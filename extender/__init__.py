"""runai-scheduler: teaches stock kube-scheduler GPUs, parts of GPUs, projects and quotas.

Deciding rooms are synchronous and pure (`model`, `packing`, `fairshare`, `cluster`, `pods`); the edges around
them speak JSON (`wire`), to the API server (`kube`, `controllers`) and to HTTP callers (`servers`).
`app` joins them to one process; `emulator` is a Kubernetes API in a box for demos and tests.
Read first: docs/architecture.md, then `pods/filter.py`.
"""

__version__ = "0.1.0"
