"""Networks at the speed of the machine: precision, engines, batches, and the check of what that costs.

Knows nothing of particular networks; they take tensors and answer `models.output.Output`.
"""
