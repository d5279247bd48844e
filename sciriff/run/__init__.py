"""One run seen from outside: its folder, files, locks and child processes, and the machines it runs on."""
