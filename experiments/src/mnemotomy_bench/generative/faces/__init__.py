"""Attributes of faces in a Wasserstein autoencoder: erased, amplified and combined (Fig. 7, 8, 15, Eq. 8)."""
