"""What `visavis bench` measures: stages, the machine's peak, the pool and its overhead."""
