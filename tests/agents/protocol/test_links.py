"""What an agent sends of its exchanges to whoever watches: beside its own counts what the host alone knows."""

from agents.protocol.links import LAYERS_S, Counts, Host
from transport.wire import decode, encode


def test_layers_are_looked_at_a_few_times_a_second_however_many_ask():
    counts, looks = Counts(0), []

    def layers():
        looks.append(True)
        return {"w": 0.123456789}

    counts.host = Host(layers, lambda: {"a connection in plaintext": 2.0}, {"float32": 40})
    found = [counts.links(0, step * LAYERS_S / 4) for step in range(8)]
    assert len(looks) == 2
    assert decode(encode(found[-1])) == found[-1]
    assert {(*each.layers.items(), *each.refused.items(), *each.bytes_by_codec.items()) for each in found} == {
        (("w", 0.12346), ("a connection in plaintext", 2.0), ("float32", 40))
    }
