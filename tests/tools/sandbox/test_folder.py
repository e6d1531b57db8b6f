"""The private folder of a program that may write."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from lightning_agentrl.tools.sandbox.inside import folder


def nest(root: Path, depth: int) -> None:
    """Folders within folders, deeper than a path can say."""
    here = os.open(root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d" * 100, dir_fd=here)
        deeper = os.open("d" * 100, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(os.open("file", os.O_CREAT, dir_fd=here))
    os.close(here)


def test_folders_deeper_than_a_path_and_than_there_are_descriptors_are_removed(tmp_path: Path) -> None:
    nest(tmp_path, 100)  # 10,000 characters; a path ends at 4096
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))  # as in a template
    try:
        folder.empty(str(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert not list(tmp_path.iterdir())


def test_names_that_the_removal_uses_itself_do_not_disturb_it(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f".removed-{number}" / ".removed-0" / "x").mkdir(parents=True)
    folder.empty(str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_removal_follows_no_link(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("kept")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "link").symlink_to(kept)
    folder.remove(str(mine))
    assert not mine.exists()
    assert (kept / "file").read_text() == "kept"


def test_contents_and_entries_both_count(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    blocks = os.stat(tmp_path / "file").st_blocks * 512
    assert folder.fits(str(tmp_path), folder.ENTRY + blocks)
    assert not folder.fits(str(tmp_path), folder.ENTRY + blocks - 1)


def test_what_is_too_deep_to_be_measured_does_not_fit(tmp_path: Path) -> None:
    nest(tmp_path, 60)
    assert not folder.fits(str(tmp_path), 1 << 40)
    folder.empty(str(tmp_path))
