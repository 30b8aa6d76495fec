"""Settings of the commands: flags, help and exit codes."""
