"""The resources that researchers and administrators write: workloads, templates and policies.

`parameters.py` is the one source: from it come the CRDs (what `kubectl explain` says and the API server refuses), the
deciding code's catalogue (`parameters`), the body of a REST submission and the flags of `runai submit`.

Read first: `parameters.Common`, `resources.workload`, `resources.parameters`.
"""

from extender.wire.workloads.resources import (
    FLAT,
    STORED,
    VERSIONS,
    FlatField,
    flat_fields,
    models,
    parameters,
    policy,
    workload,
)

__all__ = ["FLAT", "STORED", "VERSIONS", "FlatField", "flat_fields", "models", "parameters", "policy", "workload"]
