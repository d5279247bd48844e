"""The nodes of a run: find them, start a command on all of them, and end it with the driver."""
