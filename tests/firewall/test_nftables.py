from __future__ import annotations

import pytest

from lbkit.firewall import FirewallSettings, Network, NetworkTable, Rate, Rule
from lbkit.firewall.nftables import Port, ruleset


def port(host: str = "0.0.0.0", name: str = "web", why_not: str = "", **settings: object) -> Port:
    return Port(name, host, 8080, FirewallSettings(**settings), why_not)  # type: ignore[arg-type]


def denying(*texts: str, allow: tuple[str, ...] = ()) -> NetworkTable:
    return NetworkTable([Network.parse(text) for text in allow], [Network.parse(text) for text in texts])


def lines(*ports: Port, table: str = "lbkit") -> list[str]:
    return [line.strip() for line in ruleset(ports, table).splitlines()]


def test_the_whole_of_a_small_one() -> None:
    wall = port(networks=denying("192.0.2.0/24", "198.51.100.7"), connection_rate=Rate.parse("10/s burst 5"))
    assert ruleset([wall], origin="lbkit.toml") == (
        """\
# The firewall of lbkit as in lbkit.toml, for nftables: nft -f FILE
# It replaces the table as a whole; who was banned or counted then begins anew.
table inet lbkit
delete table inet lbkit
table inet lbkit {
	# listener web, port 8080
	# who comes when 65536 clients are known is limited by lbkit alone
	# first packets count here, whose sender may be forged; lbkit counts made connections
	set l_web_denied4 {
		type ipv4_addr; flags interval
		elements = { 192.0.2.0-192.0.2.255, 198.51.100.7 }
	}
	set l_web_rate4 {
		type ipv4_addr; flags dynamic,timeout; timeout 1s
		size 65536
	}
	chain l_web_4 {
		ip saddr @l_web_denied4 counter reject with tcp reset
		update @l_web_rate4 { ip saddr limit rate over 10/second burst 5 packets } counter reject with tcp reset
	}

	chain input {
		type filter hook input priority filter; policy accept;
		meta nfproto ipv4 tcp dport 8080 tcp flags & (fin | syn | rst | ack) == syn ct state new jump l_web_4
	}
}
"""
    )


@pytest.mark.parametrize(
    ("host", "entries"),
    [
        ("0.0.0.0", ["meta nfproto ipv4 tcp dport 8080"]),
        ("192.0.2.1", ["ip daddr 192.0.2.1 tcp dport 8080"]),
        ("2001:db8::1", ["ip6 daddr 2001:db8::1 tcp dport 8080"]),
        ("::", ["meta nfproto ipv4 tcp dport 8080", "meta nfproto ipv6 tcp dport 8080"]),
    ],
)
def test_only_what_comes_to_the_listener(host: str, entries: list[str]) -> None:
    found = [line for line in lines(port(host)) if "jump" in line]
    assert [line.partition(" tcp flags")[0] for line in found] == entries


def test_clients_are_counted_by_their_prefix() -> None:
    shown = "\n".join(lines(port("::1", max_connections=7)))
    assert "add @l_web_open6 { ip6 saddr & ffff:ffff:ffff:ffff:: ct count over 7 } counter reject" in shown
    assert "{ ip6 saddr ct count" in "\n".join(lines(port("::1", max_connections=7, ipv6_prefix=128)))


def test_an_allow_list_denies_all_the_rest() -> None:
    shown = lines(port("::", networks=denying(allow=("10.0.0.0/8",))))
    assert "elements = { 0.0.0.0-9.255.255.255, 11.0.0.0-255.255.255.255 }" in shown
    six = shown[shown.index("chain l_web_6 {") + 1]
    assert six == "counter reject with tcp reset", "of IPv6 everybody, for which nft has no interval"


def test_bans() -> None:
    rate = Rate.parse("30/m")
    shown = lines(port(connection_rate=rate, ban_after=5, ban_window=20.0, ban_time=90.0))
    assert "ip saddr @l_web_banned4 counter reject with tcp reset" in shown
    at = shown.index("chain l_web_offence4 {")
    assert shown[at + 1] == (
        "update @l_web_offences4 { ip saddr limit rate over 15/minute burst 4 packets } "
        "add @l_web_banned4 { ip saddr }"
    )
    assert "type ipv4_addr; flags dynamic,timeout; timeout 90s" in shown
    assert any(line.endswith("burst 30 packets } goto l_web_offence4") for line in shown)
    once = lines(port(connection_rate=rate, ban_after=1))
    assert once[once.index("chain l_web_offence4 {") + 1] == "add @l_web_banned4 { ip saddr }"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("5/s", "5/second burst 5"), ("5/m", "5/minute burst 5"), ("7/h burst 2", "7/hour burst 2")],
)
def test_rates(text: str, shown: str) -> None:
    assert f"limit rate over {shown} packets" in ruleset([port(connection_rate=Rate.parse(text))])


def test_a_rate_of_another_unit() -> None:
    assert "over 100/minute burst 100" in ruleset([port(connection_rate=Rate(100, 60.0, 100))])
    assert "over 10/minute burst" in ruleset([port(connection_rate=Rate(1, 6.0, 1))])
    assert "over 86400/week burst" in ruleset([port(connection_rate=Rate(1, 7.0, 1))])


def test_what_the_kernel_cannot_do_is_said() -> None:
    rules = (Rule("TRACE"), Rule("PUT"))
    shown = lines(
        port(name="a", request_rate=Rate.parse("5/s"), rules=rules),
        port(name="b\n}", why_not="its clients are told by PROXY headers", max_connections=5),
    )
    assert "# request_rate 5/s: not here, the kernel sees no requests" in shown
    assert "# 2 rules for requests: not here, the kernel sees no requests" in shown
    assert "# listener b?}, port 8080" in shown
    assert "# no rules: its clients are told by PROXY headers" in shown
    assert not any("l_b" in line for line in shown)


def test_names_of_listeners_are_words_and_stay_apart() -> None:
    shown = ruleset([port(name="a-b"), port(name="a b"), port(name="ä" * 99), port(name="")], table="t")
    chains = [line.split()[1] for line in shown.splitlines() if line.startswith("\tchain l_")]
    assert len(set(chains)) == 4
    assert all(chain.isascii() and len(chain) < 50 for chain in chains)
    assert "delete table inet t\n" in shown
