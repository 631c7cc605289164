"""What the comparisons share: running a program and what that costs, trees of files, the program under test, pictures.

Python 3.9 and its standard library are all that is needed.
"""
