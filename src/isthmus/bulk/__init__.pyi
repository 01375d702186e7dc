from .files import Job as Job
from .files import answer_files as answer_files
from .maps import BatchMap as BatchMap
from .maps import Encode as Encode
from .maps import Score as Score
from .ranks import Rank as Rank
