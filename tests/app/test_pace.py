from app.pace import HISTORY, MISSES, Pace


def test_frames_are_expected_in_time_until_a_few_were_not() -> None:
    pace = Pace()
    assert pace.within(0)
    for _ in range(MISSES):
        pace.add(20)
    assert pace.within(15)
    pace.add(20)
    assert not pace.within(15) and pace.within(25)


def test_late_frames_are_forgotten() -> None:
    pace = Pace()
    for _ in range(HISTORY):
        pace.add(20)
    for _ in range(HISTORY - MISSES - 1):
        pace.add(10)
    assert not pace.within(15)
    pace.add(10)
    assert pace.within(15)
