"""Well-known data sets by name: from the folder or mirror that MATINEE_DATA names, from the cache, or over HTTPS.

What is downloaded is checked against a SHA-256 that stands here, and appears in the cache complete or not at all.
MNIST is checked unpacked, because its mirrors pack it differently; the others as they are published. Archives of texts
and ratings are taken apart in the cache (media/archives.py). docs/decisions/named-sets.md says where digests are from.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

from matinee.core import cache
from matinee.core.errors import DataError
from matinee.core.storage import sha256_of
from matinee.media.archives import Unpack, files, reviews, unpacked
from matinee.media.walking import printable

NAMES: dict[str, str] = {
    "digits": "1,797 handwritten digits, 8x8 grey, 10 classes (with scikit-learn)",
    "mnist": "70,000 handwritten digits, 28x28 grey, 10 classes",
    "fashion-mnist": "70,000 pictures of clothes, 28x28 grey, 10 classes",
    "cifar10": "60,000 pictures of things and animals, 32x32 colour, 10 classes",
}
TEXTS: dict[str, str] = {"imdb": "50,000 reviews of films, pos and neg, and 50,000 without a label"}
PAIRS: dict[str, str] = {"multi30k": "31,014 captions in German and English"}
RATINGS: dict[str, str] = {
    "movielens-100k": "100,000 ratings of 1,682 films by 943 people",
    "movielens-1m": "1,000,209 ratings of 3,706 films by 6,040 people",
    "movielens-latest-small": "100,836 ratings of 9,724 films by 610 people",
}
UNLABELLED = "unlabelled.jsonl"  # beside the texts of a named set, where it has some without labels
FASHION_CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
MOVIELENS = "https://files.grouplens.org/datasets/movielens/"
TIMEOUT = 5.0  # seconds without an answer


@dataclass(frozen=True)
class Download:
    """Where a data set is published and what its files must be.

    unpacked: the SHA-256 is of the content of the .gz. archives: those of the files that are taken apart, and how.
    """

    address: str
    files: Mapping[str, str]
    byte_limit: int
    unpacked: bool = False
    archives: Mapping[str, Unpack] = field(default_factory=dict)


DOWNLOADS: dict[str, Download] = {
    "mnist": Download(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        64_000_000,
        unpacked=True,
    ),
    "fashion-mnist": Download(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        {
            "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        },
        64_000_000,
    ),
    "cifar10": Download(
        "https://www.cs.toronto.edu/~kriz/",
        {"cifar-10-python.tar.gz": "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"},
        200_000_000,
    ),
    "imdb": Download(
        "https://ai.stanford.edu/~amaas/data/sentiment/",
        {"aclImdb_v1.tar.gz": "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe"},
        100_000_000,
        archives={"aclImdb_v1.tar.gz": reviews},
    ),
    "multi30k": Download(
        "https://raw.githubusercontent.com/neychev/small_DL_repo/master/datasets/Multi30k/",
        {
            "training.tar.gz": "20140d013d05dd9a72dfde46478663ba05737ce983f478f960c1123c6671be5e",
            "validation.tar.gz": "a7aa20e9ebd5ba5adce7909498b94410996040857154dab029851af3a866da8c",
            "mmt16_task1_test.tar.gz": "6d1ca1dba99e2c5dd54cae1226ff11c2551e6ce63527ebb072a1f70f72a5cd36",
        },
        20_000_000,
        archives={
            "training.tar.gz": files(("train.de", "train.en")),
            "validation.tar.gz": files(("val.de", "val.en")),
            "mmt16_task1_test.tar.gz": files(("test.de", "test.en")),
        },
    ),
    "movielens-100k": Download(
        MOVIELENS,
        {"ml-100k.zip": "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229"},
        20_000_000,
        archives={"ml-100k.zip": files(("u.data", "u.item", "u.genre", "u.user", "README"))},
    ),
    "movielens-1m": Download(
        MOVIELENS,
        {"ml-1m.zip": "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20"},
        20_000_000,
        archives={"ml-1m.zip": files(("ratings.dat", "movies.dat", "users.dat", "README"))},
    ),
    "movielens-latest-small": Download(
        MOVIELENS,
        {"ml-latest-small.zip": "696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436"},
        20_000_000,
        archives={"ml-latest-small.zip": files(("ratings.csv", "movies.csv", "README.txt"))},
    ),
}
# Below the folder that MATINEE_DATA names, in this order; the last one of a list of nested names is what is read.
PLACES: dict[str, tuple[str, ...]] = {
    "mnist": ("mnist", "MNIST", "MNIST/raw"),
    "fashion-mnist": ("fashion-mnist", "fashion_mnist", "FashionMNIST", "FashionMNIST/raw"),
    "cifar10": (
        *("cifar10/cifar-10-batches-py", "cifar10/cifar-10-python.tar.gz", "cifar10"),
        *("cifar-10-batches-py", "cifar-10-python.tar.gz", "cifar-10", "cifar_10"),
    ),
    "imdb": ("imdb", "aclImdb", "imdb/aclImdb"),
    "multi30k": ("multi30k", "multi30k_task1"),
    "movielens-100k": ("movielens-100k/ml-100k", "movielens_100k/ml-100k", "ml-100k", "movielens-100k"),
    "movielens-1m": ("movielens-1m/ml-1m", "movielens_1m/ml-1m", "ml-1m", "movielens-1m", "movielens_1m"),
    "movielens-latest-small": (
        *("movielens-latest-small/ml-latest-small", "movielens_latest_small/ml-latest-small"),
        *("ml-latest-small", "movielens-latest-small"),
    ),
}


def known(source: str, names: Mapping[str, str]) -> bool:
    """Whether a source is one of these names, and nothing that lies here."""
    return source in names and not Path(source).exists()


def place_of(source: str, names: Mapping[str, str]) -> str:
    """The source itself, or where the data set lies that it names."""
    return locate(source) if known(source, names) else source


def locate(name: str) -> str:
    """The folder or archive in which the named data set lies on this machine, after downloading it where needed.

    Looks in MATINEE_DATA, then in the cache, then on the net. Raises DataError that says where it looked.
    """
    said = os.environ.get("MATINEE_DATA", "").strip()
    mirror = ""
    looked: list[str] = []
    if said.startswith("https://"):
        mirror = f"{said.rstrip('/')}/{name}/"
    elif said.startswith("file://"):
        said = urllib.request.url2pathname(urllib.parse.urlsplit(said).path)
    elif "://" in said:
        raise DataError(f"MATINEE_DATA={said[:200]}: a folder, or a mirror that begins with https:// or file://")
    if said and not mirror:
        home = Path(said).expanduser()
        for place in PLACES[name]:
            path = home / place
            if path.is_file() or (path.is_dir() and _has_data(path, DOWNLOADS[name].archives)):
                return str(path)
        looked.append(f"the folder MATINEE_DATA={said}")
    download = DOWNLOADS[name]
    key = hashlib.sha256("\n".join(download.files.values()).encode()).hexdigest()[:16]
    folder = cache.find("downloads", f"{name}-{key}")
    if folder is None and said and not mirror:
        folder = _from_archives(f"{name}-{key}", download, [home, *(home / place for place in PLACES[name])])
    if folder is None:
        looked.append("the cache")
        folder = _download(name, f"{name}-{key}", mirror, looked)
    only = sorted(download.files)
    return str(folder / only[0]) if len(only) == 1 and not download.archives else str(folder)


def _has_data(folder: Path, archives: Mapping[str, Unpack]) -> bool:
    """Whether a folder holds something to read itself: files, or class folders that are not another layout's shell."""
    there = {entry.name for entry in folder.iterdir() if not entry.name.startswith(".")}
    return bool(there - {"raw"} - archives.keys())


