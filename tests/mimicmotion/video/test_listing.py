"""Folders, stores and lists of source videos."""

import json
import os
from pathlib import Path
from unicodedata import normalize

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mimicmotion.errors import InputError
from mimicmotion.video import listing as listing_module
from mimicmotion.video.listing import list_videos


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(path.name.encode())


def test_folder_is_searched_through_and_sorted(tmp_path: Path) -> None:
    names = ["b.mp4", "a/z.MOV", "a/y.mkv", "notes.txt", "._b.mp4", "a/poses.parquet"]
    touch(*(tmp_path / name for name in names))
    listing = list_videos(str(tmp_path))
    assert [video.name for video in listing.videos] == ["a/y.mkv", "a/z.MOV", "b.mp4"]
    assert Path(listing.videos[0].location) == tmp_path / "a/y.mkv"
    assert listing.num_ignored == 3


def test_folders_named_train_and_test_decide_the_split(tmp_path: Path) -> None:
    names = ["a.mp4", "other/test/b.mp4", "test/c.mp4", "train/deep/d.mp4"]
    touch(*(tmp_path / name for name in names))
    for source in (str(tmp_path), tmp_path.as_uri()):
        videos = list_videos(source).videos
        assert [(video.name, video.split) for video in videos] == list(
            zip(names, [None, "test", "test", "train"], strict=True)
        )


def test_no_fact_is_asked_of_a_file_and_a_folder_is_named_once(tmp_path: Path, monkeypatch) -> None:
    touch(*(tmp_path / "train" / f"dancer {number % 3}" / f"{number}.mp4" for number in range(30)))
    asked, told = list[Path](), list[tuple[str, ...]]()
    stat, split = Path.stat, listing_module.split_of_folders
    monkeypatch.setattr(Path, "stat", lambda path, **how: [asked.append(path), stat(path, **how)][1])
    monkeypatch.setattr(listing_module, "split_of_folders", lambda way: [told.append(way), split(way)][1])
    videos = list_videos(str(tmp_path)).videos
    assert {(video.split, video.group) for video in videos} == {("train", f"dancer {n}") for n in range(3)}
    assert {*asked} <= {tmp_path}
    assert sorted(told) == [("train", f"dancer {n}") for n in range(3)]


