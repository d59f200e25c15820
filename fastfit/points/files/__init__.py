"""Points in files: one, a folder or a data set of them, larger than memory."""
