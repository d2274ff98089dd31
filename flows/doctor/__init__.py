"""The doctor's whole look at a data folder and the machine, and the repair of what is safe."""
