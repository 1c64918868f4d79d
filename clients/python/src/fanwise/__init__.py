"""Ask Claude one question about every row of a table.

import fanwise

fw = fanwise.Fanwise()
job = fw.map(df, id="ticket_id", text="message", ask="Tag the ticket.", into=Tag, max_usd=5)
tagged = job.wait(progress=True).to_pandas()
"""

from . import _models as models
from ._client import VERSION as __version__
from ._client import AsyncFanwise, Fanwise, MapOptions
from ._errors import ApiError, FanwiseError, InvalidInput, JobFailed, JobHalted, Unreachable, WaitTimeout
from ._flows import Estimate
from ._job import AsyncJob, Job
from ._join import Row

__all__ = [
    "ApiError",
    "AsyncFanwise",
    "AsyncJob",
    "Estimate",
    "Fanwise",
    "FanwiseError",
    "InvalidInput",
    "Job",
    "JobFailed",
    "JobHalted",
    "MapOptions",
    "Row",
    "Unreachable",
    "WaitTimeout",
    "__version__",
    "models",
]
