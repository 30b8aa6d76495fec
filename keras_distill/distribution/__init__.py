"""Replicas and processes of a distributed training."""
