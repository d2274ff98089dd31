"""What a server could not be told: kept in the data folder, and sent later, once."""
