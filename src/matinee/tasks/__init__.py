"""One file is one task; the folder is the registry."""
