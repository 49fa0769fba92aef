"""Collections to batches: splits by patient, preprocessing, caches, datasets."""
