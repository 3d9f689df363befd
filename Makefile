# Plain verbs. Each makes .venv first where that is needed; ARGS goes to the program.
#   make up ARGS="--listen 127.0.0.1:9000"
#   make test ARGS="tests/relay -k slow"

BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help up test lint bench bench-tcp bench-http bench-app bench-static bench-picks bench-simulation bench-papers bench-pressure bench-soak bench-firewall bench-heads bench-statements bench-router bench-failover soak fuzz clean

help:
	@echo "make up     run the whole stack on this machine; Ctrl-C stops it"
	@echo "make test   lint, types and every test, on real MySQL and MariaDB servers"
	@echo "make lint   only lint and types"
	@echo "make bench  every benchmark, half an hour: bench-tcp (lbkit bench relays: beside HAProxy, nginx, proxy.py),"
	@echo "            bench-http (lbkit bench http: http mode and TLS beside the same),"
	@echo "            bench-app (lbkit bench app: beside uvicorn, hypercorn, granian),"
	@echo "            bench-static (lbkit bench static: beside nginx, Starlette, aiohttp),"
	@echo "            bench-picks (beside uhashring), bench-firewall, bench-heads (beside h11, httptools), bench-statements,"
	@echo "            bench-router (beside aiomysql's pool, MySQL Router),"
	@echo "            bench-simulation, bench-papers (published experiments at full size); each alone takes ARGS. Not among them:"
	@echo "            bench-pressure, 10 000 idle connections, 5 000 busy ones, and a million one after the other, 4 minutes;"
	@echo "            bench-soak, a million requests of many kinds to the app server, 2 minutes;"
	@echo "            bench-failover, kills, stops and switchovers of real pairs, and 10 calm minutes under load, half an hour"
	@echo "make soak   real databases under random faults, 10 minutes each of MySQL and MariaDB; says what was lost, stale"
	@echo "            or torn. ARGS: --seconds 60, --flavour mysql, --seed 7, --fault kill, --keep DIR, --help"
	@echo "make fuzz   made-up input for every parser, a minute each; exit 1 when something was found."
	@echo "            ARGS: names of targets, --seconds 600, --input FILE to run one again, --help"
	@echo "make clean  remove .venv and what the tools left (not the state in .lbkit)"

up:
	@sh setup.sh
	@exec $(BIN)/python -m lbkit up $(ARGS)

test: lint
	@$(BIN)/python -m pytest --numprocesses 3 --dist loadgroup $(ARGS)

lint:
	@sh setup.sh test lint
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy

# All of them run, also after one that missed its marks.
bench:
	@sh setup.sh bench
	@missed=; for name in tcp http app static picks firewall heads statements router simulation papers; do \
		$(BIN)/python -m benchmarks.$$name || missed="$$missed $$name"; \
	done; \
	if [ -n "$$missed" ]; then echo "missed:$$missed" >&2; exit 1; fi

bench-tcp bench-http bench-app bench-static bench-picks bench-firewall bench-heads bench-statements bench-simulation bench-papers bench-pressure bench-soak bench-router bench-failover:
	@sh setup.sh bench
	@$(BIN)/python -m benchmarks.$(@:bench-%=%) $(ARGS)

soak:
	@sh setup.sh test
	@$(BIN)/python -m benchmarks.histories --seconds 600 $(ARGS)

fuzz:
	@sh setup.sh fuzz
	@$(BIN)/python -m fuzz $(ARGS)

clean:
	rm -rf .venv .fuzz .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
