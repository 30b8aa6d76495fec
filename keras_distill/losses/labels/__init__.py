"""Losses on the labels of images: several labels an image, some of them unknown, or one."""
