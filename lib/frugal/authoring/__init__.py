"""Percent text in, notebooks out: build, lift, stage, execute, verify.

    source (.py) --percent--> cells --build (+ lift)--> notebook --execute--> course/, solutions/
                                                           `--stage--> labs/  (no answers, no hidden tests)
                                                           `--verify-> does every wrong answer lose its points?

Learn:   CONTRIBUTING.md, "Write a chapter" and "Write a lab".
"""
