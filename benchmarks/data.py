"""Data that come as Debian packages, in a folder of this user's own.

    python -m benchmarks.data    # fetches them all: 27 MB

`apt-get download` fetches a package without installing it and checks its
signature; `dpkg-deb -x` unpacks it. Neither needs root. The folder is
`$KERAS_TITANS_DATA`, by default `keras_titans` in the user's cache.
"""

import os
import pathlib
import shutil
import subprocess
import tempfile

PACKAGES = {
    "r-cran-janeaustenr": "six novels by Jane Austen, public domain",
    "ragout-examples": "genomes of four species of bacteria, BSD-3",
    "wordnet-base": "WordNet 3.0, under its own free licence",
}
TOOLS = ("apt-get", "dpkg-deb")


def folder():
    """Where packages are kept."""
    if chosen := os.environ.get("KERAS_TITANS_DATA"):
        return pathlib.Path(chosen)
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(cache) / "keras_titans"


def cached(package):
    """The root of an unpacked package, or None: nothing is fetched."""
    check_package(package)
    root = folder() / package
    return root if root.is_dir() else None


def fetched(package):
    """The root of an unpacked package, fetched where it is not there yet."""
    if root := cached(package):
        return root
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        raise RuntimeError(
            f"The Debian package {package!r} is fetched with "
            f"{' and '.join(missing)}, not found here. Unpack it yourself into "
            f"{folder() / package}, or set KERAS_TITANS_DATA to a folder that "
            "has it."
        )
    folder().mkdir(parents=True, exist_ok=True)
    # Unpacked beside its place and then moved: there whole, or not at all.
    with tempfile.TemporaryDirectory(dir=folder()) as work:
        run("apt-get", "download", package, cwd=work)
        (archive,) = pathlib.Path(work).glob("*.deb")
        unpacked = pathlib.Path(work) / package
        run("dpkg-deb", "-x", str(archive), str(unpacked), cwd=work)
        unpacked.rename(folder() / package)
    return folder() / package


def run(*command, cwd):
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(
            f"`{' '.join(command)}` failed:\n{result.stderr.strip()}"
        )


def check_package(package):
    if package not in PACKAGES:
        raise ValueError(
            f"Argument `package` must be one of {tuple(PACKAGES)}. "
            f"Received: package={package!r}."
        )


def main():
    for package, what in PACKAGES.items():
        print(f"{fetched(package)}: {what}")


if __name__ == "__main__":
    main()
