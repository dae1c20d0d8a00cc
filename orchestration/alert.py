"""The one way out for alerts: JSON to the address that WATERSHED_ALERT_URL names."""

import json
import os
import urllib.request


def post(alert: dict[str, str]) -> None:
    """Send an alert to WATERSHED_ALERT_URL as JSON; does nothing if that is unset."""
    url = os.environ.get("WATERSHED_ALERT_URL")
    if not url:
        return
    if not url.startswith(("http://", "https://")):
        raise ValueError("WATERSHED_ALERT_URL: is no http(s) address; correct it")
    body = json.dumps(alert).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - checked above
    urllib.request.urlopen(request, timeout=10).close()  # noqa: S310
