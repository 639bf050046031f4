"""The command line: options that may stand anywhere, the commands, and what is said when one fails."""
