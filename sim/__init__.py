"""The simulator's room: it will run the same formulas and the same protocol for many agents on one accelerator."""

__all__: list[str] = []
