"""How right the pictures are: metrics and the protocols that use them."""
