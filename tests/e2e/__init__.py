"""End-to-end tests: the product beside a real kube-apiserver, kube-controller-manager and kube-scheduler."""
