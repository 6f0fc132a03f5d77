"""The ground floor: geometry, head models, networks, files, training and evaluation. No window, thread or device choice."""
