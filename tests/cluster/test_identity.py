from __future__ import annotations

from pathlib import Path

import pytest

from lbkit.cluster.identity import Identity
from lbkit.errors import StartFailed


def test_it_is_kept_for_its_owner_only(tmp_path: Path) -> None:
    assert Identity.load(tmp_path) is None
    identity = Identity("mariadb", ports={"mysql1": 7})
    identity.save(tmp_path)
    identity.save(tmp_path)
    assert Identity.load(tmp_path) == identity
    assert (tmp_path / "cluster.json").stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["cluster.json"]


def test_passwords_are_random() -> None:
    first, second = Identity("mysql"), Identity("mysql")
    words = [*vars_of(first), *vars_of(second)]
    assert len(set(words)) == len(words)
    assert all(len(word) >= 20 for word in words)


def vars_of(identity: Identity) -> list[str]:
    accounts = identity.accounts
    return [accounts.root, accounts.admin, accounts.replication, accounts.application]


@pytest.mark.parametrize("text", ["", "{}", '{"flavour": "mysql"}', "[]", '{"unknown": 1, "accounts": {}}'])
def test_a_damaged_file_is_one_clear_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "cluster.json").write_text(text)
    with pytest.raises(StartFailed, match=r"cannot read .*cluster\.json"):
        Identity.load(tmp_path)
