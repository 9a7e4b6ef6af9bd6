"""Keys: what may be written for them, whose a secret is, and whose batches a caller may see."""

from dataclasses import replace
from hashlib import sha256
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import BadSetting, Settings, load_settings
from models.caller import ANYBODY, ApiKey, Caller, caller_of, read_keys
from tests.unit.test_batch_list import batch

SECRET, OTHER = "0123456789abcdef", "fedcba9876543210"
NAMES = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)
SECRETS = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=","), min_size=16
)


def key(name: str, secret: str) -> ApiKey:
    return ApiKey(name, sha256(secret.encode()).digest())


@pytest.mark.parametrize(
    "text",
    [
        f"north:{SECRET},south:{OTHER}",
        f" north:{SECRET} , south:{OTHER} ,",
        f"north:{SECRET}\nsouth:{OTHER}\n",
        f"north:{SECRET}\r\n\r\nsouth:{OTHER}\r\n",
    ],
)
def test_keys_are_separated_by_commas_or_lines(text: str):
    assert read_keys(text) == (key("north", SECRET), key("south", OTHER))


def test_a_secret_may_hold_colons():
    assert read_keys(f"north:{SECRET}:x") == (key("north", f"{SECRET}:x"),)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (" , ", "names no key"),
        ("\n", "names no key"),
        (SECRET, "must be name:secret"),
        (f":{SECRET}", "must be name:secret"),
        (f"the north:{SECRET}", "must be name:secret"),
        (f"{'n' * 65}:{SECRET}", "must be name:secret"),
        ("north:0123456789abcde", "the secret of north must have at least 16 characters"),
        ("north:0123456789 abcdef", "the secret of north must have"),
        ("north:0123456789abcdeé", "the secret of north must have"),
        (f"north:{SECRET},south:{SECRET}", "a secret stands there twice"),
        (f"north:{SECRET},north:{SECRET}", "a secret stands there twice"),
    ],
)
def test_what_cannot_be_right_is_refused_without_a_secret_in_the_reason(text: str, reason: str):
    with pytest.raises(ValueError, match=reason) as refused:
        read_keys(text)

    assert "0123456789" not in str(refused.value)


@given(NAMES, SECRETS)
def test_whoever_shows_a_secret_is_who_it_was_given_to(name: str, secret: str):
    caller = caller_of(secret.encode(), read_keys(f"{name}:{secret}"))

    assert caller == Caller(name, sees_all=name.startswith("admin"))


@given(SECRETS, st.binary())
def test_every_other_secret_is_nobodys(secret: str, shown: bytes):
    expected = Caller("north", sees_all=False) if shown == secret.encode() else None

    assert caller_of(shown, read_keys(f"north:{secret}")) == expected


def test_a_key_that_is_being_replaced_has_two_secrets():
    keys = read_keys(f"north:{SECRET},north:{OTHER}")

    assert caller_of(SECRET.encode(), keys) == caller_of(OTHER.encode(), keys)


@pytest.mark.parametrize(
    ("caller", "owner", "expected"),
    [
        (ANYBODY, None, True),
        (ANYBODY, "north", True),
        (Caller("admin", sees_all=True), "north", True),
        (Caller("admin", sees_all=True), None, True),
        (Caller("north", sees_all=False), "north", True),
        (Caller("north", sees_all=False), "south", False),
        (Caller("north", sees_all=False), "North", False),
        (Caller("north", sees_all=False), None, False),
    ],
)
def test_a_caller_sees_its_own_batches_and_an_admin_all(
    caller: Caller, owner: str | None, expected: bool
):
    theirs = replace(batch(UUID(int=1)), owner=owner)

    assert caller.may_see(theirs) is expected


class TestTheSettings:
    """From the environment and from a file."""

    @pytest.fixture(autouse=True)
    def bare(self, tmp_path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.chdir(tmp_path)
        for name in ("API_KEYS", "API_KEYS_FILE"):
            monkeypatch.delenv(name, raising=False)

    def test_keys_come_from_both(self, tmp_path, monkeypatch: pytest.MonkeyPatch):
        (tmp_path / "keys").write_text(f"south:{OTHER}\n")
        monkeypatch.setenv("API_KEYS", f"north:{SECRET}")
        monkeypatch.setenv("API_KEYS_FILE", "keys")

        assert load_settings().keys == (key("north", SECRET), key("south", OTHER))

    def test_no_secret_is_kept_where_it_could_be_shown(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("API_KEYS", f"north:{SECRET}")

        settings = load_settings()

        assert SECRET not in repr(settings)
        assert SECRET not in str(settings.model_dump())

    @pytest.mark.parametrize(
        ("name", "value", "reason"),
        [
            ("API_KEYS", "north:short", "the secret of north"),
            ("API_KEYS", ",", "names no key"),
            ("API_KEYS_FILE", "missing", "cannot be read"),
            ("API_KEYS_FILE", ".", "cannot be read"),
            ("API_KEYS_FILE", "empty", "names no key"),
            ("API_KEYS_FILE", "binary", "cannot be read"),
        ],
    )
    def test_what_cannot_be_right_stops_the_start(
        self, name: str, value: str, reason: str, tmp_path, monkeypatch: pytest.MonkeyPatch
    ):
        """An empty file must not open the service to anybody."""
        (tmp_path / "empty").touch()
        (tmp_path / "binary").write_bytes(b"\xff\xfe")
        monkeypatch.setenv(name, value)

        with pytest.raises(BadSetting, match=f"^{name} cannot be right: .*{reason}") as refused:
            load_settings()

        assert "short" not in str(refused.value)

    def test_a_secret_may_stand_in_one_place_only(self, tmp_path, monkeypatch: pytest.MonkeyPatch):
        (tmp_path / "keys").write_text(f"south:{SECRET}\n")
        monkeypatch.setenv("API_KEYS", f"north:{SECRET}")
        monkeypatch.setenv("API_KEYS_FILE", "keys")

        with pytest.raises(BadSetting, match="a secret stands there twice"):
            load_settings()

    def test_without_any_the_service_is_open(self):
        assert Settings(_env_file=None).keys == ()
