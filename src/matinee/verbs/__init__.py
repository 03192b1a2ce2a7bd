"""One file is one verb; the folder is the registry."""
