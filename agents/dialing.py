"""The link as the driver uses it: an address that can't be dialed is a peer's fault, and a line in the log."""

import logging

from transport.link import Link, LinkError
from transport.messages import Address

log = logging.getLogger("gossamer")


class DialingLink:
    """A `driver.Link` that never raises for what a peer publishes as its address."""

    def __init__(self, link: Link) -> None:
        self.hang_up, self.send = link.hang_up, link.send
        self._link = link

    def dial(self, address: Address) -> None:
        """Open a connection, if that is an address."""
        try:
            self._link.dial(address)
        except LinkError as error:
            log.warning("%s", error)
