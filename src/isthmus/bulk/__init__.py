"""Apply a model to files of any size, in several processes, or as batch maps of Ray and Spark.

Names are imported when they are first used (see `__init__.pyi`).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
