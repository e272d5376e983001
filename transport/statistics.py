"""What went over a link: messages, bytes, and what could not be used."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Statistics:
    """Counts since the link was opened. unsent: messages a peer couldn't take; malformed: dropped on arrival."""

    bytes_sent: int = 0
    bytes_received: int = 0
    messages_sent: int = 0
    messages_received: int = 0
    unsent: int = 0
    malformed: int = 0
