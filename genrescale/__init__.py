"""genrescale: how waveform and spectrogram models of music scale with the amount of data."""
