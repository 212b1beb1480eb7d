"""RunSpec → pipeline → Run: the store, the queue and the worker process."""
