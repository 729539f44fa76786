"""Our int8 kernels raced against the peers', all in one process: ``python -m frugal bench gemm|conv|models|roofline``.

A peer is one file, ``peers_*.py``. Nobody is timed before the result was compared with exact integer arithmetic.
"""
