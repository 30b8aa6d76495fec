"""Means and standard deviations of ImageNet from 0 to 255, as each family of weights uses them."""

import numpy as np

TORCH_MEAN = 255.0 * np.array([0.485, 0.456, 0.406])
TORCH_STANDARD_DEVIATION = 255.0 * np.array([0.229, 0.224, 0.225])
CAFFE_MEAN_BGR = np.array([103.939, 116.779, 123.68])
