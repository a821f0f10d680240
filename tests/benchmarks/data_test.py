"""Packages are looked for in the user's folder and fetched whole."""

import pathlib

import pytest

from benchmarks import data


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_TITANS_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def test_the_folder_is_the_users_choice(monkeypatch, folder):
    assert data.folder() == folder
    monkeypatch.delenv("KERAS_TITANS_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert data.folder() == pathlib.Path("/somewhere/keras_titans")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/person")
    assert data.folder() == pathlib.Path("/home/person/.cache/keras_titans")


def test_what_is_there_is_not_fetched(monkeypatch, folder):
    monkeypatch.setattr(data, "run", lambda *command, cwd: pytest.fail())
    assert data.cached("wordnet-base") is None
    (folder / "wordnet-base").mkdir(parents=True)
    assert data.cached("wordnet-base") == folder / "wordnet-base"
    assert data.fetched("wordnet-base") == folder / "wordnet-base"


def test_a_package_is_downloaded_and_unpacked(monkeypatch, folder):
    def run(tool, *words, cwd):
        if tool == "apt-get":
            assert words == ("download", "wordnet-base")
            (pathlib.Path(cwd) / "wordnet-base_1%3a3.0_all.deb").touch()
        else:
            assert (tool, words[0]) == ("dpkg-deb", "-x")
            assert pathlib.Path(words[1]).exists()
            (pathlib.Path(words[2]) / "usr").mkdir(parents=True)

    monkeypatch.setattr(data.shutil, "which", lambda tool: tool)
    monkeypatch.setattr(data, "run", run)
    root = data.fetched("wordnet-base")
    assert [path.name for path in root.iterdir()] == ["usr"]
    assert [path.name for path in folder.iterdir()] == ["wordnet-base"]


def test_a_failed_fetch_leaves_nothing(monkeypatch, folder):
    monkeypatch.setattr(data.shutil, "which", lambda tool: tool)
    monkeypatch.setattr(data, "TOOLS", ())
    run = data.run
    monkeypatch.setattr(
        data, "run", lambda *command, cwd: run("ls", "/not/there", cwd=cwd)
    )
    with pytest.raises(RuntimeError, match="`ls /not/there` failed:\n.*not"):
        data.fetched("wordnet-base")
    assert list(folder.iterdir()) == []


def test_without_the_tools_it_says_what_to_do(monkeypatch, folder):
    monkeypatch.setattr(data.shutil, "which", lambda tool: None)
    with pytest.raises(RuntimeError, match="apt-get and dpkg-deb, not found"):
        data.fetched("wordnet-base")
    assert not folder.exists()


def test_other_packages_are_refused(folder):
    with pytest.raises(ValueError, match="`package` must be one of"):
        data.cached("bsdgames")
