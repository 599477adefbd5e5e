"""Where caches go when there is a home, none, or one that cannot be written."""

import os
import stat
from pathlib import Path

import pytest

from body4d.core import caches


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(caches.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    for cached in (caches.temporary_cache, caches._writable_or_temporary):
        cached.cache_clear()
    yield
    for cached in (caches.temporary_cache, caches._writable_or_temporary):
        cached.cache_clear()


def test_the_users_cache_is_used_where_it_can_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "made" / "later"))
    assert caches.cache_folder() == tmp_path / "made" / "later"


@pytest.mark.parametrize("home", ["/proc/nohome", "/dev/null/home"])
def test_a_home_that_takes_nothing_gives_a_temporary_folder_of_ones_own(tmp_path, monkeypatch, home):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", home)
    folder = caches.cache_folder()
    assert folder.parent == tmp_path / "tmp"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_it_stays_though_the_home_is_made_meanwhile(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))
    (tmp_path / "file").write_text("")
    first = caches.cache_folder()
    (tmp_path / "file").unlink()
    assert caches.cache_folder() == first != tmp_path / "file" / "cache"


def test_no_home_at_all(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert caches.user_cache() is None
    assert caches.cache_folder().is_dir()


def test_a_link_that_somebody_put_there_is_not_followed(tmp_path):
    trap = tmp_path / "trap"
    trap.mkdir()
    (tmp_path / "tmp" / f"body4d-cache-{os.getuid()}").symlink_to(trap)
    assert caches.temporary_cache().resolve() != trap
