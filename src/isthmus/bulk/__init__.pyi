from .files import FileTask as FileTask
from .files import process_files as process_files
from .maps import BatchMap as BatchMap
from .maps import Encode as Encode
from .maps import Score as Score
from .worker_rank import WorkerRank as WorkerRank
