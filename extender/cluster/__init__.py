"""The picture in memory: nodes, pods, who pays, what is held. One writer: the event loop, never across an await.

Inputs are watch events, reservations and binds; everything here can be rebuilt from API objects alone.
Read first: `picture.Picture`, `ledger.NodeLedger`, `table.NodeTable`.
"""
