"""The three flows, eval, selection and learning, and the command line that starts them."""
