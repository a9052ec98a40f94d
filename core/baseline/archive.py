"""Earlier results are renamed, never deleted."""
import pathlib

from misc.folders import Folder, archive, claim, unused_name


def archive_paths(*paths: pathlib.Path) -> None:
    """Renames each of the files and folders that exists to the first unused of NAME.1, NAME.2, ..."""
    for path in paths:
        if path.exists():
            path.rename(unused_name(path))


def archive_run(folder: Folder) -> None:
    """Archives a run and its search. Raises UserError if another process is training there."""
    if folder.root.is_dir():
        with claim(folder):
            archive(folder)
            archive_paths(folder.root / "tuning")