def test_missing_and_empty_sources(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no folder or list of source videos at .*/missing"):
        list_videos(str(tmp_path / "missing"))
    touch(tmp_path / "notes.txt")
    with pytest.raises(InputError, match=r"no video in .*only 1 other files \(1 \.txt\); read are \.3gp"):
        list_videos(str(tmp_path))
    with pytest.raises(InputError, match="neither a folder nor a list"):
        list_videos(str(tmp_path / "notes.txt"))


def test_links_that_lead_out_are_refused(tmp_path: Path) -> None:
    touch(tmp_path / "outside/v.mp4", tmp_path / "in/a.mp4", tmp_path / "in/sub/b.mp4")
    (tmp_path / "in/inner.mp4").symlink_to(tmp_path / "in/a.mp4")
    (tmp_path / "in/folder").symlink_to(tmp_path / "in/sub")
    assert [video.name for video in list_videos(str(tmp_path / "in")).videos] == [
        "a.mp4",
        "inner.mp4",
        "sub/b.mp4",
    ]
    (tmp_path / "in/out.mp4").symlink_to(tmp_path / "outside/v.mp4")
    (tmp_path / "in/away").symlink_to(tmp_path / "outside")
    with pytest.raises(InputError, match=r"2 links in .* lead out of it: away -> .*; out.mp4 -> "):
        list_videos(str(tmp_path / "in"))


def test_links_that_lead_nowhere_are_named_and_pipes_are_not_opened(tmp_path: Path) -> None:
    touch(tmp_path / "a.mp4")
    (tmp_path / "dead.mp4").symlink_to(tmp_path / "gone.mp4")
    (tmp_path / "self.mp4").symlink_to("self.mp4")
    (tmp_path / "circle").symlink_to("circle")
    os.mkfifo(tmp_path / "pipe.mp4")
    listing = list_videos(str(tmp_path))
    assert [video.name for video in listing.videos] == ["a.mp4", "dead.mp4", "self.mp4"]
    assert listing.num_ignored == 2


@pytest.mark.usefixtures("closed_folders")
def test_a_folder_that_cannot_be_searched_is_named(tmp_path: Path) -> None:
    touch(tmp_path / "a.mp4", tmp_path / "closed/b.mp4")
    with pytest.raises(InputError, match=r"closed: cannot be searched for videos \(Permission denied\)"):
        list_videos(str(tmp_path))


ROWS = [
    {"path": "v/b.mp4", "split": "test", "id": "007"},
    {"path": "v/a.mp4", "split": "train", "id": "x"},
    {"path": "v/c.bin", "split": None, "id": None},
]


def write_list(path: Path) -> Path:
    if path.suffix == ".csv":
        lines = [
            "path,split,id,note",
            *(",".join([*(value or "" for value in row.values()), "n"]) for row in ROWS),
        ]
        path.write_text("\n".join(lines) + "\n")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_lists(tmp_path: Path, suffix: str) -> None:
    touch(*(tmp_path / str(row["path"]) for row in ROWS))
    videos = list_videos(str(write_list(tmp_path / f"list{suffix}"))).videos
    assert [(video.name, video.split, video.given_id) for video in videos] == [
        ("v/b.mp4", "test", "007"),
        ("v/a.mp4", "train", "x"),
        ("v/c.bin", None, None),
    ]
    assert Path(videos[0].location).read_bytes() == b"b.mp4"


def test_all_problems_of_a_list_at_once(tmp_path: Path) -> None:
    touch(tmp_path / "a.mp4", tmp_path / "b.mp4")
    lines = [
        "path,split,id",
        "a.mp4,train,1",
        "gone.mp4,,2",
        "b.mp4,dance,1",
        ",,",
        "a.mp4,,",
        "s3://b/c.mp4,,",
    ]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    with pytest.raises(InputError) as caught:
        list_videos(str(tmp_path / "list.csv"))
    message = str(caught.value)
    assert "6 problems" in message
    for part in (
        "row 2: there is no file",
        "row 3: split is 'dance', allowed: train, val, test or nothing",
        "row 3: id 1 is that of row 1 too",
        "row 4: path is empty",
        "a.mp4 is that of row 1 too",
        "row 6: s3://b/c.mp4 is a URI",
    ):
        assert part in message


def test_lists_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("file,split\na.mp4,train\n")
    with pytest.raises(InputError, match="has no column path; it has file, split"):
        list_videos(str(tmp_path / "list.csv"))
    (tmp_path / "list.csv").write_text("")
    with pytest.raises(InputError, match="is empty"):
        list_videos(str(tmp_path / "list.csv"))
    (tmp_path / "list.csv").write_text("path,split\na.mp4,train,1\n")
    with pytest.raises(InputError, match="row 2 has 3 cells, but there are 2 columns"):
        list_videos(str(tmp_path / "list.csv"))
    (tmp_path / "list.csv").write_text("path\n")
    with pytest.raises(InputError, match="lists no video"):
        list_videos(str(tmp_path / "list.csv"))
    (tmp_path / "list.parquet").write_text("no parquet")
    with pytest.raises(InputError, match="cannot be read as a list"):
        list_videos(str(tmp_path / "list.parquet"))


def test_stores_are_listed_by_their_uri(tmp_path: Path) -> None:
    touch(tmp_path / "b.mp4", tmp_path / "sub/a.mov", tmp_path / "readme.md")
    listing = list_videos(f"file://{tmp_path}")
    assert [(video.name, video.size_bytes) for video in listing.videos] == [("b.mp4", 5), ("sub/a.mov", 5)]
    assert listing.videos[0].location == f"file://{tmp_path}/b.mp4"
    assert not listing.videos[0].is_local
    assert listing.num_ignored == 1
    with pytest.raises(InputError, match="cannot be listed"):
        list_videos(f"file://{tmp_path}/missing")


def splits(source: object) -> dict[str, str | None]:
    return {video.name: video.split for video in list_videos(str(source)).videos}


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        *(("Train", "train"), (" test ", "test"), ("TRAINING", "train"), ("testing", "test")),
        *(
            ("Validation", "val"),
            ("valid", "val"),
            (" VAL set", "val"),
            ("val_clips", "val"),
            ("Tests", "test"),
        ),
        *(("train_720p", "train"), ("test-hd", "test"), ("train_v2", "train"), ("TestFinal", "test")),
        *(("train_mp4", "train"), ("test_576x1024_30fps", "test"), ("val4k", None), ("p1_test", None)),
        *(("train_set", "train"), ("test videos", "test"), ("dances/train", "train"), ("train/01", "train")),
        *(
            ("ｔｒａｉｎ", "train"),
            ("contest", None),
            ("trainers", None),
            ("my tests", None),
            ("videos", None),
        ),
    ],
)
def test_a_folder_that_nearly_names_a_split_is_taken(tmp_path: Path, folder: str, split: str | None) -> None:
    touch(tmp_path / folder / "a.mp4", tmp_path / "b.mp4")
    for source in (tmp_path, tmp_path.as_uri()):
        assert splits(source) == {f"{folder}/a.mp4": split, "b.mp4": None}


