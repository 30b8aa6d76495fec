"""Means and deviations of ImageNet on the 0...255 scale, as each family of weights wants them."""

import numpy as np

TORCH_MEAN = 255.0 * np.array([0.485, 0.456, 0.406])
TORCH_DEVIATION = 255.0 * np.array([0.229, 0.224, 0.225])
CAFFE_MEAN_BGR = np.array([103.939, 116.779, 123.68])
