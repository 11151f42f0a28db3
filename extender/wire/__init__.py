"""Formats: JSON in, model out, and back. The only place where untyped JSON lives.

One way in: watch, filter, bind and tools all read a pod through `pods.parse`, a node through `nodes.parse`.
Read first: `pods.parse`, `extender.decode_args`, `extender.encode_filter`.
"""
