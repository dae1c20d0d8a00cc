"""What an error means to Dagster: transient ones are retried with back-off, all others end the step at once."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from lake.errors import PlatformError, TransientError, redact

RETRIES = 3


@contextmanager
def explained(context: dg.AssetExecutionContext) -> Iterator[None]:
    """Turn a PlatformError into a retry or a failure whose description is the error's sentence."""
    try:
        yield
    except TransientError as error:
        if context.retry_number < RETRIES:
            wait = 2**context.retry_number
            context.log.warning(redact(f"{error.where}: {error.what}; trying again in {wait} s"))
            raise dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=wait) from error
        raise dg.Failure(str(error), allow_retries=False) from None
    except PlatformError as error:
        raise dg.Failure(str(error), allow_retries=False) from None
