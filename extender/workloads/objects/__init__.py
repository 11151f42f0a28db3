"""The Kubernetes objects of one submission: the job itself and everything that it needs beside it.

A pod is a `draft.Draft` to which one function an aspect adds its part (compute, storage, security, scheduling, …:
`pods.ASPECTS`); `jobs`, `serving`, `kubeflow` and `gang` put pods into an object of a kind that the cluster serves.
Nothing here reads the cluster: the same submission gives the same bytes.

Read first: `submission.Submission`, `render.render`, `pods.draft`.
"""

from extender.workloads.objects.render import render
from extender.workloads.objects.submission import Backend, Images, Submission

__all__ = ["Backend", "Images", "Submission", "render"]
