"""isthmus: the autoencoder family, scikit-learn style, on PyTorch.

Names are imported on first use (see `__init__.pyi`), so that ``isthmus --help`` does not import
torch.
"""

import logging

import lazy_loader

logging.getLogger(__name__).addHandler(logging.NullHandler())

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
