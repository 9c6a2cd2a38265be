import base64
from pathlib import Path

import pytest

from service.config.development import default_data_dir
from service.config.environment import SettingsInvalid
from service.config.settings import BY_VARIABLE, Settings, table

SECRET = "s" * 32
KEY = base64.b64encode(bytes(range(32))).decode()


def problems(**environ: str) -> tuple[str, ...]:
    with pytest.raises(SettingsInvalid) as caught:
        Settings.from_env(environ)
    return caught.value.problems


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    settings = Settings.from_env({})

    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert (settings.ping_interval, settings.ping_timeout) == (25.0, 20.0)
    assert settings.keep_alive == 75.0
    assert (settings.max_content, settings.max_frame, settings.max_outbox) == (10_000, 131_072, 1_048_576)
    assert (settings.rate_per_second, settings.rate_burst) == (20, 40)
    assert settings.database_url == settings.redis_url == settings.jwt_secret == ""
    assert not settings.dev
    assert not settings.join_creates
    assert not settings.allow_unsafe_durability


def test_every_setting_is_read_from_its_variable() -> None:
    settings = Settings.from_env(
        {
            "ONRECORD_PORT": "9000",
            "ONRECORD_DATA_DIR": "elsewhere",
            "ONRECORD_REDIS_URL": "rediss://cache:6379/1",
            "ONRECORD_JWT_SECRET": SECRET,
            "ONRECORD_ORIGINS": "https://chat.example.com, http://localhost:3000",
            "ONRECORD_KEY_ENCRYPTION_KEY": KEY,
            "ONRECORD_PING_INTERVAL": "0.5",
            "ONRECORD_JOIN_CREATES": "yes",
            "HOME": "not ours",
        }
    )

    assert settings.port == 9000
    assert settings.data_dir == Path("elsewhere")
    assert settings.redis_url == "rediss://cache:6379/1"
    assert settings.origins == ("https://chat.example.com", "http://localhost:3000")
    assert settings.key_encryption_key == bytes(range(32))
    assert settings.ping_interval == 0.5
    assert settings.join_creates


def test_origins_have_the_form_that_browsers_send() -> None:
    listed = "HTTPS://Chat.example.com:443, http://a.example:80,http://b.example:443,https://c.example:80,http://[::1]:80"
    origins = Settings.from_env({"ONRECORD_ORIGINS": listed}).origins
    assert origins == (
        "https://chat.example.com", "http://a.example", "http://b.example:443", "https://c.example:80", "http://[::1]"
    )  # fmt: skip


def test_the_environment_is_stronger_than_a_commands_defaults() -> None:
    environ = {"ONRECORD_JOIN_CREATES": "false"}

    assert not Settings.from_env(environ, join_creates=True).join_creates
    assert Settings.from_env({}, join_creates=True).join_creates


def test_a_variable_set_to_nothing_counts_as_not_set() -> None:
    assert Settings.from_env({"ONRECORD_JWT_ISSUER": "", "ONRECORD_PORT": " "}).port == 8000


def test_an_unknown_variable_is_an_error_that_names_the_closest_setting() -> None:
    (problem,) = problems(ONRECORD_DATABSE_URL="postgresql://h/db")

    assert problem == "ONRECORD_DATABSE_URL is not a setting; did you mean ONRECORD_DATABASE_URL?"


def test_dev_mode_cannot_be_reached_from_the_environment() -> None:
    assert len(problems(ONRECORD_DEV="1")) == 1
    assert len(problems(ONRECORD_DEMO="1")) == 1


