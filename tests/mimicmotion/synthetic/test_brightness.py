"""What brightness is worth: every kind is generated from the same places."""

import re

from mimicmotion.pose.calibration import PARTS, Calibration, Curve
from mimicmotion.synthetic import brightness


def test_every_kind_of_brightness_is_scored(tmp_path, monkeypatch, capsys):
    line = Curve((0.0, 1.0), (0.001, 0.3))
    Calibration("ab" * 32, dict.fromkeys(PARTS, line)).write(tmp_path / "c.json")
    options = ["--films", "2", "--steps", "1"]
    monkeypatch.setattr("sys.argv", ["brightness", str(tmp_path / "c.json"), *options])
    brightness.main()
    scores = dict(re.findall(r"^(\w+): ([\d.]+) dB", capsys.readouterr().out, re.MULTILINE))
    assert [*scores] == ["raw", "full", "calibrated", "oracle", "shuffled"]
    assert len({*scores.values()}) > 2
