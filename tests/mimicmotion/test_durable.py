"""Files that outlive a power cut, on every file system."""

import errno
import os
import stat

import pytest

from mimicmotion.durable import write_file


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EIO])
def test_a_share_that_flushes_no_folder_still_keeps_files(tmp_path, monkeypatch, number):
    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    if number == errno.EIO:
        with pytest.raises(OSError, match="Input/output error"):
            write_file(tmp_path / "file", b"kept")
        return
    write_file(tmp_path / "file", b"kept")
    assert (tmp_path / "file").read_bytes() == b"kept"


def test_a_file_that_cannot_be_flushed_is_an_error(tmp_path, monkeypatch):
    def fsync(descriptor):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="Invalid argument"):
        write_file(tmp_path / "file", b"lost")
    assert not list(tmp_path.iterdir())
