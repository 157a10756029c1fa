"""Engrams in generative networks: a digit erased from an autoencoder, attributes of faces (Fig. 5, 7, 8, 15)."""