def _from_archives(key: str, download: Download, places: Sequence[Path]) -> Path | None:
    """The cached folder, made of the published archives where they lie in one of these places."""
    for place in places if download.archives else ():
        if not all((place / name).is_file() for name in download.files):
            continue

        def fill(folder: Path, place: Path = place) -> None:
            for name, wanted in download.files.items():
                shutil.copyfile(place / name, folder / name)
                found = sha256_of(folder / name)
                if found != wanted:
                    raise DataError(f"{place / name} is not the published file: its SHA-256 is {found}, not {wanted}")
            unpacked(download.archives, folder)

        return cache.build("downloads", key, fill)
    return None


def _download(name: str, key: str, mirror: str, looked: list[str]) -> Path:
    download = DOWNLOADS[name]
    failures: list[str] = []
    for address in (mirror, download.address):
        if not address:
            continue

        def fill(folder: Path, address: str = address) -> None:
            for file in download.files:
                _fetch(address + file, folder / file, download)
            unpacked(download.archives, folder)

        looked.append(address)
        try:
            return cache.build("downloads", key, fill)
        except _Unreachable as error:
            failures.append(str(error))
    raise DataError(
        f"{name} is not on this machine and cannot be downloaded ({'; '.join(failures)}). Looked in: "
        f"{', '.join(looked)}. MATINEE_DATA can name a folder that holds {PLACES[name][0]}"
    )


class _Unreachable(Exception):  # noqa: N818 - a state of the net, not yet an error for the user
    pass


def _fetch(address: str, path: Path, download: Download) -> None:
    """One file, checked. Raises _Unreachable, or DataError where it came but is not what it must be."""
    total = 0
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT) as answer, path.open("wb") as file:
            if not answer.geturl().startswith("https://"):
                raise DataError(f"{address} leads to {answer.geturl()[:200]}, which is not HTTPS")
            while block := answer.read(1 << 18):
                total += len(block)
                if total > download.byte_limit:
                    raise DataError(f"{address} is longer than {download.byte_limit:,} bytes: not the published file")
                digest.update(block)
                file.write(block)
    except (urllib.error.URLError, TimeoutError, ConnectionError, HTTPException, ValueError) as error:
        raise _Unreachable(f"{address}: {getattr(error, 'reason', None) or error}") from error
    wanted = download.files[path.name]
    found = _unpacked_digest(path, download.byte_limit) if download.unpacked else digest.hexdigest()
    if found != wanted:
        raise DataError(f"{address} is not the published file: its SHA-256 is {found}, not {wanted}")


def _unpacked_digest(path: Path, byte_limit: int) -> str:
    digest = hashlib.sha256()
    total = 0
    try:
        with gzip.open(path, "rb") as file:
            while (block := file.read(1 << 18)) and total <= byte_limit:
                total += len(block)
                digest.update(block)
    except (OSError, EOFError, zlib.error) as error:
        return f"none: {printable(str(error))}"
    return digest.hexdigest()
