"""A program: load the trial's table in small chunks, and kill itself when so many of them are staged.

Arguments: the lake's root, the declaration as JSON, and how many chunks; 0 to go on to the end. Prints what was read.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import psycopg
from trial_source import VARIABLE, Trial

from ingestion import extract, staging
from ingestion.connectors import postgres
from lake.layout import Lake

if __name__ == "__main__":
    root, declared, limit = sys.argv[1:]
    extract.CHUNK_ROWS, postgres.PAGES = 5000, 8
    real = staging.write

    def counted(path: Path, *rest: Any) -> Any:
        done = real(path, *rest)
        if int(limit) and len(list(path.parent.glob("0*.arrow"))) >= int(limit):
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    staging.write = counted
    with psycopg.connect(os.environ[VARIABLE], autocommit=True) as connection:
        trial = Trial(connection, Lake(root), json.loads(declared))
        loaded = trial.run()
    print(json.dumps({"read": loaded.rows_read, "chunks": loaded.chunks, "kept": loaded.chunks_kept}))
