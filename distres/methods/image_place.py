"""Where a converted image goes: a local folder, or a place in an object store."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from distres.engine.run import Run
from distres.errors import OutputExistsError, ResumeError, UsageError
from distres.io.omezarr import is_zarr
from distres.io.stores import (
    StoreLike,
    as_store,
    has_node,
    is_object_address,
    is_vacant,
    remove_all,
)

WORK_FOLDER = ".distres"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePlace:
    """An image to write, and the folder of the conversion's ledger while it is written.

    Attributes
    ----------
    address
        Absolute path of a folder, or ``s3://bucket/place``.
    work
        Folder of the ledger: inside of a local image, in the current folder for an object store,
        which has no files that can be appended to.
    """

    address: str
    work: Path

    @classmethod
    def of(cls, path: str | Path) -> "ImagePlace":
        """Take a path or an address as the user gave it.

        Raises
        ------
        UsageError
            It is an address that cannot be written to.
        """
        text = str(path).rstrip("/")
        if is_object_address(text):
            return cls(address=text, work=Path(f"{text.rsplit('/', 1)[-1]}{WORK_FOLDER}"))
        if "://" in text:
            raise UsageError(
                f"{path}: an image is written to a local folder or to s3://bucket/place; copy it "
                "there after"
            )
        return cls(address=str(Path(path).resolve()), work=Path(path) / WORK_FOLDER)

    @property
    def store(self) -> StoreLike:
        """The image as Zarr opens it."""
        return as_store(self.address)

    @property
    def name(self) -> str:
        """Name of the image, without its ending."""
        return Path(self.address.rsplit("/", 1)[-1]).stem

    def prepare(self, *, resume: bool, overwrite: bool) -> None:
        """Make room for the image, or refuse to.

        Raises
        ------
        OutputExistsError
            Something is there and neither was asked for, or it is no image.
        ResumeError
            There is nothing to go on with.
        """
        if resume and overwrite:
            raise UsageError(
                "--resume goes on with an output and --overwrite replaces it; give one"
            )
        begun = self.work.exists()
        if self._is_image(begun=begun):
            if overwrite:
                if begun:
                    Run.open(self.work, resume=True).close()  # refused while one is at work
                self.remove()
            elif not resume:
                raise OutputExistsError(
                    f"{self.address} exists; give another name, --overwrite to replace it, or "
                    "--resume to go on with a conversion that was cut short"
                )
            elif not begun:
                raise ResumeError(
                    f"{self.address} is finished or was not made by distres convert"
                    + (f" from this folder, which lacks {self.work}" if self._remote else "")
                )
        if not self._remote:
            Path(self.address).mkdir(parents=True, exist_ok=True)

    @property
    def _remote(self) -> bool:
        return is_object_address(self.address)

    def _is_image(self, *, begun: bool) -> bool:
        """Tell whether an image lies here; refuse anything else, which is never removed."""
        folder = Path(self.address)
        there = has_node(self.address) if self._remote else folder.exists()
        if not there:
            if self._remote and not begun and not is_vacant(self.address):
                raise OutputExistsError(
                    f"{self.address} holds objects that are no Zarr image; give another place"
                )
            return False
        if not self._remote and not (folder.is_dir() and is_zarr(self.address)):
            raise OutputExistsError(f"{folder} exists and is no Zarr folder; give another name")
        return True

    def open_run(self) -> Run:
        """Open the run that fills the image; its own arrays lie beside the image's."""
        store = f"{self.address}/{WORK_FOLDER}" if self._remote else None
        return Run.open(self.work, resume=True, store=store)

    def finish(self) -> None:
        """Remove what only the conversion needed."""
        if self._remote:
            remove_all(f"{self.address}/{WORK_FOLDER}")
        shutil.rmtree(self.work)

    def remove(self) -> None:
        """Remove the image, whole or in part."""
        if self._remote:
            remove_all(self.address)
            shutil.rmtree(self.work, ignore_errors=True)
        else:
            shutil.rmtree(self.address)
