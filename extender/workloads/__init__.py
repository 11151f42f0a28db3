"""From a short workload resource to everything it needs: values → policy → objects → status.

Synchronous and pure. It knows the values set, the administrator's rules, names of jobs, the Kubernetes objects that a
submission consists of, and what state they are in together; it knows nothing of the API server that they live in.

Read first: `values.compose`, `policy.problems`, `objects.render`.
"""