def test_all_problems_are_reported_at_once() -> None:
    assert len(problems(ONRECORD_PORT="high", ONRECORD_POOL_SIZE="0", ONRECORD_NOPE="1")) == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("PORT", "8 000"),
        ("PING_INTERVAL", "0"),
        ("PING_INTERVAL", "nan"),
        ("PING_TIMEOUT", "-3"),
        ("JOIN_CREATES", "perhaps"),
        ("DATABASE_URL", "mysql://host/db"),
        ("DATABASE_URL", "postgresql://"),
        ("REDIS_URL", "host:6379"),
        ("ORIGINS", "https://chat.example.com/path"),
        ("ORIGINS", "https://chat.example.com/"),
        ("ORIGINS", "*"),
        ("ORIGINS", "null"),
        ("TRUSTED_PROXIES", "*"),
        ("TRUSTED_PROXIES", "0.0.0.0/0"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("TRUSTED_PROXIES", "balancer"),
        ("TRUSTED_PROXIES", ","),
        ("MAX_FRAME", "12"),
        ("RATE_PER_SECOND", "2.5"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_and_shown_unless_secret(name: str, value: str) -> None:
    (problem,) = problems(**{f"ONRECORD_{name}": value})

    assert problem.startswith(f"ONRECORD_{name} has to be ")
    assert (f"{value!r}" in problem) is not BY_VARIABLE[f"ONRECORD_{name}"].metadata["secret"]


@pytest.mark.parametrize("name", ["JWT_SECRET", "KEY_ENCRYPTION_KEY"])
def test_a_secret_that_cannot_be_used_is_refused_without_showing_it(name: str) -> None:
    (problem,) = problems(**{f"ONRECORD_{name}": "hunter2"})

    assert "hunter2" not in problem


def test_secrets_appear_neither_in_the_table_nor_in_the_repr() -> None:
    settings = Settings.from_env(
        {
            "ONRECORD_DATABASE_URL": "postgresql://someone:hunter2@db.internal:5432/chat?sslcert=hunter2",
            "ONRECORD_REDIS_URL": "redis://:hunter2@cache:6379/0",
            "ONRECORD_JWT_SECRET": "hunter2" * 5,
            "ONRECORD_KEY_ENCRYPTION_KEY": KEY,
        }
    )
    shown = table(settings)

    assert "hunter2" not in shown + repr(settings)
    assert KEY not in shown + repr(settings)
    assert "postgresql://db.internal:5432/chat" in shown


def test_the_table_shows_every_setting_with_its_meaning() -> None:
    header, *rows = table(Settings.from_env({})).splitlines()

    assert header.split() == ["setting", "value", "default", "meaning"]
    assert [row.split()[0] for row in rows] == list(BY_VARIABLE)
    assert all(BY_VARIABLE[row.split()[0]].metadata["meaning"] in row for row in rows)


def test_naming_the_database_alone_migrates_that_one_too() -> None:
    lent = {"database_url": "postgresql://lent/db", "migrate_database_url": "postgresql://lent/db"}
    settings = Settings.from_env({"ONRECORD_DATABASE_URL": "postgresql://own/db"}, **lent)

    assert settings.migrate_database_url == "postgresql://own/db"


def test_what_a_command_needs_and_nobody_set_is_named() -> None:
    settings = Settings.from_env({"ONRECORD_REDIS_URL": "redis://cache"})

    assert settings.missing("redis_url", "database_url") == ("ONRECORD_DATABASE_URL",)


def test_each_node_names_itself() -> None:
    assert Settings.from_env({}).node != Settings.from_env({}).node
    assert Settings.from_env({"ONRECORD_NODE": "n1"}).node == "n1"


def test_roots_data_is_kept_where_a_system_user_can_reach_it() -> None:
    here = Path("/root/checkout")

    assert default_data_dir(1000, here) == Path(".onrecord")
    assert default_data_dir(0, here).parent == Path("/var/tmp")  # noqa: S108
    assert default_data_dir(0, here) == default_data_dir(0, here)
    assert default_data_dir(0, here) != default_data_dir(0, Path("/root/other"))


def test_key_encryption_keys_are_read_in_order_from_environment_or_files(
    tmp_path: Path,
) -> None:
    file = tmp_path / "old key"
    file.write_text(KEY + "\n")
    other = base64.b64encode(bytes(32)).decode()
    read = Settings.from_env({"ONRECORD_KEY_ENCRYPTION_KEY": f"{other}, file:{file}"})
    assert read.key_encryption_key == bytes(32) + bytes(range(32))
    with pytest.raises(SettingsInvalid) as wrong:
        Settings.from_env({"ONRECORD_KEY_ENCRYPTION_KEY": f"file:{tmp_path / 'nowhere'}"})
    assert "cannot be read" in str(wrong.value)


def test_the_slash_at_the_end_of_an_origin_is_named() -> None:
    with pytest.raises(SettingsInvalid, match="without the slash at the end"):
        Settings.from_env({"ONRECORD_ORIGINS": "https://chat.example.com/"})
