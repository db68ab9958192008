"""The training loop and the folder it fills."""
