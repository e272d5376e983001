"""The wire: messages, their encoding, and the one ZeroMQ link that carries them. Knows neither JAX nor agents."""

from transport.messages import VERSION, Member, Message
from transport.wire import Limits, WireError, decode, encode

__all__ = ["VERSION", "Limits", "Member", "Message", "WireError", "decode", "encode"]
