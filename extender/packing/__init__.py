"""Which GPUs of one node a request takes, and how good each node is for it. Knows nothing of queues or pods.

Read first: `devices.choose`, `score.fits`, `score.scores`.
"""
