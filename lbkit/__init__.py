"""lbkit: load balancer, web server, ASGI server and MySQL cluster in one package."""

__version__ = "0.1.0"