@pytest.mark.parametrize(
    "folder", ["eval", "Evaluation set", "Hold-out", "held_out", "dev set", "train/val", "train/test"]
)
def test_a_folder_that_names_another_split_is_refused_by_name(tmp_path: Path, folder: str) -> None:
    touch(tmp_path / folder / "a.mp4", tmp_path / "b.mp4")
    for source in (tmp_path, tmp_path.as_uri()):
        with pytest.raises(InputError, match=f"{folder.split('/')[-1]}.*name.* in a list|{folder}"):
            list_videos(str(source))


@pytest.mark.parametrize(
    ("folders", "named"),
    [
        (("tiktok_test", "tiktok_train"), ("tiktok_test", "tiktok_train")),
        (("dancers-train", "test"), ("dancers-train",)),
        (("films/trainA", "films/testA"), ("films/testA", "films/trainA")),
        (("trainA", "trainB"), ()),
        (("train/test drive", "test/train ride"), ()),
    ],
)
def test_a_split_among_other_words_beside_another_is_refused_by_name(tmp_path: Path, folders, named) -> None:
    touch(*(tmp_path / "films" / folder / "a.mp4" for folder in folders))
    (tmp_path / "list.csv").write_text("path\n" + "".join(f"films/{folder}/a.mp4\n" for folder in folders))
    for source in (tmp_path / "films", (tmp_path / "films").as_uri(), tmp_path / "list.csv"):
        if not named:
            list_videos(str(source))
            continue
        with pytest.raises(InputError, match=r"nearly|problems") as caught:
            list_videos(str(source))
        lines = str(caught.value).splitlines()
        assert all(any(f"{folder}: it names a split among" in line for line in lines[1:]) for folder in named)


def test_hidden_files_and_folders_hold_no_videos(tmp_path: Path) -> None:
    hidden = ("._a.mp4", ".trash/b.mp4", "__MACOSX/c.mp4", "deep/.cache/d/e.mp4", "Thumbs.db")
    touch(tmp_path / ".home" / "a.mp4", *(tmp_path / ".home" / name for name in hidden))
    for source in (tmp_path / ".home", (tmp_path / ".home").as_uri()):
        listing = list_videos(str(source))
        assert [video.name for video in listing.videos] == ["a.mp4"]
        assert listing.ignored == {"hidden": 5}


def test_what_is_not_read_is_named_with_what_is(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("a.mp4", "b.gif", "c.GIF", "d.heic", "README")))
    said = list_videos(str(tmp_path)).passed_over()
    assert said.startswith("4 other files (2 .gif, 1 .heic, 1 without suffix); read are .3gp, .avi")


