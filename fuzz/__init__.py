"""Fuzzing: every parser that reads what others wrote, by atheris (libFuzzer); see `fuzz.__main__`.

A folder of its own beside `benchmarks/`: like those its programs run for as long as one lets them, need
packages that lbkit does not, and end with 1 when something was found. One file for each family of parsers; a
target checks what holds for every input, not only that nothing crashes.
"""
