"""Training runs: inputs, config, fitting of weights here or by Ray Train, and the artifact."""
