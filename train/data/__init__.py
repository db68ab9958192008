"""From labelled series and archives to what a network is trained on: cases, splits, prepared images.

One preprocessing: series are read, chosen from and decoded by the gate's own code.
"""
