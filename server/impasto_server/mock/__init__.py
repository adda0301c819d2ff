"""A worker that only pretends to paint, for tests of clients: `impasto-server serve --mock`.

It speaks worker.proto as the real worker does, but needs no PyTorch and no weights. Gateway, store, intake
and jobs are the real ones.
"""
