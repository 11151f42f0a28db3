"""A pod's journey: admit → filter → prioritize → bind → release, each a synchronous decision on the picture.

Watch events reach the picture directly (`cluster.picture`); this room is what kube-scheduler's calls mean.
Read first: `filter.filter_pod`, then `bind.begin` and `bind.settle`.
"""
