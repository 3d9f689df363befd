from lbkit.sockets import connect

__all__ = ["connect"]
