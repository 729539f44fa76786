"""One paper, one file. Papers do not import papers; what two of them share lies one floor down, in ``quant``."""
