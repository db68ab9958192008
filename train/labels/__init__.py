"""Labels in: files and the store, data sets of others, several raters into one opinion; samples out."""
