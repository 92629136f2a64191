"""One file a task: binds data, objective and evaluation."""
