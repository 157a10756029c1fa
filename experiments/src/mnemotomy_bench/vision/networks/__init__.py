"""Networks for images; each in a file of its own."""
