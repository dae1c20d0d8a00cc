"""Plug-ins for all tests: real servers, and folders of their own for lake, warehouse and records."""

pytest_plugins = ["fix_servers"]


def pytest_report_header() -> list[str]:
    import fix_servers

    return fix_servers.header()
