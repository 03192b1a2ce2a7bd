"""Bytes to arrays and back, and augmentation of whole batches."""