TEXT = "Path;Split ;ID\na.mp4;Train;007\nb.mp4;;\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-mark"])
@pytest.mark.parametrize("mark", [";", ",", "\t"])
def test_lists_as_office_programs_save_them(tmp_path: Path, encoding: str, mark: str) -> None:
    touch(tmp_path / "a.mp4", tmp_path / "b.mp4")
    text = TEXT.replace(";", mark).replace("\n", "\r\n")
    content = (
        b"\xff\xfe" + text.encode("utf-16-le") if encoding == "utf-16-le-mark" else text.encode(encoding)
    )
    (tmp_path / "list.csv").write_bytes(content)
    videos = list_videos(str(tmp_path / "list.csv")).videos
    assert [(video.name, video.split, video.given_id) for video in videos] == [
        ("a.mp4", "train", "007"),
        ("b.mp4", None, None),
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("path,split\nä.mp4,train\n".encode("latin-1"), "not UTF-8: its line 2 holds the byte 0xe4"),
        ("path\na.mp4\n".encode("utf-16-le"), "zero bytes"),
        (b"path,Path\na.mp4,a.mp4\n", "2 columns called path"),
        (b"path,subset\na.mp4,train\n", "the column subset holds train.*rename it"),
        (b"path,Fold\na.mp4,\na.mp4,val\n", "the column fold holds val"),
        (b"path,part\na.mp4,tiktok train\na.mp4,tiktok_test\n", "the column part holds tiktok"),
        (b"path,split\na.mp4,dance\n", "split is 'dance', allowed"),
        (b"path\neval/a.mp4\n", "row 1: eval/a.mp4: 'eval' is no split"),
    ],
)
def test_a_list_is_refused_by_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    touch(tmp_path / "a.mp4", tmp_path / "eval/a.mp4")
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(InputError, match=reason):
        list_videos(str(tmp_path / "list.csv"))


def test_a_list_without_splits_takes_those_of_its_folders(tmp_path: Path) -> None:
    touch(tmp_path / "Train/a.mp4", tmp_path / "x/b.mp4")
    (tmp_path / "list.csv").write_text("path\nTrain/a.mp4\nx/b.mp4\n")
    assert splits(tmp_path / "list.csv") == {"Train/a.mp4": "train", "x/b.mp4": None}
    (tmp_path / "list.jsonl").write_text('{"PATH": "Train/a.mp4", "split": null}\n')
    assert splits(tmp_path / "list.jsonl") == {"Train/a.mp4": None}


@pytest.mark.parametrize(("listed", "stored"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_unicode_forms_of_a_name_are_equal(tmp_path: Path, listed: str, stored: str) -> None:
    touch(tmp_path / normalize(stored, "Töne/für.mp4"))
    (tmp_path / "list.csv").write_text(f"path\n{normalize(listed, 'Töne/für.mp4')}\n")
    (video,) = list_videos(str(tmp_path / "list.csv")).videos
    assert Path(video.location).read_bytes()


def test_folders_above_the_listed_films_mean_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "dev" / "test"
    names = ("train/anna/1.mp4", "ben/2.mp4")
    touch(*(home / "films" / name for name in names), home / "lists/test/cleo/3.mp4")
    monkeypatch.setenv("HOME", str(home))
    for before in (f"{home}/films", "~/films", "../films", "./../lists/../films"):
        lines = ["path", *(f"{before}/{name}" for name in names), "test/cleo/3.mp4"]
        (home / "lists/list.csv").write_text("\n".join(lines))
        videos = list_videos(str(home / "lists/list.csv")).videos
        assert [(video.split, video.group) for video in videos] == [
            ("train", "anna"),
            (None, "ben"),
            ("test", "cleo"),
        ]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_a_column_of_splits_by_another_name_is_told_whatever_its_type(tmp_path: Path, kind) -> None:
    touch(tmp_path / "a.mp4", tmp_path / "b.mp4")
    table = pa.table({"path": ["a.mp4", "b.mp4"], "fold": pa.array(["train", "test"]).cast(kind)})
    pq.write_table(table.append_column("tags", pa.array([["train"], []])), tmp_path / "list.parquet")
    with pytest.raises(InputError, match="the column fold holds train, test"):
        list_videos(str(tmp_path / "list.parquet"))


def test_a_date_is_a_name_like_another(tmp_path: Path) -> None:
    touch(tmp_path / "2024-01-01")
    (tmp_path / "list.jsonl").write_text('{"path": "2024-01-01", "id": "2024-01-01T08:00:00", "group": 7}\n')
    (video,) = list_videos(str(tmp_path / "list.jsonl")).videos
    assert (video.name, video.given_id, video.group) == ("2024-01-01", "2024-01-01T08:00:00", "7")
