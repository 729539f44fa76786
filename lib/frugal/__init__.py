"""frugal: efficient inference of deep networks, as a library that a course is built on.

Start:   python -m frugal doctor, then course/0_start.
Learn:   course/, in the order of the lecture.

Importing this package imports nothing else, not even torch: take what you need from its parts,
for example ``from frugal.quant.affine import quantize``.
"""

__version__ = "0.1.0"
