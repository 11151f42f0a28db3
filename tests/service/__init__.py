"""The service as a process on the embedded cluster: what a fresh machine can show without a control plane."""
