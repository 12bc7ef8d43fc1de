"""The schedule: who waits for whom, and when everything starts and is done."""
