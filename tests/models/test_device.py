"""Time that other programs take is no property of a method."""

from unlearn_core.models import device


def clocks(monkeypatch, wall, used):
    shown = {"perf_counter": iter(wall), "process_time": iter(used)}
    for name, values in shown.items():
        monkeypatch.setattr(device.time, name, lambda values=values: next(values))


def test_waiting_for_the_processor_is_not_counted(monkeypatch):
    clocks(monkeypatch, wall=[10.0, 13.0], used=[2.0, 3.0])
    assert device.stopwatch("cpu")() == 1.0


def test_several_threads_count_as_the_clock_on_the_wall(monkeypatch):
    clocks(monkeypatch, wall=[10.0, 11.0], used=[2.0, 4.0])
    assert device.stopwatch("cpu")() == 1.0


def test_a_gpu_works_while_the_processor_waits(monkeypatch):
    clocks(monkeypatch, wall=[10.0, 13.0], used=[2.0, 2.1])
    assert device.stopwatch("cuda")() == 3.0
