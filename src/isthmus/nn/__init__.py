"""Networks: dense, convolutional, residual, FFT convolution, pyramids and spectrograms."""
