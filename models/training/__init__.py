"""Training of avatars from tracks: splits, samples, losses, the resumable loop."""
