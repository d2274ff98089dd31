"""What a folder of a model holds, read and checked before anything of it is believed."""
