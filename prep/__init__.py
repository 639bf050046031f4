"""From raw sensor readings to fixed-length sequences, stored once as a Petastorm dataset; and the one reader of that dataset."""
