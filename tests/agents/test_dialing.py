"""The link as the driver uses it: what exchanges sent, by codec."""

from agents.dialing import MOST_CODECS, OTHERS, DialingLink
from transport.link import Link
from transport.messages import Ack, Answer, ConnectionId, Offer, Piece

PEER = ConnectionId("tcp://127.0.0.1:9")


class Taking(Link):
    """Takes every message, or none."""

    def __init__(self) -> None:
        self.takes = True

    def send(self, connection, message, payload=None) -> bool:
        return self.takes


def test_bytes_of_offers_and_answers_count_by_codec_once_they_are_sent():
    dialing = DialingLink(link := Taking())
    assert dialing.send(PEER, Offer(1, 0, 1, 0.5, payload=memoryview(bytearray(40)).cast("f")))
    dialing.send(PEER, Answer(1, 0, codec="lattice:4", payload=b"x" * 7))
    dialing.send(PEER, Answer(1, 1, codec="lattice:4", payload=b"x" * 3))
    dialing.send(PEER, Ack(1))
    dialing.send(PEER, Piece(1, 0, 9, b"x" * 100), b"x" * 100)
    link.takes = False
    assert not dialing.send(PEER, Answer(1, 2, codec="lattice:4", payload=b"x"))
    assert dialing.by_codec == {"float32": 40, "lattice:4": 10}


def test_codecs_that_peers_name_without_end_are_counted_together():
    dialing = DialingLink(Taking())
    for number in range(2, 100):
        dialing.send(PEER, Answer(1, 0, codec=f"segments:1/{number}", payload=b"x"))
    assert len(dialing.by_codec) == MOST_CODECS + 1 and dialing.by_codec[OTHERS] == 98 - MOST_CODECS
