"""The names of the codecs (`agents.mixing.codecs`), for who doesn't need NumPy yet."""

CODEC_NAMES = ("float32", "bfloat16", *(f"lattice:{bits}" for bits in range(2, 9)))
