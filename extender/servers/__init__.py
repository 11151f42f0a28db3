"""HTTP in: the extender's verbs, the admission webhook, and health, metrics and the snapshot for operators.

A handler reads the body, asks a deciding room, and writes prepared bytes. Whatever goes wrong becomes an answer
of the protocol; the next request is served.
"""
