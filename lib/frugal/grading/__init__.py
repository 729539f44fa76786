"""Grading from outside: the tests run in a trusted process, a student's functions in a confined one.

    with Judge(Lab.load("solutions/lab_4_1_affine.ipynb")) as judge:
        report = judge.grade("grading/submitted/ada/lab_4_1_affine/lab_4_1_affine.ipynb")

Nothing but plain data and tensors passes between the two, so nothing that a student writes can reach a test.
"""
