"""How good lists are, measured without fooling oneself."""
