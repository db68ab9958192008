"""How well scores agree with labels, how sure that is, and whether two models differ.

Start at `train.evaluation.report`: `evaluate` for one model, `compare` for two. docs/evaluation.md says what
each figure means. Nothing here trains, reads images or knows a network.
"""
