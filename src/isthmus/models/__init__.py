"""What an autoencoder is: its settings, the seven specifications and the composed model."""
