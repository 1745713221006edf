"""What the load tools share. The tools are the programs beside this package."""
