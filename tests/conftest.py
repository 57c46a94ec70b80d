"""Settings that must hold before any test module is imported."""

import os

import torch

if not torch.cuda.is_available():
    # kernels for GPUs run in Triton's interpreter, which has to be chosen before they are defined
    os.environ.setdefault("TRITON_INTERPRET", "1")
