"""Limit on the size of images that are decoded, the same in training and serving."""

#: Height times width of the largest image that is decoded by default; 300 MB as RGB.
MAX_PIXELS = 10**8
