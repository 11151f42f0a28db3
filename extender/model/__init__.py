"""Nouns as values: amounts, GPU requests, nodes, pods, groups, queues, verdicts, and every key we read or write.

This room knows what things are and how their texts are parsed; it decides nothing and remembers nothing.
Read first: `amounts.Amounts`, `gpu.parse_gpu_request`, `verdict.Reason`.
"""
