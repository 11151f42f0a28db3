"""Who may have how much: deserved quota and limits of projects and departments. Knows no pods and no nodes.

Read first: `capacity.check`.
"""
