"""What runs in the child process only: see ``edgekit.core.sandbox``.

This package imports nothing, so that the child loads what a worker needs and no more.
"""
