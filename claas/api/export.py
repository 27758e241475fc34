"""An adapter's directory as a zip, built and sent without holding it in memory."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import SpooledTemporaryFile
from zipfile import ZIP_STORED, ZipFile

from claas.core.errors import NotFound, StackError

PEFT_FILES = ("adapter_config.json", "adapter_model.safetensors")
"""What PEFT loads; whatever else an engine keeps beside them stays here."""

_IN_MEMORY_BYTES = 8 * 1024 * 1024
_CHUNK_BYTES = 256 * 1024


async def zipped(directory: Path) -> SpooledTemporaryFile[bytes]:
    """The adapter in `directory` as a zip in a temporary file, read from its beginning; closing it removes it."""
    return await asyncio.to_thread(_zip, directory)


async def chunks_of(archive: SpooledTemporaryFile[bytes]) -> AsyncIterator[bytes]:
    """The bytes of `archive`, which is closed when they were read or nobody reads on."""
    with archive:
        while chunk := await asyncio.to_thread(archive.read, _CHUNK_BYTES):
            yield chunk


def _zip(directory: Path) -> SpooledTemporaryFile[bytes]:
    archive: SpooledTemporaryFile[bytes] = SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 (the reader closes it)
    try:
        with ZipFile(archive, "w", ZIP_STORED) as file:  # weights do not compress
            for name in PEFT_FILES:
                file.write(directory / name, name)
    except FileNotFoundError as error:
        archive.close()
        raise NotFound("the adapter was deleted while it was being exported") from error
    except OSError as error:
        archive.close()
        raise StackError(f"cannot export the adapter: {error.strerror or error}") from error
    archive.seek(0)
    return archive
