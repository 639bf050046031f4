"""Hidden Markov models of sequences of sensor readings: fitted by EM, forecast by filtering."""
