"""No secret of an address and no escape sequence reaches a person, a file or a log."""

import logging
import sys

import pytest

from mimicmotion.errors import ConfigError, InputError, RejectedItem
from mimicmotion.redaction import CleanRecord, is_secret_name, printable, redacted

SECRET = "hunter2"
WITH_SECRETS = [
    f"postgresql://user:{SECRET}@host:5432/db",
    f"postgresql://user:a/{SECRET}@host/db",
    f"postgresql://user:{SECRET}/a@host/db",
    f"postgresql://user:a@{SECRET}@host/db",
    f"postgresql://user:a@b/{SECRET}@host/db",
    f"postgresql://user:12/{SECRET}@host/db",
    f"postgresql://user:a?{SECRET}@host/db",
    f"postgresql://user:a#{SECRET}@host/db",
    f"postgresql://user:a b {SECRET}@host/db",
    f"mysql://user:{SECRET}%2F%40@host/db",
    f"redis://:{SECRET}@host:6379/0",
    f"HTTPS://{SECRET}@host/x",
    f"https://host/x?sig={SECRET}&sv=1",
    f"https://host/x?sv=1;pwd={SECRET}",
    f"https://host/x?TOKEN={SECRET}#page",
    f"https://host/back#access_token={SECRET}",
    f"https://host/x?{SECRET}",
    f"s3://key:{SECRET}@bucket/x?endpoint_override=host:9000&scheme=http",
    f"s3://bucket/host?access_key=a&secret_key={SECRET}",
    f"https://host/x?X-Amz-Credential=a&X-Amz-Signature={SECRET}",
    f"https://host/x?next=https://user:{SECRET}@other",
    f"mssql+pyodbc://host/?odbc_connect=DRIVER%3D1%3BPWD%3D{SECRET}",
    f"jdbc:sqlserver://host:1433;user=u;password={SECRET}",
    f"Server=host;Database=d;Pwd={SECRET}",
    f"host=host user=u password='a {SECRET}'",
    f"host: AccountName=a;AccountKey={SECRET}==",
    f"host said no to Authorization: Basic {SECRET}",
    f"host said no to Bearer {SECRET}abcdef",
    f'host took {{"api_key": "{SECRET}"}}',
    f"host got Cookie: a={SECRET}; b=1",
    f"https://host/x;jsessionid={SECRET}",
    f"host said no to curl -u me:{SECRET}",
    f"client --host host --password {SECRET}",
    f"client --host host --api-key '{SECRET} b'",
]


@pytest.mark.parametrize("text", WITH_SECRETS)
def test_secrets_are_hidden_and_the_rest_is_shown(text: str) -> None:
    for whole in (text, f"cannot reach '{text}', try again", f"{text}: refused\nand {text}"):
        shown = redacted(whole)
        assert SECRET not in shown
        assert "***" in shown
        assert SECRET not in redacted(shown)
    assert "host" in redacted(text).lower() or "odbc" in text or "sqlserver" in text


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:5000/#/experiments/1/runs/abc",
        "http://127.0.0.1:4200/api: Connection refused",
        "http://[::1]:5000/x",
        "(see https://host/a/b, or me@host)",
        "s3://bucket/folder@2/film.mp4",
        "s3://bucket/x?endpoint_override=host:9000&scheme=http&region=here",
        "sqlite:////a/b/mlflow.db",
        "models:/mimicmotion@champion",
        "keypoint_threshold=0.3, sigma=0.5, num_tokens=7; train.seed=1",
        "reads pose, but there is no section pose.",
        "two-pass: 12 frames",
        "Unexpected token: x",
        "give --password or a file; ssh -u",
    ],
)
def test_what_holds_no_secret_stays(text: str) -> None:
    assert redacted(text) == text


def test_names_of_secrets() -> None:
    for name in (
        "HF_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "DB_PASS",
        "PGPASSWORD",
        "GITHUB_PAT",
        "api-key",
        "pwd",
    ):
        assert is_secret_name(name), name
    for name in ("A", "keypoint_threshold", "author", "sigma", "path", "num_keys"):
        assert not is_secret_name(name), name


def test_errors_are_clean_and_a_name_stays_on_its_line() -> None:
    name = "a\x1b[31m\nerror all is lost\x9b.mp4"
    shown = str(InputError(f"{name} cannot be read", f"nor http://u:{SECRET}@host"))
    assert shown == r"a\x1b[31m\nerror all is lost\x9b.mp4 cannot be read" + "\nnor http://***@host"
    assert str(ConfigError(["one\r", "two"])) == "one\\r\ntwo"
    rejected = RejectedItem("odd", f"{name}: sig={SECRET}")
    assert rejected.sentence == r"a\x1b[31m\nerror all is lost\x9b.mp4: sig=***"
    assert str(rejected) == f"odd: {rejected.sentence}"


def test_names_in_any_script_stay() -> None:
    assert printable("Zoë 舞 \N{DANCER} - 1.mp4") == "Zoë 舞 \N{DANCER} - 1.mp4"
    assert printable("left\N{RIGHT-TO-LEFT OVERRIDE}gpm.4\udcff") == "left\\u202egpm.4\\udcff"


def test_lines_of_logs_are_clean_with_their_tracebacks() -> None:
    try:
        raise OSError(f"http://u:{SECRET}@host \x1b[2J")
    except OSError:
        failure = sys.exc_info()
    address = f"http://u:{SECRET}@host"
    record = CleanRecord("stages", logging.ERROR, "x.py", 1, "of %s:\n%s", ("a\nb\x1b", address), failure)
    line = logging.Formatter("%(levelname)s %(message)s").format(record)
    first, second, *trace = line.split("\n")
    assert [first, second] == [r"ERROR of a\nb\x1b:", "http://***@host"]
    assert trace[-1] == r"OSError: http://***@host \x1b[2J"
    named = CleanRecord("x", logging.INFO, "x.py", 1, "%(a)s", ({"a": f"token={SECRET}"},), None)
    assert named.getMessage() == "token=***"
