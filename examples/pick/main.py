"""A balancer without a proxy: choose a server for each call of a client of your own."""

import random

from lbkit import HealthRules, NoServerAvailable, Pool, Server, make_balancer

servers = [
    Server("a", "10.0.0.1:80", weight=3),
    Server("b", "10.0.0.2:80"),
    Server("c", "10.0.0.3:80", backup=True),
]
pool = Pool("api", servers, make_balancer("round_robin", random.Random(7)), rules=HealthRules(checked=True))

for server in pool:
    pool.observe(server.name, passed=True, reason="seen alive", now=0.0)
print(
    "picks:", " ".join(pool.pick(now=1.0).name for _ in range(8))
)  # three of four are a, none is the backup

for moment in range(3):  # three failures in a row, `fall`, take a server out
    pool.observe("a", passed=False, reason="connection refused", now=2.0 + moment)
print("without a:", pool.pick(now=5.0).name)

try:
    pool.pick(now=6.0, exclude=[pool["b"], pool["c"]])
except NoServerAvailable as error:
    print(error)
