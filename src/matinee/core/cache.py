"""Where what was made once lies for the next time, and how a finished folder gets there.

A cached folder appears under its final name in one rename, complete and flushed, or not at all. Beside its files lies
`columns.json` with the size of each; a folder that does not match its own record is never trusted, but built again.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from matinee.core.errors import DataError
from matinee.core.storage import sync_folder

RECORD = "columns.json"
DAY = 86_400.0
UNLIKE = (OSError, ValueError, TypeError, KeyError, IndexError, EOFError, RecursionError)
"""What reading a folder raises whose files have the right sizes, but are not what was written."""
Loaded = TypeVar("Loaded")
_private: dict[str, Path] = {}


def root() -> Path:
    """The folder of all caches: $MATINEE_CACHE, else $XDG_CACHE_HOME/matinee, else ~/.cache/matinee.

    Where that cannot be written, a folder of the temporary directory that only this user can read, with one warning
    in the log "matinee".
    """
    named = os.environ.get("MATINEE_CACHE", "")
    shared = os.environ.get("XDG_CACHE_HOME", "")
    if named:
        wanted = Path(named).expanduser()
    elif shared and Path(shared).is_absolute():
        wanted = Path(shared) / "matinee"
    else:
        wanted = Path(os.path.expanduser("~")) / ".cache" / "matinee"  # noqa: PTH111 - never raises, Path.home() does
    key = str(wanted)
    if key in _private and _private[key].is_dir():
        return _private[key]
    try:
        wanted.mkdir(parents=True, exist_ok=True)
        writable = os.access(wanted, os.W_OK | os.X_OK)
    except OSError:
        writable = False
    if writable:
        return wanted.absolute()
    _private[key] = _private_folder()
    logging.getLogger("matinee").warning(
        "the cache folder %s cannot be written, so %s is used; MATINEE_CACHE names another", wanted, _private[key]
    )
    return _private[key]


def find(kind: str, key: str) -> Path | None:
    """The finished folder of this kind and key, where there is one whose files match its record; else None."""
    folder = root() / kind / key
    return folder if _whole(folder) else None


def build(kind: str, key: str, fill: Callable[[Path], None]) -> Path:
    """Makes a folder with `fill`, which is given a new empty temporary folder, and puts it in place.

    Returns the finished folder, which is another builder's where that one was first. Whatever `fill` raises is raised
    after the temporary folder is gone. A full disk is a DataError.
    """
    shelf = root() / kind
    folder = shelf / key
    try:
        shelf.mkdir(parents=True, exist_ok=True)
        sweep(shelf)
        temporary = Path(tempfile.mkdtemp(prefix=f"{key}.{_host()}.{os.getpid()}.", suffix=".tmp", dir=shelf))
    except OSError as error:
        raise _cannot_write(shelf, error) from error
    try:
        fill(temporary)
        _seal(temporary)
        _put(temporary, folder)
    except OSError as error:
        raise _cannot_write(shelf, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def loaded(kind: str, key: str, load: Callable[[Path], Loaded], fill: Callable[[Path], None]) -> Loaded:
    """What `load` reads from the folder of this kind and key; one that is not there, or is damaged, `fill` makes."""
    folder = find(kind, key)
    if folder is not None:
        try:
            return load(folder)
        except UNLIKE:
            discard(kind, key)
    return load(build(kind, key, fill))


def discard(kind: str, key: str) -> None:
    """Removes a finished folder that turned out to be unusable, so that it is built again."""
    shutil.rmtree(root() / kind / key, ignore_errors=True)


def sweep(shelf: Path) -> None:
    """Removes temporary folders that nobody is filling: their process is gone, or they are older than a day."""
    for entry in shelf.glob("*.tmp"):
        parts = entry.name.split(".")
        try:
            old = time.time() - entry.stat().st_mtime > DAY
        except OSError:
            continue  # somebody else has just put it in place or swept it
        ours = len(parts) >= 5 and parts[-4] == _host() and parts[-3].isdigit()
        if old or (ours and not _alive(int(parts[-3]))):
            shutil.rmtree(entry, ignore_errors=True)


def _whole(folder: Path) -> bool:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        sizes = record["files"]
        return bool(sizes) and all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return False


def _seal(folder: Path) -> None:
    """Records the size of every file, and flushes all of it so that a rename can never show half of it."""
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    (folder / RECORD).write_text(json.dumps({"files": sizes}), encoding="utf-8")
    for path in folder.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    sync_folder(folder)


def _put(temporary: Path, folder: Path) -> None:
    for _ in range(5):
        try:
            os.rename(temporary, folder)  # noqa: PTH104 - unlike Path.replace it never overwrites a full folder
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES, errno.ENOTDIR):
                raise
        else:
            sync_folder(folder.parent)
            return
        if _whole(folder):
            return  # another process was first, with the same content
        broken = Path(tempfile.mkdtemp(prefix="broken.", suffix=".tmp", dir=folder.parent))
        try:
            folder.rename(broken / "old")
        except FileNotFoundError:
            pass
        finally:
            shutil.rmtree(broken, ignore_errors=True)
    raise OSError(errno.EEXIST, f"{folder} cannot be replaced")


def _cannot_write(shelf: Path, error: OSError) -> DataError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DataError(f"disk full: no room left for the cache in {shelf}; MATINEE_CACHE can name another folder")
    return DataError(f"the cache in {shelf} cannot be written ({error}); MATINEE_CACHE can name another folder")


def _private_folder() -> Path:
    """A folder of the temporary directory for this user alone, the same one each time where that is safe."""
    if os.name == "posix":
        folder = Path(tempfile.gettempdir()) / f"matinee-{os.getuid()}"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            state = folder.lstat()
            # In a directory that all may write, somebody else may have made it first, or made it a link.
            if stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid() and not state.st_mode & 0o077:
                return folder
        except OSError:
            pass
    try:
        return Path(tempfile.mkdtemp(prefix="matinee-"))
    except OSError as error:
        raise _cannot_write(Path(tempfile.gettempdir()), error) from error


def _host() -> str:
    return "".join(letter for letter in socket.gethostname() if letter.isalnum() or letter == "-") or "host"


def _alive(process: int) -> bool:
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
