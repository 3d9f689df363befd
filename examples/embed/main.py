"""A tcp balancer inside a program of your own, over two servers that this program starts, too."""

import asyncio

from lbkit.config import loads
from lbkit.runtime import Runtime, catalog

CONFIG = """
[listeners.main]
listen = "127.0.0.1:0"
pool = "echo"
[pools.echo]
algorithm = "active_passive"
[[pools.echo.servers]]
name = "one"
address = "127.0.0.1:{}"
[[pools.echo.servers]]
name = "two"
address = "127.0.0.1:{}"
"""


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.read(100))
    await writer.drain()
    writer.close()


async def main() -> None:
    servers = [await asyncio.start_server(echo, "127.0.0.1", 0) for _ in range(2)]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    async with Runtime(loads(CONFIG.format(*ports), catalog())) as runtime:
        address = runtime.addresses["main"]
        for word in (b"hello", b"again"):
            reader, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(word)
            print((await reader.read(100)).decode(), "through", address)
            writer.close()
            servers[0].close()  # the second word finds the first server gone, and goes to the other one
        await runtime.drain()
        print("picks:", {server.name: server.counters.picks for server in runtime.pool("echo")})
    servers[1].close()


asyncio.run(main())
