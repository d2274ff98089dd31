"""The data folder and what lies in it: tables, checkpoints, and the instrument they carry."""
