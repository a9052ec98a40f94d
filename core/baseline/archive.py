"""Earlier results are renamed, never deleted."""
import contextlib
import pathlib
from typing import List

from misc.folders import Folder, archive, claim, folder_at, unused_name

ENSEMBLE = "ensemble"  # folder of the further members, in the folder of the first


def archive_paths(*paths: pathlib.Path) -> List[pathlib.Path]:
    """Renames each of the files and folders that exists to the first unused of NAME.1, NAME.2, ...; returns these."""
    targets = []
    for path in paths:
        if path.exists():
            targets.append(unused_name(path))
            path.rename(targets[-1])
    return targets


def members_of(folder: Folder) -> List[Folder]:
    """Returns the folders of the further members of a run's ensemble."""
    return [folder_at(path) for path in sorted((folder.root / ENSEMBLE).glob("*"))
            if path.name.isdigit() and path.is_dir()]


def archive_run(folder: Folder) -> None:
    """Archives a run with the further members of its ensemble, and its search.

    Raises UserError if another process is training in one of these folders.
    """
    if not folder.root.is_dir():
        return
    members = folder.root / ENSEMBLE
    with contextlib.ExitStack() as claims:
        for each in [folder, *members_of(folder)]:
            claims.enter_context(claim(each))
        target = archive(folder)
        if target and members.is_dir():
            members.rename(target / ENSEMBLE)
        archive_paths(members, folder.root / "tuning")
