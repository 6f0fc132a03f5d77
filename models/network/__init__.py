"""The networks: neural texture, generator G with its cache, and the warps W (paper sections 3.1 to 3.3)."""
