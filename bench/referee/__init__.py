"""Every estimate that the program prints, against what is claimed of it, by simulation."""
