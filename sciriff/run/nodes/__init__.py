"""The nodes of a run: where they are, how a command is started on all of them, and how they end with their driver."""
