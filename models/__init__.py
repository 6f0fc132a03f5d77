"""The ground floor: geometry, head models, networks, files, training, evaluation. No window, thread, device choice."""
