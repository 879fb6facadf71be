"""Tests marked `slow` run only when asked for: pytest -m slow."""
import signal

import pytest


def pytest_configure(config):
    # a shell that starts us in the background ignores SIGINT, and every process of ours would inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "slow: minutes, or needs the network; run with -m slow")


def pytest_collection_modifyitems(config, items):
    if "slow" in (config.getoption("-m") or ""):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: run with -m slow"))


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    "A tiny student and a small problem set, made once."
    from smoke_run import make
    return make(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="session")
def unbroken(made, tmp_path_factory):
    "One run of the smallest size from beginning to end; nobody may change it."
    from smoke_run import whole
    return whole(made, tmp_path_factory.mktemp("unbroken"))[0]
