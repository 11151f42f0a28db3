"""Who goes next, where, and who has to make way: gangs, queues in fair-share order, and the minimal set of victims.

Everything is tried on a what-if view of the picture and of the quota tree, and handed back as a `Plan` of seats,
evictions and explanations; this room changes nothing itself.
Read first: `plan.plan`, `view.View`, `solve.solve`.
"""
