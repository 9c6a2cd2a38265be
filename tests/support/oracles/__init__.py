"""Independent models that results are compared with: slow folds of the log, random histories, a log in memory."""
