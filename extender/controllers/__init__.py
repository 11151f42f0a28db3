"""The async loops that join decisions to the API server: feeding the picture, binding, upkeep, namespaces,
certificates.

They call the deciding rooms and do what those say; when in doubt about an outcome they read the truth back.
Read first: `feed.Feed`, `binder.Binder`, `upkeep.Upkeep`.
"""
