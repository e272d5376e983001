"""The link as the driver uses it: an address that can't be dialed is a line in the log, and bytes count by codec."""

import logging
from collections import Counter
from typing import Any

from transport.link import Link, LinkError
from transport.memory import nbytes
from transport.messages import Address, Answer, ConnectionId, Message, Offer

log = logging.getLogger("gossamer")

MOST_CODECS = 16
"""That are counted apart: we answer in whichever a peer names."""

OTHERS = "others"
"""All other codecs."""


class DialingLink:
    """A `driver.Link` that never raises for what a peer publishes as its address.

    by_codec: bytes of the differences that offers and answers carried, by the codec in which these were written.
    """

    def __init__(self, link: Link) -> None:
        self.hang_up = link.hang_up
        self.by_codec: Counter[str] = Counter()
        self._link = link

    def dial(self, address: Address) -> None:
        """Open a connection, if that is an address."""
        try:
            self._link.dial(address)
        except LinkError as error:
            log.warning("%s", error)

    def send(self, connection: ConnectionId, message: Message, payload: Any = None) -> bool:
        """As `Link.send`."""
        sent = self._link.send(connection, message, payload)
        if sent and isinstance(message, Offer | Answer):
            known = message.codec in self.by_codec or len(self.by_codec) < MOST_CODECS
            self.by_codec[message.codec if known else OTHERS] += nbytes(message.payload)
        return sent
