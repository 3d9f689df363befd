"""Real servers as local child processes: MySQL and MariaDB pairs, and the whole stack.

`packages` and `database` find or fetch the programs, `mysqld` runs one of them, `pair` makes a
primary and its replicas out of several, and `statedir` keeps the promise that nothing is left behind.
"""
