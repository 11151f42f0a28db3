"""From a terminal: `runai-scheduler` (serve, demo, manifests) for operators, `runai` for researchers."""
