"""The API server's edge: one client, the list+watch loop, and events. Nothing here decides anything.

kubernetes-asyncio finds the credentials (kubeconfig, exec plugins, in-cluster tokens); every byte after that is
ours, because its watch has no timeouts and decodes forty times slower than we need (docs/decisions/0002).
Read first: `client.KubeClient`, `reflector.Reflector`.
"""
