"""Images on disk to batches: data sets, class splits, sampling, augmentation, pipelines."""
