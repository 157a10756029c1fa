"""Networks for images and how they are trained, for every bench that needs them."""
