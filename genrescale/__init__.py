"""genrescale: how waveform and spectrogram models of music scale with the amount of data."""

__version__ = "0.2.0"
