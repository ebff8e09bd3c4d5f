"""Stored voxels that cannot be read back: said in one sentence, with place and remedy."""

from collections.abc import Iterator
from contextlib import contextmanager

from zarr.codecs import BloscCodec, Crc32cCodec

from distres.errors import DistresError

# A checksum behind the compressed bytes of every chunk: a flipped bit is found when it is read.
CHECKED = (BloscCodec(cname="lz4", clevel=3, shuffle="shuffle"), Crc32cCodec())
# What codecs raise for bytes that are not theirs.
_DAMAGE = (ValueError, RuntimeError, TypeError, IndexError, EOFError, AssertionError)


@contextmanager
def readable(
    what: str, region: tuple[slice, ...], *, remedy: str, error: type[DistresError]
) -> Iterator[None]:
    """Turn what a codec raises into a sentence.

    Parameters
    ----------
    what
        The array, as the user knows it.
    region
        (z, y, x) that was to be read.
    remedy
        What to do then.
    error
        What is raised.
    """
    try:
        yield
    except DistresError:
        raise
    except _DAMAGE as reason:
        place = ", ".join(
            f"{axis} {part.start}:{part.stop}"
            for axis, part in zip("zyx", region[-3:], strict=False)
        )
        said = first_line(reason)[:200]
        raise error(f"{what} is damaged within {place} ({said}); {remedy}") from reason


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its type when it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].strip()
