"""The commands of `runai`, a module each: what researchers do with projects, workloads and jobs.

A command asks the API server and prints what it has; what is decided about a workload is decided in `workloads` and by
the controller. Texts are made by pure functions of decoded objects and a clock reading (`output`, `description`).

Read first: `session.Session`, `description.describe`.
"""
