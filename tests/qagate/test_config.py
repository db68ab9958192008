import tomllib
from pathlib import Path

import pytest

from qagate import config, config_template


def write(folder: Path, text: str) -> Path:
    path = folder / "qagate.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_template_is_valid_and_changes_nothing(tmp_path: Path) -> None:
    settings = config.load(write(tmp_path, config_template.template()))
    assert settings == config.load(write(tmp_path, ""))


def test_template_with_every_line_uncommented_is_valid(tmp_path: Path) -> None:
    lines = [line[1:] if line.startswith("#") and not line.startswith("# ") else line
             for line in config_template.template().splitlines()]  # fmt: skip
    values = tomllib.loads("\n".join(lines))
    settings = config.load(write(tmp_path, "\n".join(lines)))
    assert {"peer", "archive", "rule", "receiver"} <= set(values)
    assert settings.rule[0].region == "head"


def test_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QAGATE_RECEIVER__PORT", "4242")
    settings = config.load(write(tmp_path, "[receiver]\nport = 1\nae_title = 'GATE'\n"))
    assert (settings.receiver.port, settings.receiver.ae_title) == (4242, "GATE")


def test_data_dir_is_relative_to_the_file(tmp_path: Path) -> None:
    settings = config.load(write(tmp_path, "data_dir = 'here'"))
    assert settings.data_dir == tmp_path / "here"
    assert settings.store_url == f"sqlite:///{tmp_path / 'here' / 'qagate.db'}"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[receiver]\nprot = 1", "receiver.prot"),
        ("[receiver]\nport = 99999", "receiver.port"),
        ("[receiver]\nae_title = 'A TITLE THAT IS TOO LONG'", "receiver.ae_title"),
        ("[assembly]\nshort_quiet_s = 20.0", "short_quiet_s (20) is longer than long_quiet_s (10)"),
        ("[[peer]]\nae_title='CT1'\naddresses=['300.1.1.1']", "peer.0.addresses"),
        ("mode = 'forward'", "no [[archive]] takes images"),
        ("[[archive]]\nname='a'\nae_title='A'\nhost='h'\n" * 2, "two archives are named 'a'"),
        ("[[rule]]\nname='r'\nreview_below=0.2\nrepeat_below=0.4", "repeat_below (0.4) is above"),
        ("port = ", "not valid TOML"),
    ],
)
def test_bad_settings_are_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(config.ConfigError) as caught:
        config.load(write(tmp_path, text))
    assert named in str(caught.value)


def test_missing_file_names_the_mend(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match="qagate init"):
        config.load(tmp_path / "absent.toml")


def test_secret_values_stay_out_of_the_message(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError) as caught:
        config.load(write(tmp_path, "[alerts]\nurls = 'mailto://user:hunter2@example.org'"))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[baseline]\nwarm_up = 10\nrecent = 20\n", "warm_up"),
        ("[[rule]]\nname = 'a'\nreview_below = 0.5\nrepeat_below = 0.3\nreview_below_baseline = 4\n", "both"),
        (
            "[[rule]]\nname = 'a'\nreview_below = 0.5\nrepeat_below = 0.3\n"
            "review_below_baseline = 8\nrepeat_below_baseline = 4\n",
            "not less",
        ),
        ("[promotion]\nmax_changed = 2\n", "max_changed"),
    ],
)
def test_contradictions_of_baselines_and_promotions_are_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "qagate.toml"
    path.write_text(text)
    with pytest.raises(config.ConfigError, match=said):
        config.load(path)
