"""Pure measurement: histograms, order and duplication and loss of streams, health of the generator, and the recorder."""
