"""The scripts of chaos with real processes, in small: a kill is noticed, a restart is taken in, and all finish."""

import signal

from tests.chaos import table
from tests.chaos.processes import distance, finish, longest_pause_s, swarm, until, whole


def test_a_killed_process_is_noticed_and_back_and_all_finish(tmp_path):
    with swarm(tmp_path, 2, silent_s=2.0) as workers:
        until(lambda: whole(workers), "all have met", workers)
        workers[1].signal(signal.SIGKILL)
        until(lambda: "w1" not in workers[0].alive, "it is noticed", workers)
        workers[1].start()
        until(lambda: whole(workers), "it is back", workers)
        assert finish(workers)
        assert distance(workers) < 1e-6
        assert longest_pause_s(workers[0].seen()) > 0
        assert (workers[1].folder / "starts").read_text() == "2"


def test_a_row_of_the_table_is_put_in_the_place_of_the_one_before(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{table.BEGIN}\n{table.END}\nafter\n")
    table.write("a", "one", "1 s", "2 s", True, page)
    table.write("b", "two", "3 s", "2 s", False, page)
    table.write("a", "one again", "2 s", "2 s", True, page)
    rows = page.read_text().splitlines()
    assert rows == [
        *("before", table.BEGIN, "| a | one again | 2 s | 2 s | yes |", "| b | two | 3 s | 2 s | **no** |"),
        *(table.END, "after"),
    ]
