"""The database: studies, trials, records, and their export."""

from tuner.database.lock import locked
from tuner.database.records import (
    ASKED,
    REMEASURED,
    Best,
    Filter,
    asked,
    best_trial,
    made_noise,
    records,
    select,
)
from tuner.database.store import Store, database_path
from tuner.database.studies import Study, StudyInfo, Trial
from tuner.database.tables import Exported, export, table_kernel

__all__ = [
    "ASKED",
    "REMEASURED",
    "Best",
    "Exported",
    "Filter",
    "Store",
    "Study",
    "StudyInfo",
    "Trial",
    "asked",
    "best_trial",
    "database_path",
    "export",
    "locked",
    "made_noise",
    "records",
    "select",
    "table_kernel",
]
