from sciriff.finetune.spikes import FEWEST, is_spike


def test_a_loss_far_above_those_before_it_is_a_spike() -> None:
    falling = [2 - 0.01 * step + 0.05 * (step % 3) for step in range(60)]
    assert is_spike(3.5, falling)
    assert not is_spike(falling[-1] + 0.1, falling)
    assert not is_spike(0.1, falling)


def test_earlier_spikes_do_not_hide_a_later_one() -> None:
    assert is_spike(9.0, [1.0, 1.1] * 40 + [9.0] * 5)


def test_nothing_is_a_spike_at_first_and_a_still_curve_has_room() -> None:
    assert not is_spike(100.0, [1.0] * (FEWEST - 1))
    assert is_spike(100.0, [1.0] * FEWEST)
    assert not is_spike(1.05, [1.0] * 100)


def test_only_the_last_hundred_count() -> None:
    assert is_spike(5.0, [10.0] * 300 + [1.0, 1.2] * 50)
