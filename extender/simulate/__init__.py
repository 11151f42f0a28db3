"""How well would this policy pack these pods on these nodes? The deciding code of the service, fed from files.

Pods arrive one by one at a `cluster.Picture` and are placed by `pods.placement`, as in the service; this room reads
the files, draws the order of arrival, checks every answer with books of its own, and measures. It knows nothing of
the API server, of projects and their quotas (every pod may be placed), or of time other than steps.

Read first: `bench.Bench.arrive`, `fill.fill`, `churn.churn`. Both protocols: docs/simulate.md.
"""
