"""The three flows, eval, selection and learning, and the command line that starts them.

A flow is an order of tasks; whatever computes lies below.
"""
